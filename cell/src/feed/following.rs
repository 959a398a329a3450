//! The feed while the job is this instance's: reads the stream, walks where it must, hands over what it finds, and saves
//! how far it is.

use std::time::Duration;

use ledger::{Block, Timestamp};
use metrics::counter;
use store::{Position, Store, StoreError, retry};
use tokio::sync::watch;
use tokio::time::Instant;
use topology::{CellId, WalletId};
use tracing::{error, info, warn};

use super::{Feed, Open, OpenWallets, Progress, Stopped, Walk, held, publish_read};
use crate::jobs::{self, Lease};
use crate::walk::{self, Heads, PAGE_EVERY};

/// How often the stream is read once all of it was, wallets are handed over, and progress is saved.
const TICK: Duration = Duration::from_secs(1);
/// Between a failed reading and the next.
const REST: Duration = Duration::from_secs(5);
/// Transfers younger than this are still carried by the process that sent them.
const FOUND_AFTER_MICROS: i64 = 3_000_000;
/// In flight longer than this, an operator has to look. The transfer is carried on nevertheless.
const STUCK_AFTER_MICROS: i64 = 60 * 60 * 1_000_000;
/// A wallet with transfers open for longer than this is read from the table now and then: the stream may have left out
/// the block that concluded them.
const CHECKED_AFTER_MICROS: i64 = 60_000_000;
/// Wallets read so in a second, at most.
const CHECKS: usize = 32;

pub struct Following<'a, S> {
    feed: &'a Feed<S>,
    lease: Lease<S, Progress>,
    position: Position,
    open: OpenWallets,
    walk: Walk,
    /// The last wallet that was handed over, and the last one that was checked: the next ones come after it.
    handed: Option<WalletId>,
    checked: Option<WalletId>,
    is_changed: bool,
    next_tick: Instant,
    /// Nothing is read before this.
    rests_until: Instant,
}

impl<'a, S: Store> Following<'a, S> {
    pub fn new(feed: &'a Feed<S>, lease: Lease<S, Progress>) -> Self {
        let Progress { position, walk, wallets } = lease.progress.clone();
        let open = wallets.into_iter().map(|(wallet, number, transfers, block, since)| {
            (wallet, Open { number, transfers, block, since: Timestamp::from_micros(since) })
        });
        let (open, now) = (OpenWallets::new(feed.cell.clone(), open), Instant::now());
        let (handed, checked, is_changed) = (None, None, false);
        Self { feed, lease, position, open, walk, handed, checked, is_changed, next_tick: now, rests_until: now }
    }

    /// Until the instance stops or loses the job.
    pub async fn run(mut self, stop: &mut watch::Receiver<bool>) -> Result<(), Stopped> {
        info!(walk = ?self.walk, wallets = self.open.len(), "this instance follows the change stream");
        loop {
            let soon = match self.read().await {
                Ok(soon) => soon,
                Err(error) => {
                    warn!(%error, "the feed could not read; it tries again");
                    self.rests_until = Instant::now() + REST;
                    TICK
                }
            };
            if Instant::now() >= self.next_tick {
                self.tick().await?;
                self.next_tick = Instant::now() + TICK;
            }
            let until_tick = self.next_tick.saturating_duration_since(Instant::now());
            if !jobs::pause(soon.min(until_tick), stop).await {
                break;
            }
        }
        self.lease.progress = self.progress();
        held(self.lease.end().await?)
    }

    /// Some of the stream, and some of the walk; how soon there is more to read.
    async fn read(&mut self) -> Result<Duration, StoreError> {
        if Instant::now() < self.rests_until {
            return Ok(TICK);
        }
        if self.position.is_start() {
            self.begin_again().await?;
        }
        let is_behind = self.follow().await?;
        let is_walking = self.walk_on().await?;
        Ok(match (is_behind, is_walking) {
            (true, _) => Duration::ZERO,
            (false, true) => PAGE_EVERY,
            (false, false) => TICK,
        })
    }

    /// Follows the stream from now on, and walks all wallets for what came before. The position is from before the walk,
    /// so that a block is in one of the two.
    async fn begin_again(&mut self) -> Result<(), StoreError> {
        let mut random = self.feed.clock.random();
        self.position = retry::read(|| random.f64(), || self.feed.store.newest_position()).await?;
        (self.walk, self.is_changed) = (Walk::Due, true);
        Ok(())
    }

    async fn follow(&mut self) -> Result<bool, StoreError> {
        let mut random = self.feed.clock.random();
        let batch = retry::read(|| random.f64(), || self.feed.store.changes(&self.position)).await?;
        if batch.lost {
            warn!("the change stream does not keep what comes next any more; all wallets are walked");
            self.begin_again().await?;
            // Not at once: what is lost again and again is asked for no more often than the walk goes on.
            return Ok(false);
        }
        for unsound in &batch.unsound {
            let (record, what) = (&unsound.record, &unsound.what);
            error!(record, what, "a record of the change stream is no sound block");
        }
        batch.blocks.iter().for_each(|block| self.open.take(block));
        self.count(&batch.blocks);
        self.is_changed |= self.position != batch.position;
        self.position = batch.position;
        let newest = batch.blocks.iter().map(|block| block.at).max();
        match newest {
            Some(newest) if batch.is_behind => publish_read(newest, self.since(newest)),
            None if batch.is_behind => {}
            _ => publish_read(self.feed.clock.now(), Duration::ZERO),
        }
        Ok(batch.is_behind)
    }

    fn count(&self, blocks: &[Block]) {
        self.feed.hot.count(blocks, self.feed.clock.now());
        counter!("cell_feed_entries_total").increment(own_entries(&self.feed.cell, blocks));
    }

    fn since(&self, time: Timestamp) -> Duration {
        let micros = self.feed.clock.now().micros().saturating_sub(time.micros());
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    }

    /// A page of the walk, if there is one. `true`: there are more.
    async fn walk_on(&mut self) -> Result<bool, StoreError> {
        let after = match self.walk {
            Walk::Due => None,
            Walk::After(wallet) => Some(wallet),
            Walk::Done if self.open.take_overflow() => None,
            Walk::Done => return Ok(false),
        };
        let heads = walk::page(&self.feed.store, &self.feed.clock, after).await?;
        self.walk = heads.last().map_or(Walk::Done, |(last, _)| Walk::After(*last));
        self.take(heads);
        self.is_changed = true;
        if self.walk == Walk::Done {
            info!(wallets = self.open.len(), "all wallets were walked");
        }
        Ok(self.walk != Walk::Done)
    }

    /// A wallet that is broken stays as it was seen; the others are carried on.
    fn take(&mut self, heads: Heads) {
        for (wallet, head) in heads {
            match head {
                Ok(head) => self.open.read(wallet, head.as_ref()),
                Err(error) => error!(%wallet, %error, "the newest block of a wallet cannot be read"),
            }
        }
    }

    async fn tick(&mut self) -> Result<(), Stopped> {
        if let Err(error) = self.check().await {
            warn!(%error, "wallets with old transfers were not read; they are read again");
        }
        self.hand_over();
        self.open.figures(self.feed.clock.now(), STUCK_AFTER_MICROS).publish();
        if !self.is_changed {
            return held(self.lease.keep().await?);
        }
        self.lease.progress = self.progress();
        self.is_changed = false;
        held(self.lease.save().await?)
    }

    fn progress(&self) -> Progress {
        Progress::of(&self.position, self.walk, &self.open)
    }

    /// The wallets with transfers that have been open for so long, each with the number of its newest block.
    fn open_for(&self, micros: i64, after: Option<WalletId>) -> impl Iterator<Item = (WalletId, u64)> {
        self.open.open_since(self.feed.clock.now().plus_micros(micros.saturating_neg()), after)
    }

    async fn check(&mut self) -> Result<(), StoreError> {
        let old = self.open_for(CHECKED_AFTER_MICROS, self.checked).take(CHECKS).map(|(wallet, _)| wallet).collect();
        let heads = walk::heads(&self.feed.store, &self.feed.clock, old).await?;
        if let Some((last, _)) = heads.last() {
            (self.checked, self.is_changed) = (Some(*last), true);
        }
        self.take(heads);
        Ok(())
    }

    /// As many as are taken; the others come next time.
    fn hand_over(&mut self) {
        let found = self.open_for(FOUND_AFTER_MICROS, self.handed);
        let found = found.take_while(|found| self.feed.found.try_send(*found).is_ok());
        self.handed = found.last().map(|(wallet, _)| wallet).or(self.handed);
    }
}

/// Entries that the cell wrote. A wallet that moves in brings blocks that another cell wrote.
pub(super) fn own_entries(cell: &CellId, blocks: &[Block]) -> u64 {
    blocks.iter().filter(|block| block.home == *cell).map(|block| block.entries.len() as u64).sum()
}
