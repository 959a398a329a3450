//! The storage port: the only way to the truth. Two implementations pass one contract suite: [`dynamodb`], and
//! [`memory`], which injects faults for the simulator.

mod cell_rows;
mod chains;
mod changes;
pub mod commit;
pub mod dynamodb;
mod errors;
mod homes;
pub mod log;
pub mod memory;
mod owners;
pub mod packing;
pub mod place;
pub mod retry;
pub mod verify;
mod whole;

pub use cell_rows::{CellRow, CellRows, MAX_CELL_ROW_BYTES};
pub use chains::{BlockRange, Chains, Derived, Forgotten, Page, RunPage, Stored, StoredPage};
pub use changes::{Batch, Changes, MAX_BATCH_BLOCKS, MAX_BATCH_BYTES, MAX_POSITION_SHARDS, Position, Unsound};
pub use errors::{AppendError, StoreError};
pub use homes::{GENESIS_BYTES, Genesis, HomeChange, HomeKey, HomeRow, HomeState, Homes, MAX_HOME_CHANGES};
pub use owners::Owners;

/// The tables of one cell.
pub trait Store: Chains + Homes + Owners + CellRows + Changes {}

impl<T: Chains + Homes + Owners + CellRows + Changes> Store for T {}
