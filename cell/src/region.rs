//! Whether this process's Region is the one that serves the cell. The cell's tables there say so, in a row of their own.
//!
//! It must never take a failed read for an answer: what served goes on serving, what waited goes on waiting.

use std::time::Duration;

use serde_json::from_slice;
use store::{CellRow, CellRows, StoreError};
use tokio::sync::watch;
use tokio::time::sleep;
use topology::homed::{Homed, KEY, LIST};
use tracing::{info, warn};

use crate::stop::stopped;

/// How often the row is read.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Where this process is.
#[derive(Debug, Clone)]
pub struct Region {
    /// As AWS names it.
    pub name: String,
    /// Whether it waits where the tables say nothing.
    pub is_standby: bool,
}

/// What the tables say of this process's Region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It serves the cell, after so many changes.
    Home { epoch: u64 },
    /// Another one does.
    Standby { home: Option<String> },
}

impl Region {
    pub fn standing(&self, row: Option<&Homed>) -> Standing {
        match row {
            Some(row) if row.region == self.name => Standing::Home { epoch: row.epoch },
            Some(row) => Standing::Standby { home: Some(row.region.clone()) },
            None if self.is_standby => Standing::Standby { home: None },
            None => Standing::Home { epoch: 0 },
        }
    }

    pub async fn look(&self, store: &impl CellRows) -> Result<Standing, StoreError> {
        let row = read(store).await?;
        Ok(self.standing(row.as_ref().map(|(_, row)| row)))
    }

    /// Waits until this Region is the cell's home; the epoch.
    pub async fn home(&self, store: &impl CellRows) -> u64 {
        let mut said = None;
        loop {
            match self.look(store).await {
                Ok(Standing::Home { epoch }) => return epoch,
                Ok(standby) => {
                    if said.as_ref() != Some(&standby) {
                        info!(region = self.name, ?standby, "another Region serves this cell; this process waits");
                    }
                    said = Some(standby);
                }
                Err(error) => warn!(%error, "the tables do not say which Region serves this cell; nothing is served"),
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Resolves when another Region has become the cell's home since this epoch, or when the process stops. If the cell has
    /// come back meanwhile, its tables are others than those that this process knows.
    pub async fn left(&self, epoch: u64, store: &impl CellRows, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = stopped(&mut stop) => return,
                () = sleep(LOOK_EVERY) => {}
            }
            if let Ok(standing) = self.look(store).await
                && standing != (Standing::Home { epoch })
            {
                warn!(region = self.name, ?standing, "the cell has left this Region; this process stops");
                return;
            }
        }
    }
}

/// Says in the tables that the cell has left their Region, as its archive shows: so that no process over them serves.
pub async fn leave(store: &impl CellRows, epoch: u64, since: String) -> Result<(), StoreError> {
    let before = read(store).await?;
    if before.as_ref().is_some_and(|(_, row)| row.epoch >= epoch) {
        return Ok(());
    }
    let why = "the archive's log has an entry of a later epoch";
    // Which Region serves now is not known here. No Region has this name.
    let row = Homed { region: "another".into(), epoch, since, actor: "cell".into(), reason: why.into() };
    let version = before.map(|(version, _)| version);
    let bytes = serde_json::to_vec(&row).expect("plain data");
    // Another process may have written at the same time: the same, or what an operator wants.
    store.put_cell_row(LIST, KEY, version, &CellRow { version: version.unwrap_or(0) + 1, bytes }).await.map(drop)
}

/// The row and its version.
async fn read(store: &impl CellRows) -> Result<Option<(u64, Homed)>, StoreError> {
    let Some(row) = store.cell_row(LIST, KEY).await? else { return Ok(None) };
    let homed = from_slice(&row.bytes).map_err(|error| StoreError::Corrupt(format!("{LIST}/{KEY}: {error}")))?;
    Ok(Some((row.version, homed)))
}

#[cfg(test)]
mod tests {
    use store::Genesis;
    use store::memory::MemoryStore;

    use super::*;

    fn region(name: &str, is_standby: bool) -> Region {
        Region { name: name.into(), is_standby }
    }

    async fn says(store: &MemoryStore, region: &str, epoch: u64) {
        let row =
            Homed { region: region.into(), epoch, since: String::new(), actor: String::new(), reason: String::new() };
        let version = store.cell_row(LIST, KEY).await.expect("it answers").map(|row| row.version);
        let bytes = serde_json::to_vec(&row).expect("plain data");
        let row = CellRow { version: version.unwrap_or(0) + 1, bytes };
        assert!(store.put_cell_row(LIST, KEY, version, &row).await.expect("it answers"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_standby_waits_until_its_tables_name_its_region() {
        let store = MemoryStore::new(Genesis::of([]));
        assert_eq!(region("here", false).look(&store).await, Ok(Standing::Home { epoch: 0 }));
        assert_eq!(region("here", true).look(&store).await, Ok(Standing::Standby { home: None }));
        let waits = tokio::spawn({
            let store = store.clone();
            async move { region("here", true).home(&store).await }
        });
        sleep(LOOK_EVERY * 5).await;
        assert!(!waits.is_finished());
        says(&store, "there", 1).await;
        sleep(LOOK_EVERY * 5).await;
        assert!(!waits.is_finished());
        says(&store, "here", 2).await;
        assert_eq!(waits.await.expect("it does not panic"), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_learns_that_the_cell_has_left_its_region() {
        let store = MemoryStore::new(Genesis::of([]));
        let (_stopper, stop) = watch::channel(false);
        let left = tokio::spawn({
            let store = store.clone();
            async move { region("here", false).left(0, &store, stop).await }
        });
        sleep(LOOK_EVERY * 5).await;
        assert!(!left.is_finished());
        leave(&store, 1, String::new()).await.expect("it answers");
        sleep(LOOK_EVERY * 2).await;
        assert!(left.is_finished());
        // What an operator has said of a later epoch stays.
        says(&store, "here", 2).await;
        leave(&store, 1, String::new()).await.expect("it answers");
        assert_eq!(region("here", false).look(&store).await, Ok(Standing::Home { epoch: 2 }));
        // A process that slept while the cell left and came back knows what the tables of before held.
        let (_stopper, stop) = watch::channel(false);
        region("here", false).left(0, &store, stop).await;
    }
}
