//! The data plane: what happens between a client's bytes and a cell's. Everything here runs on one worker thread and
//! shares nothing with the others but the routes; it knows nothing of where placements come from.

#[cfg(feature = "bad-requests")]
mod bad;
pub mod body;
pub mod client;
pub mod forward;
pub mod headers;
pub mod io;
pub mod service;
pub mod worker;
