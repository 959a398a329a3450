//! What a process says about itself: metrics, logs and traces, alike in all binaries.
//!
//! It must never be on the way of a request that is not traced, nor put a wallet, a user or a trace
//! into a label.

pub mod catalogue;
pub mod flags;
pub mod log;
pub mod metrics;
pub mod process;
pub mod readiness;
pub mod trace;
