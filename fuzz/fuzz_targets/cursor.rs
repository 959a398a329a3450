//! A cursor that is taken is one that was given out, and of this wallet.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| cell::http::fuzz::cursor(text));
