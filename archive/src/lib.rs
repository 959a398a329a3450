//! The archive of a cell: a log of all its blocks, in sealed segments in an object store, apart from the cell's tables.
//!
//! A segment is some blocks in the order in which they were written. It is an object under the hash of its bytes. The log
//! is a row of entries, each under its number: it names a segment, and the hash of the entry before. So the newest entry
//! commits to all that was archived. Only one writer can write an entry of a number, so all readers see one history.
//!
//! The personal part of each block is archived as it is stored, encrypted. The owners of wallets, with the keys to it, are
//! objects of their own, which are deleted when an owner is erased; segments never change.
//!
//! `docs/archive-format.md` has the layout byte by byte.

mod balances;
mod chains;
mod findings;
mod history;
mod http;
mod log;
mod objects;
mod owners;
mod packs;
mod reader;
mod segment;
mod verify;

#[cfg(test)]
mod tests;

pub use balances::{Balance, Balances};
pub use findings::{Finding, Findings};
pub use history::History;
pub use log::{Draft, Entry};
pub use objects::{Archive, Size};
pub use packs::PACK_BLOCKS;
pub use reader::{FETCHED_AT_ONCE, Fetched, Reader};
pub use segment::{MAX_SEGMENT_BLOCKS, MAX_SEGMENT_BYTES, Segment};
pub use verify::{Receipt, Report, Verify};

/// Why the archive did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveError {
    /// It may answer when it is asked again.
    #[error("the archive does not answer: {0}")]
    Unavailable(String),
    /// An object is missing, or is not what was written.
    #[error("the archive is not sound: {0}")]
    Unsound(String),
}

impl ArchiveError {
    fn unsound(what: impl Into<String>) -> Self {
        Self::Unsound(what.into())
    }
}

impl From<object_store::Error> for ArchiveError {
    fn from(error: object_store::Error) -> Self {
        Self::Unavailable(error.to_string())
    }
}
