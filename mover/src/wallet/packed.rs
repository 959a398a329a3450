//! Old blocks that are in packs are not copied: a wallet's packs are where they are, whatever cell it lives in. Only the rows
//! that follow from their blocks are written, since no payment reads a pack.
//!
//! Block 0 is always copied, and so are all blocks from the first pack on that the source does not lack. So the newest
//! blocks of a copy tell where it is unbroken, as ever: far more of them are copied than are looked at.

use futures_util::stream::{self, StreamExt, TryStreamExt};
use ledger::marks::{MarkRun, run_of};
use ledger::snapshots::snapshots_of;
use ledger::{Block, moving};
use store::{BlockRange, Store, StoreError, retry};
use topology::WalletId;

use super::{Seen, random};
use crate::{Holds, MoveError, Mover};

/// Packs that are fetched at once.
const FETCHED_AT_ONCE: usize = 8;

impl<S: Store, H: Holds> Mover<'_, S, H> {
    /// The first block that has to be copied after block 0. To what is left of an earlier stay, everything is.
    pub(super) async fn copied_from(&self, seen: &Seen, first: u64) -> Result<u64, MoveError> {
        match &seen.source {
            Some(source) if first <= 1 && seen.copy.tombstone.is_none() && seen.packed.is_none() => {
                Ok(self.first_unpacked(source.wallet, source.number).await?)
            }
            _ => Ok(1),
        }
    }

    /// The first block of the pack in which the source's table has its lowest block, beside block 0: all packs below that one
    /// were written. 1 if there are none.
    pub(super) async fn first_unpacked(&self, wallet: WalletId, newest: u64) -> Result<u64, StoreError> {
        let source = &self.route.from.store;
        let Some(packs) = source.packs().filter(|packs| packs.pack_of(newest) > 0) else { return Ok(1) };
        let held = BlockRange { first: 1, last: newest, newest_first: false };
        let page = retry::read(random(wallet), || source.held_page(wallet, held, 1)).await?;
        let lowest = page.blocks.first().map_or(1, |block| block.number);
        Ok((*packs.numbers_of(packs.pack_of(lowest)).start()).max(1))
    }

    /// Goes on from block 0 to `unpacked`, over packs. If one of them is not there, the source was purged when it was looked
    /// at, and the wallet is somewhere else by now.
    pub(super) async fn pass_over(&self, wallet: WalletId, seen: Seen, unpacked: u64) -> Result<Seen, MoveError> {
        let (Some(packs), Some(prefix)) = (self.route.from.store.packs(), seen.copy.prefix.clone()) else {
            return self.look(wallet, None).await;
        };
        let fetched = stream::iter(0..packs.pack_of(unpacked));
        let fetch = |pack| async move { Ok::<_, StoreError>(packs.pack(wallet, pack).await?.unwrap_or_default()) };
        let mut fetched = fetched.map(fetch).buffered(FETCHED_AT_ONCE);
        let (mut last, mut before) = (prefix, None::<Block>);
        // Once the wallet has left the source, what is missing is never left for later.
        let may_stop = seen.source.as_ref().is_some_and(|head| head.home == self.route.from.cell);
        while let Some(mut blocks) = fetched.try_next().await? {
            if may_stop {
                self.check_stop()?;
            }
            if before.is_none() {
                before = blocks.first().filter(|block| block.hash == last.hash).cloned();
            }
            blocks.retain(|block| block.number > last.number);
            let links = moving::check_links(Some(&last), &blocks);
            let (Ok(()), Some(block)) = (links, blocks.last().cloned()) else {
                let fault = format!("a pack does not follow on block {}, or is not there", last.number);
                return self.unless_changed(wallet, seen, fault).await;
            };
            self.record_packed(wallet, before.as_ref(), &blocks).await?;
            (last, before) = (block.head(), Some(block));
        }
        self.look(wallet, Some(last)).await
    }

    /// The runs and snapshots of a pack.
    async fn record_packed(
        &self,
        wallet: WalletId,
        before: Option<&Block>,
        blocks: &[Block],
    ) -> Result<(), StoreError> {
        let target = &self.route.to.store;
        let snapshots = snapshots_of(before, blocks);
        retry::read(random(wallet), || target.put_snapshots(wallet, &snapshots)).await?;
        let with_first: Vec<Block> =
            before.filter(|block| block.number == 0).into_iter().chain(blocks).cloned().collect();
        for run in with_first.chunk_by(|one, next| run_of(one.number) == run_of(next.number)).filter_map(MarkRun::of) {
            retry::read(random(wallet), || target.put_run(wallet, &run)).await?;
        }
        Ok(())
    }
}
