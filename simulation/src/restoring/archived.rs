//! A cell that loses its tables and gets them back from its archive, by the control plane's own code. What had been archived
//! must be there again: all of it, once nothing fails any more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use archive::ArchiveError;
use ledger::Block;
use restoration::around::Around;
use restoration::refill::Refill;
use store::memory::MemoryStore;
use tokio::time::Instant;
use topology::restoring::Restoring;
use topology::{CellEntry, Placement, WalletId};

use super::{Kept, insist};
use crate::client::Log;
use crate::faults::Faults;
use crate::mistake::Mistake;
use crate::report::{Violation, violated};
use crate::world::{CELLS, World};

/// A process that refills a cell is killed at most so long after it began.
const LONGEST_LIFE: Duration = Duration::from_secs(20);

impl World {
    /// One cell loses its tables when all of them are archived: nothing is lost.
    pub async fn lose_what_is_archived(self: &Arc<Self>, log: &Log) -> Result<(), Violation> {
        let Some(archives) = &self.archives else { return Ok(()) };
        let mut random = archives.fork_random();
        let (cell, before) = (random.usize(0..CELLS), self.losses.now().count());
        self.restore(cell, &Kept::Archive, log, &mut random).await?;
        match self.losses.now().count() - before {
            0 => Ok(()),
            lost => violated(format!("{lost} entries were archived, and are lost since cell-{cell} was refilled")),
        }
    }

    /// Each wallet must be there again up to the first block that is neither in the cell's log nor in a pack.
    pub(super) async fn raise_to_archived(
        &self,
        cell: usize,
        before: &BTreeMap<WalletId, Vec<Block>>,
        floors: &mut BTreeMap<WalletId, usize>,
    ) -> Result<(), Violation> {
        let Some(archives) = &self.archives else { return Ok(()) };
        let archive = archives.archive(cell);
        let unread = |error: ArchiveError| Violation(format!("the archive of cell-{cell} cannot be read: {error}"));
        let mut logged = BTreeSet::new();
        let mut reader = archive.reader(1..=archive.last_number().await.map_err(unread)?);
        while let Some(fetched) = reader.next().await.map_err(unread)? {
            let blocks = fetched.segment.into_iter().flat_map(|segment| segment.blocks);
            logged.extend(blocks.map(|block| (block.wallet, block.number, block.hash)));
        }
        for (&wallet, blocks) in before.iter().filter(|(wallet, _)| logged.iter().any(|(of, ..)| of == *wallet)) {
            let mut count = 0;
            for block in blocks {
                let is_logged = logged.contains(&(wallet, block.number, block.hash));
                if !is_logged && archive.pack(wallet, archive.pack_of(block.number)).await.map_err(unread)?.is_none() {
                    break;
                }
                count += 1;
            }
            let floor = floors.entry(wallet).or_default();
            *floor = count.max(*floor);
        }
        Ok(())
    }

    /// Refills the tables by processes that are killed, and have calls that fail.
    pub(super) async fn refill_from_archive(
        &self,
        cell: usize,
        (placement, entry): (&Placement, &CellEntry),
        store: &MemoryStore,
        random: &mut fastrand::Rng,
    ) -> Result<(), Violation> {
        let Some(archives) = &self.archives else { return Ok(()) };
        let faults = Arc::new(Faults::new(random.fork(), self.healed.clone()));
        let archive = archives.archive_through(cell, faults, Mistake::None);
        let others: Vec<_> = (0..CELLS).filter(|other| *other != cell).map(|other| self.side(other)).collect();
        let clock = self.clock(0);
        let around = Around { placement, entry, store, others: &others, clock: &clock };
        let restoring = Restoring {
            done: false,
            again: false,
            incomplete: false,
            mirror: false,
            in_place: false,
            since: clock().to_string(),
            actor: String::new(),
            reason: String::new(),
        };
        insist(random, LONGEST_LIFE, || async {
            let mut refill = Refill::resume(archive.clone(), store, &restoring).await?;
            while !refill.report().done {
                refill.run(&around, Instant::now()).await?;
            }
            Ok(())
        })
        .await
    }
}
