//! How far a restore from the archive has come, in a row of the cell that is being restored.

use control_api::restore::{Damage, Refilled};
use ledger::Timestamp;
use serde::{Deserialize, Serialize};
use store::{CellRow, Store};
use topology::restoring::LIST;

use super::patiently;
use crate::{Error, Result, try_again};

const KEY: &str = "archive";
/// Most damages that are named: the row has a bound.
const DAMAGES_NAMED: usize = 512;

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Saved {
    /// Which restore this is: the time when it began.
    restore: String,
    /// Up to this entry of the log, all is written.
    pub entry: u64,
    pub report: Refilled,
    /// The log was read to its end, and what it lacks was dealt with.
    #[serde(default)]
    ended: bool,
    #[serde(skip)]
    version: Option<u64>,
}

async fn stored(store: &impl Store) -> Result<Option<(u64, Saved)>> {
    let Some(CellRow { version, bytes }) = patiently(|| store.cell_row(LIST, KEY)).await? else { return Ok(None) };
    let saved = serde_json::from_slice(&bytes).map_err(|error| Error::Unsound(format!("{LIST}/{KEY}: {error}")))?;
    Ok(Some((version, saved)))
}

/// Whether the archive was begun to be read in this restore, and not to its end: the cell must not serve.
pub async fn is_half_read(store: &impl Store, restore: &str) -> Result<bool> {
    Ok(stored(store).await?.is_some_and(|(_, saved)| saved.restore == restore && !saved.ended))
}

/// The version of the row: another one after each step of whatever restores the cell. `None`: nothing has begun.
pub async fn progress(store: &impl Store) -> Result<Option<u64>> {
    Ok(stored(store).await?.map(|(version, _)| version))
}

impl Saved {
    /// Where this restore has come to. It begins at the first entry if `from_start`.
    pub async fn read(store: &impl Store, restore: &str, from_start: bool) -> Result<Self> {
        let new = Self { restore: restore.to_owned(), ..Self::default() };
        let Some((version, saved)) = stored(store).await? else { return Ok(new) };
        let version = Some(version);
        match saved.restore == restore && !from_start {
            true => Ok(Self { version, ..saved }),
            false => Ok(Self { version, ..new }),
        }
    }

    /// The wallets that are not whole are in the report alone: they are found again.
    pub async fn write(&mut self, store: &impl Store) -> Result<()> {
        let missing = std::mem::take(&mut self.report.missing);
        self.ended = std::mem::take(&mut self.report.done);
        let bytes = serde_json::to_vec(self).expect("plain data");
        (self.report.missing, self.report.done) = (missing, self.ended);
        let row = CellRow { version: self.version.unwrap_or(0).saturating_add(1), bytes };
        let mut is_written = patiently(|| store.put_cell_row(LIST, KEY, self.version, &row)).await?;
        if !is_written {
            // By an earlier attempt, of which the answer was lost.
            is_written = patiently(|| store.cell_row(LIST, KEY)).await?.as_ref() == Some(&row);
        }
        if !is_written {
            return Err(try_again("another request restores this cell from its archive".into()));
        }
        self.version = Some(row.version);
        Ok(())
    }

    /// Takes down what was read up to an entry. What was read again after an interruption was taken down before.
    pub fn has_read(&mut self, last: u64, newest_at: Option<Timestamp>, damaged: Vec<Damage>) {
        let report = &mut self.report;
        for damage in damaged.into_iter().filter(|damage| damage.entry > report.entries) {
            report.damages = report.damages.saturating_add(1);
            if report.damaged.len() < DAMAGES_NAMED {
                report.damaged.push(damage);
            }
        }
        report.entries = report.entries.max(last);
        let known = report.newest_at.as_deref().and_then(|at| Timestamp::parse(at).ok());
        report.newest_at = known.max(newest_at).map(|at| at.to_string());
    }
}
