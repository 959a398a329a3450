//! Whether the tables are those that the cell wrote to before. Point-in-time recovery makes a new table of what an old one
//! held; under the old name it looks like the old one, and has forgotten what came after. Only its id differs.
//!
//! The ids are in a row of the tables themselves, so that a process learns of it at its start
//! without asking another.

use std::fmt::Write;

use super::{DynamoStore, errors};
use crate::{CellRow, CellRows, StoreError};

/// The list of the cell's rows, and the key in it.
const LIST: &str = "tables";
const KEY: &str = "ids";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// The cell wrote to these before, or to none: they are its own from now on.
    Own,
    /// They hold what other tables held at some time.
    Copied,
}

impl DynamoStore {
    /// Looks, and signs tables that no cell has signed yet.
    pub async fn identity(&self) -> Result<Identity, StoreError> {
        let ids = self.table_ids().await?;
        match self.cell_row(LIST, KEY).await? {
            Some(row) if row.bytes == ids => Ok(Identity::Own),
            Some(_) => Ok(Identity::Copied),
            // Of two that sign at once, one finds the row of the other, which is the same.
            None => {
                self.put_cell_row(LIST, KEY, None, &CellRow { version: 1, bytes: ids }).await.map(|_| Identity::Own)
            }
        }
    }

    /// Makes these tables the cell's own: what they lack has been put right.
    pub async fn adopt_tables(&self) -> Result<(), StoreError> {
        let ids = self.table_ids().await?;
        let version = self.cell_row(LIST, KEY).await?.map(|row| row.version);
        let row = CellRow { version: version.unwrap_or(0).saturating_add(1), bytes: ids };
        match self.put_cell_row(LIST, KEY, version, &row).await? {
            true => Ok(()),
            false => Err(StoreError::Unavailable("the ids of the tables were written at the same time".into())),
        }
    }

    async fn table_ids(&self) -> Result<Vec<u8>, StoreError> {
        let mut ids = String::new();
        for name in [&self.ledger, &self.snapshots, &self.homes, &self.owners] {
            let answer = self.client.describe_table().table_name(name).send().await;
            let table = answer.map_err(|error| errors::read_failed(&error))?.table;
            let id = table.and_then(|table| table.table_id).unwrap_or_default();
            writeln!(ids, "{name}={id}").expect("a string takes all");
        }
        Ok(ids.into_bytes())
    }
}
