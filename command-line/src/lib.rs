//! What every part of the operators' command line shares: exit codes, and text in columns.
//!
//! It must never print: the caller decides what goes to stdout.

mod columns;
mod exit;

pub use columns::columns;
pub use exit::{CHANGES, FAILED, Failure, MISMATCH, PRECONDITION, STILL_RUNNING, USAGE, failure, silent};
