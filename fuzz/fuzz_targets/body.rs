//! A body that router and cell both take is about the same user and the same payer for both: money of one wallet is never
//! asked for in the cell of another.
#![no_main]

use cell::http::fuzz;
use libfuzzer_sys::fuzz_target;
use router::peek;

fuzz_target!(|bytes: &[u8]| {
    let read = fuzz::body(bytes);
    if let (Some(cell), Ok(router)) = (&read.user, peek::user_of(bytes)) {
        assert_eq!(*cell, router);
    }
    if let (Some(cell), Ok(router)) = (read.payer, peek::payer_of(bytes)) {
        assert_eq!(cell, router);
    }
    // What the cell would take, the router has to be able to route.
    assert!(read.user.is_none() || peek::user_of(bytes).is_ok());
    assert!(read.payer.is_none() || peek::payer_of(bytes).is_ok());
});
