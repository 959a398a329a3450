//! A cell with its tables rewound, or lost and refilled from an export, while the rest goes on:
//! reconciled by the control plane's own code, as an operator would have it, before the cell serves
//! again.
//!
//! It must account for all that is lost: a checker that excused more would find nothing.

mod archived;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use archive::ArchiveError;
use cell::failure::Failure;
use cell::wallets::Context;
use control_api::Refusal;
use control_api::restore::{RESTORE_BLOCKS, RestoredChain};
use ledger::{Audit, Block, Note, Owner};
use mover::Side;
use restoration::Error;
use restoration::around::{Around, Completed};
use restoration::rights::Lost;
use restoration::{chains, rights};
use store::memory::{MemoryStore, Tables};
use store::{Owners, StoreError};
use tokio::time::{Instant, sleep, timeout};
use topology::{CellEntry, Placement, WalletId};

use super::check;
use super::client::Log;
use super::faults::Faults;
use super::forgetting::PURGE_AFTER;
use super::mistake::Mistake;
use super::placement::{USERS, View, user};
use super::report::Violation;
use super::world::{CELLS, World};

/// One seed in so many has a restore.
const RESTORE_EVERY: u64 = 8;
/// A snapshot is made at most so long after its part of the run began, and the tables are rewound
/// so long after that.
const LONGEST_WAIT: Duration = Duration::from_secs(8);
/// Between two chains of an export.
const EXPORT_PAUSE_MAX_MS: u64 = 400;
/// How often a part of a restore is begun again.
const LIVES_MAX: u32 = 400;
/// Rounds of requests until one of them meets no fault.
const REQUESTS_MAX: u32 = 400;
/// Attempts of a customer to get a wallet again.
const CREATIONS_MAX: u32 = 400;

/// What happens to which cell, in which part of the run.
pub struct Disaster {
    pub part: usize,
    cell: usize,
    /// Else its tables are rewound.
    lost: bool,
    random: fastrand::Rng,
}

impl Disaster {
    /// Drawn apart from everything else, so that the other seeds do what they did without.
    pub fn of(seed: u64) -> Option<Self> {
        let mut random = fastrand::Rng::with_seed(!seed);
        let strikes = seed % RESTORE_EVERY == RESTORE_EVERY / 2;
        strikes.then(|| Self {
            part: random.usize(0..2),
            cell: random.usize(0..CELLS),
            lost: random.bool(),
            random: random.fork(),
        })
    }
}

impl fmt::Display for Disaster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.lost { "loses its tables" } else { "is rewound" };
        write!(f, "cell-{} {what} in part {} of the run", self.cell, self.part)
    }
}

/// What there is to restore a cell from.
enum Kept {
    Snapshot(Tables),
    /// Each chain that was served in the cell, whole up to where it was read, and its owner.
    Export(BTreeMap<WalletId, (Option<Owner>, Vec<Block>)>),
    /// What the cell's archivers had written when its tables were lost.
    Archive,
}

impl World {
    /// One cell comes to harm and is restored, while clients go on.
    pub async fn suffer(self: Arc<Self>, disaster: Disaster, log: Arc<Log>) -> Result<(), Violation> {
        let Disaster { cell, lost, mut random, .. } = disaster;
        sleep(LONGEST_WAIT.mul_f64(random.f64())).await;
        let kept = match lost {
            // Of a log that goes on from tables of an earlier time, chains would be forked.
            _ if self.archives.is_some() => Kept::Archive,
            true => Kept::Export(self.export(cell, &mut random).await),
            false => Kept::Snapshot(self.cells[cell].store.tables()),
        };
        sleep(LONGEST_WAIT.mul_f64(random.f64())).await;
        self.restore(cell, &kept, &log, &mut random).await
    }

    async fn export(&self, cell: usize, random: &mut fastrand::Rng) -> BTreeMap<WalletId, (Option<Owner>, Vec<Block>)> {
        let mut export = BTreeMap::new();
        for wallet in self.wallets(USERS) {
            sleep(Duration::from_millis(random.u64(0..EXPORT_PAUSE_MAX_MS))).await;
            if self.cells[cell].serves(wallet).await {
                let store = &self.cells[cell].store;
                let owner = store.owner(wallet).await.unwrap_or_default();
                export.insert(wallet, (owner, store.chains().remove(&wallet).unwrap_or_default()));
            }
        }
        export
    }

    /// Stops the cell and everything that moves wallets, takes away what came after `kept`, and
    /// lets the cell serve again when it is reconciled with what the others hold.
    async fn restore(
        self: &Arc<Self>,
        cell: usize,
        kept: &Kept,
        log: &Log,
        random: &mut fastrand::Rng,
    ) -> Result<(), Violation> {
        let nothing_moves = self.moves.under_way.write().await;
        self.stop(cell);
        // A mover that sleeps may do what was decided by tables that are no more: its process is
        // ended, too.
        self.kill_sleepers();
        self.finish_plans().await?;
        // As after the last process that cannot be proved dead: nothing lands any more that was
        // decided before.
        sleep(PURGE_AFTER).await;
        self.complete_moves().await?;
        check::at_any_time(self)?;
        let before = check::longest(self)?;
        let mut floors = self.floors(cell, kept, &before);
        if matches!(kept, Kept::Archive) {
            self.raise_to_archived(cell, &before, &mut floors).await?;
        }
        self.losses.begin();
        match kept {
            Kept::Snapshot(tables) => self.cells[cell].store.rewind(tables.clone()),
            Kept::Export(_) | Kept::Archive => self.cells[cell].store.rewind(Tables::default()),
        }
        self.reconcile(cell, kept, &before, random).await?;
        let gone = self.account(&before, &floors, log)?;
        check::at_any_time(self)?;
        check::books(self)?;
        self.restart(cell);
        drop(nothing_moves);
        self.open_again(&gone).await
    }

    /// Where a cutover has landed and no mover worked on its plan any more, the next request would
    /// complete the move: without it, an audit meets a wallet that is at home nowhere.
    async fn complete_moves(self: &Arc<Self>) -> Result<(), Violation> {
        for _ in 0..REQUESTS_MAX {
            let mut between = 0;
            for wallet in self.wallets(USERS) {
                between += usize::from(self.is_between_homes(wallet).await);
            }
            if between == 0 {
                return Ok(());
            }
            self.ask_for_all(USERS).await;
        }
        Err(Violation(String::from("a request does not complete a move")))
    }

    /// Whether the cell that is the wallet's home by its newest block serves, and lacks that block.
    async fn is_between_homes(&self, wallet: WalletId) -> bool {
        let mut newest: Option<Block> = None;
        for cell in &self.cells {
            let head = cell.head(wallet).await;
            newest = [newest, head].into_iter().flatten().max_by_key(|block| block.number);
        }
        let Some(newest) = newest else { return false };
        let home = &self.cells[self.index_of(&newest.home)];
        !home.is_stopped() && home.head(wallet).await.is_none_or(|head| head.number < newest.number)
    }

    /// Up to which block each wallet of the cell must be there again: what was kept, and what any
    /// other cell holds.
    fn floors(&self, cell: usize, kept: &Kept, before: &BTreeMap<WalletId, Vec<Block>>) -> BTreeMap<WalletId, usize> {
        let mut floors: BTreeMap<WalletId, usize> = BTreeMap::new();
        let mut raise = |wallet: WalletId, blocks: &[Block]| {
            let count = blocks.last().map_or(0, |head| head.number as usize + 1);
            let floor = floors.entry(wallet).or_default();
            *floor = count.max(*floor);
        };
        for other in (0..CELLS).filter(|other| *other != cell) {
            self.cells[other].store.chains().iter().for_each(|(wallet, blocks)| raise(*wallet, blocks));
        }
        match kept {
            Kept::Snapshot(tables) => {
                for (&wallet, blocks) in before {
                    raise(wallet, &blocks[..tables.chain(wallet).count().min(blocks.len())]);
                }
            }
            Kept::Export(chains) => chains.iter().for_each(|(wallet, (_, blocks))| raise(*wallet, blocks)),
            Kept::Archive => {}
        }
        floors
    }

    /// Rights, chains, and what the other cells hold: each part again until it is done, however
    /// often it is interrupted. `before` is what there was.
    async fn reconcile(
        &self,
        cell: usize,
        kept: &Kept,
        before: &BTreeMap<WalletId, Vec<Block>>,
        random: &mut fastrand::Rng,
    ) -> Result<(), Violation> {
        let placement = self.placements.as_published();
        let entry = placement.cells()[cell].clone();
        let steady = Arc::new(Faults::none(random.fork()));
        let other_cells = || (0..CELLS).filter(|other| *other != cell);
        // Thousands of rows are read in one go: a call that fails is repeated below what is
        // simulated.
        let quiet: Vec<_> = other_cells().map(|other| self.side_through(&steady, other)).collect();
        let store = self.side_through(&steady, cell).store;
        insist(random, Duration::from_secs(60), || async {
            match kept {
                Kept::Snapshot(_) => rights::reconcile(&placement, &entry, &store, &quiet).await,
                Kept::Export(_) | Kept::Archive => {
                    rights::rebuild(&placement, &entry, &store, &quiet, Lost::NONE).await
                }
            }
        })
        .await?;
        let store = self.side(cell).store;
        if matches!(kept, Kept::Archive) {
            self.refill_from_archive(cell, (&placement, &entry), &store, random).await?;
        }
        if let Kept::Export(export) = kept {
            for (wallet, (owner, blocks)) in export {
                if let Some(owner) = owner {
                    let put = || async { Ok(store.put_owner(*wallet, owner).await?) };
                    insist(random, Duration::from_secs(4), put).await?;
                }
                self.refill(&placement, &entry, &store, *wallet, blocks, random).await?;
            }
        }
        if self.moves.mistake() == Mistake::RestoredAlone {
            return Ok(());
        }
        let clock = self.clock(0);
        let others: Vec<_> = other_cells().map(|other| self.side(other)).collect();
        let around = Around { placement: &placement, entry: &entry, store: &store, others: &others, clock: &clock };
        for side in &others {
            for wallet in self.wallets(USERS) {
                let mut completed = insist(random, Duration::from_secs(4), || around.complete(side, wallet)).await?;
                if matches!(completed, Completed::Missing(_)) && self.is_torn(wallet) {
                    self.refill(&placement, &entry, &store, wallet, &before[&wallet], random).await?;
                    completed = insist(random, Duration::from_secs(4), || around.complete(side, wallet)).await?;
                }
                match completed {
                    Completed::Nothing | Completed::Whole => {}
                    Completed::LivesThere => self.placements.move_wallet(wallet, self.index_of(&side.cell)),
                    Completed::Missing(why) => return Err(Violation(format!("wallet {wallet} is not whole: {why}"))),
                }
            }
        }
        Ok(())
    }

    /// Whether a block of the wallet is in no cell, while one above it is: a mover that died had copied the later one
    /// first, and the earlier one was lost. The operator has to have it from an archive.
    fn is_torn(&self, wallet: WalletId) -> bool {
        let chains = self.cells.iter().filter_map(|cell| cell.store.chains().remove(&wallet));
        let numbers: BTreeSet<u64> = chains.flatten().map(|block| block.number).collect();
        numbers.last().is_some_and(|last| numbers.len() as u64 <= *last)
    }

    /// Writes one chain of an export, or what says that the wallet has left.
    async fn refill(
        &self,
        placement: &Placement,
        entry: &CellEntry,
        store: &MemoryStore,
        wallet: WalletId,
        blocks: &[Block],
        random: &mut fastrand::Rng,
    ) -> Result<(), Violation> {
        let owner: Side<MemoryStore> = self.side(usize::from(placement.cell_of(wallet).0));
        for part in blocks.chunks(RESTORE_BLOCKS) {
            let written = insist(random, Duration::from_secs(4), || async {
                match owner.cell == entry.id {
                    true => chains::put(store, wallet, part).await,
                    false => chains::leave_elsewhere(&entry.id, store, &owner, wallet).await,
                }
            });
            if let RestoredChain::Differs { block } = written.await? {
                return Err(Violation(format!("wallet {wallet}: block {block} is another one in the export")));
            }
        }
        Ok(())
    }

    /// Notes what is lost: the ends of chains, above what was kept anywhere. The wallets of which
    /// nothing is left.
    fn account(
        &self,
        before: &BTreeMap<WalletId, Vec<Block>>,
        floors: &BTreeMap<WalletId, usize>,
        log: &Log,
    ) -> Result<BTreeSet<WalletId>, Violation> {
        let after = check::longest(self)?;
        let mut gone = BTreeSet::new();
        let mut lost = Vec::new();
        for (&wallet, then) in before {
            let now = after.get(&wallet).map_or(&[][..], Vec::as_slice);
            let common = now.len().min(then.len());
            if now[..common] != then[..common] {
                return Err(Violation(format!("wallet {wallet} has another past since the restore")));
            }
            if now.len() >= then.len() {
                continue;
            }
            // Where it lived elsewhere, all of it was kept there.
            if now.len() < floors.get(&wallet).copied().unwrap_or(0) {
                let (now, then) = (now.len(), then.len());
                return Err(Violation(format!(
                    "wallet {wallet} has {now} blocks of {then}: more is lost than must be"
                )));
            }
            lost.extend(then[common..].iter().flat_map(|block| &block.entries).map(|e| (wallet, e.clone())));
            log.rewind(wallet, now.last().map(|head| head.at));
            if now.is_empty() {
                gone.insert(wallet);
            }
        }
        self.losses.end(lost);
        Ok(gone)
    }

    /// Customers without any data left come again: what was sent to them arrives only then.
    async fn open_again(self: &Arc<Self>, gone: &BTreeSet<WalletId>) -> Result<(), Violation> {
        for (number, wallet) in self.wallets(USERS).enumerate().filter(|(_, wallet)| gone.contains(wallet)) {
            let view = View::default();
            let mut attempts = 0;
            loop {
                view.advance(&self.placements, 0);
                let deadline = Instant::now() + Duration::from_secs(4);
                let answer = self.route(&view, wallet, attempts as usize, |service| async move {
                    service
                        .create(
                            user(number),
                            Context { key: None, audit: Audit::default(), note: Note::default(), deadline },
                        )
                        .await
                });
                if matches!(answer.await, Ok(Ok(_) | Err(Failure::WalletExists(_)))) {
                    break;
                }
                attempts += 1;
                if attempts == CREATIONS_MAX {
                    let words = self.whereabouts(wallet).await;
                    return Err(Violation(format!("wallet {wallet} was not created again: {words}")));
                }
                sleep(Duration::from_millis(200)).await;
            }
        }
        Ok(())
    }
}

/// Does a part of a restore again until it is done; killed now and then, at most so long after it
/// began.
async fn insist<T, F>(random: &mut fastrand::Rng, longest: Duration, part: impl Fn() -> F) -> Result<T, Violation>
where
    F: Future<Output = Result<T, Error>>,
{
    let mut last = String::from("killed");
    for _ in 0..LIVES_MAX {
        match timeout(longest.mul_f64(random.f64()), part()).await {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(Error::Store(StoreError::Unavailable(message) | StoreError::Rejected(message)))) => last = message,
            Ok(Err(Error::Archive(ArchiveError::Unavailable(message)))) => last = message,
            Ok(Err(Error::Refused(refused))) if refused.refusal == Refusal::TryAgain => last = refused.detail,
            Ok(Err(error)) => return Err(Violation(format!("a restore failed: {error}"))),
            Err(_) => {}
        }
        sleep(Duration::from_millis(random.u64(1..100))).await;
    }
    Err(Violation(format!("a restore did not come to its end: {last}")))
}
