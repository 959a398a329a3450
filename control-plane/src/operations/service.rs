//! What carrying out operations needs.

use std::sync::Arc;
use std::time::Duration;

use crate::cells::fleet::Fleet;
use crate::jobs::table::Table;
use crate::operations::record::Operation;

pub struct Operations {
    pub fleet: Arc<Fleet>,
    pub table: Table<Operation>,
    /// How old a tombstone has to be before blocks below it are deleted: [`ledger::fence::PURGE_AFTER`] but in tests.
    pub purge_after: Duration,
}
