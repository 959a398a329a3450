//! A user that a query names is the same one for the router, which chooses the cell, and for the
//! cell.
#![no_main]

use cell::http::fuzz;
use http::Method;
use libfuzzer_sys::fuzz_target;
use router::route::Route;
use router::target::{Side, Target, target};

fuzz_target!(|query: &str| {
    let find = |path| Route::of(Side::Public, path);
    let path = "/api/v1/wallets";
    if let Ok(Target::User(routed)) = target(find(path), &Method::GET, path, Some(query)) {
        assert_eq!(fuzz::user_in_query(query), Some(routed));
    }
    // Whatever a path is, reading it is safe, and a wallet that is found is in it.
    for method in [Method::GET, Method::POST] {
        if let Ok(Target::Wallet(wallet)) = target(find(query), &method, query, None) {
            assert!(query.to_ascii_lowercase().contains(&wallet.to_string()));
        }
    }
});
