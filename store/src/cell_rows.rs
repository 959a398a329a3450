//! Small rows of the cell itself: the port.

use std::future::Future;

use crate::errors::StoreError;

/// A small row of the cell itself, beside its wallets: the progress of a job, a finding, a part of the log of
/// checkpoints. What it holds is its writer's affair.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CellRow {
    /// Rises with each change.
    pub version: u64,
    pub bytes: Vec<u8>,
}

/// Most bytes of such a row: an item of DynamoDB is at most 400 KB.
pub const MAX_CELL_ROW_BYTES: usize = 380 * 1024;

/// Small rows of the cell itself. All reads are strongly consistent.
pub trait CellRows: Clone + Send + Sync + 'static {
    /// A row of the cell itself.
    fn cell_row(&self, list: &str, key: &str) -> impl Future<Output = Result<Option<CellRow>, StoreError>> + Send;

    /// Rows of one list of the cell, in the order of their keys after `after`, or the other way round from the last one
    /// before it; at most `limit` and about 1 MB. None: that was all.
    fn cell_rows(
        &self,
        list: &str,
        after: Option<&str>,
        newest_first: bool,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<(String, CellRow)>, StoreError>> + Send;

    /// Writes a row of the cell in place of the one with version `expected`, or where there is
    /// none. `false`: it is not so. After an error the outcome is unknown; reading the row tells.
    fn put_cell_row(
        &self,
        list: &str,
        key: &str,
        expected: Option<u64>,
        row: &CellRow,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;
}
