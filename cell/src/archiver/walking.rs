//! A walk over all wallets of the cell: of each chain the blocks are archived that are not yet. It is only needed where
//! the stream cannot tell: at the very start, and after it was lost.

use std::collections::VecDeque;
use std::time::Duration;

use store::place::Walk;
use store::{BlockRange, MAX_BATCH_BLOCKS, Store, StoreError, retry};
use topology::{Bucket, WalletId};
use tracing::error;

use super::Failed;
use super::known::Missing;
use super::tenure::Tenure;

/// Wallets listed at once, and when the next ones are: 1,000 wallets a second, at most.
const PAGE: usize = 64;
const PAGE_EVERY: Duration = Duration::from_millis(64);
/// Blocks of a chain that are read at once.
const PAGE_BLOCKS: usize = 256;
const _: () = assert!(PAGE_BLOCKS <= MAX_BATCH_BLOCKS);

#[derive(Default)]
pub struct Walking {
    listed: VecDeque<WalletId>,
    /// Of the first of them, what is not read yet.
    missing: Option<Missing>,
}

impl<S: Store> Tenure<'_, S> {
    /// A page of the walk, or as much of it as there is room for.
    pub(super) async fn walk_on(&mut self) -> Result<Duration, Failed> {
        let Walk::After(after) = self.place.walk else { return Ok(Duration::ZERO) };
        if self.walking.listed.is_empty() {
            let everything = (Bucket(0), Bucket(u16::MAX));
            let mut random = self.archiver.clock.random();
            let list = || self.archiver.store.members(everything, after, PAGE);
            self.walking.listed = retry::read(|| random.f64(), list).await?.into();
        }
        if self.walking.listed.is_empty() {
            self.place.walk = Walk::Done;
        }
        while let Some(wallet) = self.walking.listed.front().copied() {
            if !self.has_room() {
                return Ok(Duration::ZERO);
            }
            let is_read = match self.walk_wallet(wallet).await {
                // The integrity job tells of it too; the others are archived.
                Err(StoreError::Corrupt(what)) => {
                    error!(%wallet, what, "a chain cannot be archived as a whole");
                    true
                }
                read => read?,
            };
            if is_read {
                self.walking.missing = None;
                self.walking.listed.pop_front();
                self.place.walk = Walk::After(Some(wallet));
            }
        }
        Ok(PAGE_EVERY)
    }

    /// A page of a chain. `true`: that was all.
    async fn walk_wallet(&mut self, wallet: WalletId) -> Result<bool, StoreError> {
        let mut random = self.archiver.clock.random();
        let store = &self.archiver.store;
        let (known, missing) = (self.known.get_or_insert_default(), &mut self.walking.missing);
        if missing.is_none() {
            let head = retry::read(|| random.f64(), || store.head(wallet)).await?;
            *missing = head.and_then(|head| known.missing(&head));
        }
        let Some(wanted) = missing else { return Ok(true) };
        let range = BlockRange { first: wanted.first, last: wanted.last, newest_first: false };
        let blocks = retry::read(|| random.f64(), || store.blocks(wallet, range, PAGE_BLOCKS)).await?;
        if let Some(after) = wanted.after.take()
            && blocks.first().is_none_or(|first| first.previous != after)
        {
            known.forget(wallet);
            wanted.first = 0;
            return Ok(false);
        }
        let is_all = blocks.last().is_none_or(|last| last.number >= wanted.last);
        wanted.first = blocks.last().map_or(wanted.first, |last| last.number.saturating_add(1));
        blocks.into_iter().for_each(|block| self.take(block));
        Ok(is_all)
    }
}
