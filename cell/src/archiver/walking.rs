//! A walk over all wallets of the cell: of each chain the blocks are archived that are not yet. It is only needed where
//! the stream cannot tell: at the very start, and after it was lost.

use std::collections::VecDeque;
use std::time::Duration;

use ledger::Block;
use store::place::Walk;
use store::{BlockRange, MAX_BATCH_BLOCKS, Store, StoreError, retry};
use topology::WalletId;
use tracing::error;

use super::known::Missing;
use super::tenure::Tenure;
use super::{Archiver, Failed};
use crate::walk::{self, PAGE_EVERY};

/// Blocks of a chain that are read at once.
const PAGE_BLOCKS: usize = 256;
const _: () = assert!(PAGE_BLOCKS <= MAX_BATCH_BLOCKS);

/// Wallets, each with its newest block when it was listed. What is written later is in the stream.
type Listed = VecDeque<(WalletId, Result<Option<Block>, StoreError>)>;

#[derive(Default)]
pub struct Walking {
    listed: Listed,
    /// Of the first of them, what is not read yet.
    missing: Option<Missing>,
}

impl<S: Store> Tenure<'_, S> {
    /// A page of the walk, or as much of it as there is room for.
    pub(super) async fn walk_on(&mut self) -> Result<Duration, Failed> {
        let Walk::After(after) = self.place.walk else { return Ok(Duration::ZERO) };
        if self.walking.listed.is_empty() {
            let Archiver { store, clock, .. } = self.archiver;
            self.walking.listed = walk::page(store, clock, after).await?.into();
        }
        if self.walking.listed.is_empty() {
            self.place.walk = Walk::Done;
        }
        while let Some(wallet) = self.walking.listed.front().map(|(wallet, _)| *wallet) {
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
            let head = self.walking.listed.front().map(|(_, head)| head.clone()).transpose()?.flatten();
            *missing = head.as_ref().and_then(|head| known.missing(head));
            let is_the_one = |head: &Block| {
                missing.is_some_and(|missing| {
                    missing.first == head.number && missing.after.is_none_or(|after| after == head.previous)
                })
            };
            if let Some(head) = head.filter(is_the_one) {
                self.take(head);
                return Ok(true);
            }
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
