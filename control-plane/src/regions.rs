//! Cells with a second Region ([`standby`]): its tables follow the cell's archive ([`mirror`]), the cell can be taken there
//! ([`failover`]), and what the former Region has beside that is compared ([`reconcile`]).
//!
//! It must never let two Regions serve one cell while both can be reached. Where one cannot be reached, its processes go on
//! until it can; what they wrote meanwhile is in no archive, and is named.

pub mod failover;
pub mod mirror;
pub mod reconcile;
pub mod standby;

use std::future::Future;
use std::time::Duration;

use control_api::{Because, CellTables, now_rfc3339};
use store::{CellRow, CellRows, StoreError};
use tokio::time::timeout;
use topology::CellId;
use topology::homed::{Homed, KEY, LIST};

use crate::cells::fleet::Fleet;
use crate::cells::registry::Record;
use crate::error::{Error, Result, unknown_cell};

/// How long tables of a Region that may be lost are waited for.
const PATIENCE: Duration = Duration::from_secs(3);

/// Says in the tables of the Region where the cell is by now that it serves there, if it has ever changed its Region.
pub async fn says_home(fleet: &Fleet, cell: &CellId, because: &Because) -> Result<()> {
    let Record { spec, .. } = fleet.registry.get(cell).await?.ok_or_else(|| unknown_cell(cell))?;
    if spec.region_epoch == 0 {
        return Ok(());
    }
    say(fleet, &spec.dynamodb, &spec.dynamodb.region, spec.region_epoch, because).await
}

/// Says in some tables which Region serves, unless they know of a later change.
async fn say(fleet: &Fleet, tables: &CellTables, region: &str, epoch: u64, because: &Because) -> Result<()> {
    let store = fleet.store(tables).await;
    let row = store.cell_row(LIST, KEY).await?;
    let version = row.as_ref().map(|row| row.version);
    if let Some(row) = row {
        let known: Homed =
            serde_json::from_slice(&row.bytes).map_err(|error| Error::Unsound(format!("{LIST}/{KEY}: {error}")))?;
        if known.epoch > epoch || (known.epoch == epoch && known.region == region) {
            return Ok(());
        }
    }
    let Because { actor, reason } = because.clone();
    let homed = Homed { region: region.to_owned(), epoch, since: now_rfc3339(), actor, reason };
    let bytes = serde_json::to_vec(&homed).expect("plain data");
    let row = CellRow { version: version.unwrap_or(0) + 1, bytes };
    match store.put_cell_row(LIST, KEY, version, &row).await? {
        true => Ok(()),
        false => Err(StoreError::Unavailable("the row of the Region was written at the same time".into()).into()),
    }
}

/// Asks something of a Region that may be lost. `None`: it did not answer in time, or with a failure.
pub(crate) async fn briefly<T>(asked: impl Future<Output = Result<T>>) -> Option<T> {
    match timeout(PATIENCE, asked).await {
        Ok(Ok(answer)) => Some(answer),
        Ok(Err(error)) => {
            tracing::info!(%error, "a Region does not answer");
            None
        }
        Err(_) => None,
    }
}
