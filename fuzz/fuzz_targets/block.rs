//! What is decoded as a block is a block's canonical bytes, bit by bit, and nothing else ever is: a hash names one block.
#![no_main]

use ledger::canonical;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(block) = canonical::decode(bytes, None) {
        assert_eq!(canonical::encode(&block), bytes, "one block, two encodings");
    }
});
