//! A fault that a version of the router might have, so that deploys can be tested against it: built only with the feature
//! `bad-requests`, which is never on by default.
//!
//! It must never fail what has begun: a request that it fails was sent to no cell.

#[cfg(not(debug_assertions))]
compile_error!("a version that is bad on purpose is for tests only: no release may be built of it");

use std::sync::atomic::{AtomicU64, Ordering};

use topology::Endpoint;

use crate::failure::Failure;
use crate::route::Route;

/// 5 % of all withdrawals.
const ONE_IN: u64 = 20;

static SEEN: AtomicU64 = AtomicU64::new(0);

pub fn fail(route: Route) -> Result<(), Failure> {
    let is_one = route == Route::Endpoint(Endpoint::Withdraw) && SEEN.fetch_add(1, Ordering::Relaxed) % ONE_IN == 0;
    if is_one { Err(Failure::Overloaded) } else { Ok(()) }
}
