//! The ledger: a wallet is a chain of immutable blocks, and the only write is "append block n+1 if there is none".
//!
//! Pure modules (no I/O, no clock, no async): [`money`], [`time`], [`block`], [`state`], [`canonical`], [`chain`],
//! [`decide`], [`fence`], [`rows`], [`keys`], [`snapshots`], [`merkle`], [`moving`]. Only [`store`] does I/O: the one storage port,
//! with its DynamoDB and in-memory adapters.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

pub mod block;
pub mod canonical;
pub mod chain;
pub mod checkpoint;
pub mod decide;
pub mod fence;
pub mod keys;
pub mod log;
pub mod merkle;
pub mod money;
pub mod moving;
pub mod rows;
pub mod snapshots;
pub mod state;
pub mod store;
pub mod time;
pub mod verify;

pub use block::{
    Audit, Block, Entry, EntryKind, External, Hash, Head, ItemOutcome, Key, Route, ShortText, TransactionId,
};
pub use chain::ChainFault;
pub use decide::{Intent, Refusal, decide};
pub use money::Money;
pub use state::{Hold, Status, WalletState};
pub use time::Timestamp;
