//! Replaces one cell's DynamoDB on a developer's machine: the embedded engine `dynoxide` behind a
//! thin HTTP handler, with fault injection and a count of consumed capacity.
//!
//! It must never be given production data, and never hold behaviour of its own: what DynamoDB does is the engine's
//! business, and what goes wrong is asked for by a test.

pub mod consumed;
pub mod dispatch;
pub mod engine;
pub mod faults;
pub mod group_sync;
pub mod http;
pub mod signature;
mod stream_records;

#[cfg(test)]
mod tests;
