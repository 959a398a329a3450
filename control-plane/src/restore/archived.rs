//! Refills a cell that is being restored from its archive, some seconds at a time: what this process knows of it is kept
//! from one request to the next. It is only a hint: another process, or this one after a crash, begins again where the
//! cell's own row says.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use archive::Archive;
use control_api::Refusal;
use control_api::restore::{FromArchive, Refilled};
use restoration::around::Around;
use restoration::refill::Refill;
use tokio::time::Instant;
use topology::CellId;

use super::{PAGE_TIME, check_stopped, not_under_way, others, remember_lack, stand};
use crate::because::check_meant;
use crate::clock;
use crate::error::{Result, no_placement, refused, unknown_cell};
use crate::operations::service::Operations;

/// The archives of the cells, and the cells that are refilled by this process.
pub struct Refills {
    /// Where the archives are; that of a cell is below, under its name.
    url: Option<String>,
    /// Each with the time when its restore began.
    under_way: Mutex<HashMap<CellId, (String, Refill)>>,
}

impl Refills {
    pub fn new(url: Option<String>) -> Self {
        Self { url, under_way: Mutex::default() }
    }

    pub(crate) fn archive(&self, cell: &CellId) -> Result<Archive> {
        let none = || refused(Refusal::NoArchive, "start the control plane with --archive URL, or restore from a file");
        let url = self.url.as_ref().ok_or_else(none)?;
        Ok(Archive::open_to_read(url, cell.clone()).map_err(restoration::Error::from)?)
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<CellId, (String, Refill)>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes on for some seconds. A second request for the same cell finds nothing here, and begins where the row says.
    pub async fn go_on(&self, operations: &Operations, cell: &CellId, wanted: &FromArchive) -> Result<Refilled> {
        check_meant(&wanted.because)?;
        let fleet = &*operations.fleet;
        let deadline = Instant::now() + PAGE_TIME;
        let archive = self.archive(cell)?;
        let store = fleet.side(cell).await?.store;
        let under_way = stand(&store).await?.map(|(_, state)| state).filter(|state| !state.done);
        let restoring = under_way.ok_or_else(|| not_under_way(cell))?;
        let now = fleet.placements.refresh().await?.ok_or_else(no_placement)?;
        let entry = now.placement.cell_named(cell).ok_or_else(|| unknown_cell(cell))?;
        check_stopped(fleet, entry).await?;
        let others = Box::pin(others::within_reach(operations, self, &now.placement, cell)).await?.sides;
        let around =
            Around { placement: &now.placement, entry, store: &store, others: &others, clock: &clock::beside(&store) };
        let known = self.under_way().remove(cell).filter(|(of, _)| *of == restoring.since);
        let mut refill = match known {
            Some((_, refill)) => refill,
            None => Refill::resume(archive, &store, &restoring).await?,
        };
        Box::pin(refill.run(&around, deadline)).await?;
        let report = refill.report().clone();
        remember_lack(&store, report.damages > 0 || !report.missing.is_empty()).await?;
        if !report.done {
            self.under_way().insert(cell.clone(), (restoring.since, refill));
        }
        Ok(report)
    }
}
