//! What the benchmarks share: connections that cost next to nothing, load from many of them, and the figures of it.
//!
//! It must never decide which answers count: each benchmark says so.

pub mod connection;
pub mod figures;
pub mod load;
