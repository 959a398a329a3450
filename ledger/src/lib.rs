//! The ledger: a wallet is a chain of immutable blocks, and the only write is "append block n+1 if there is none".
//!
//! The crate is pure: no I/O, no clock, no async, no AWS. What reads and writes chains is the crate `store`.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

pub mod append;
pub mod block;
pub mod canonical;
pub mod chain;
pub mod checkpoint;
pub mod decide;
pub mod fence;
pub mod flow;
pub mod limits;
pub mod marks;
pub mod merkle;
pub mod money;
pub mod moving;
pub mod open;
pub mod personal;
pub mod snapshots;
pub mod state;
pub mod time;

pub use append::{Append, Conflict, Guard};
pub use block::{Audit, Block, Entry, EntryKind, Hash, Head, ItemOutcome, Key, ShortText, Trace, TransactionId};
pub use chain::ChainFault;
pub use decide::{Intent, Refusal, decide};
pub use money::Money;
pub use open::OpenTransfer;
pub use personal::{Note, Owner, Personal, PersonalPart, Sealed, WalletKey};
pub use state::{Hold, Status, WalletState};
pub use time::Timestamp;
