//! Verifies single blocks soon after they were written: those that the archiver names, each as it is stored, against the
//! one before it. What is wrong is answered as in a pass, which may be hours away.
//!
//! It must never find what a pass would not: it reads the same rows, holds them against one another by the same rules, and
//! believes a fault only if a second look finds it too. Where the block before is missing, as in a chain that is being
//! copied or purged, it says nothing.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use ledger::{Head, chain};
use store::verify::{Break, Report};
use store::{Store, StoreError, Stored, retry};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use topology::WalletId;
use tracing::{error, warn};

use super::Integrity;
use super::findings::Findings;
use crate::archiver::Place;
use crate::peers::Peers;

/// Blocks that are looked at side by side.
const AT_ONCE: usize = 16;
/// That are read for each of them: it and the one before.
const BLOCKS: usize = 2;

impl<S: Store, P: Peers> Integrity<S, P> {
    /// Until the archiver ends, or the instance stops.
    pub async fn inspect(&self, named: mpsc::Receiver<Place>, mut stop: watch::Receiver<bool>) {
        // As slow as a pass.
        let pause = Duration::from_secs(BLOCKS as u64).div_f64(self.settings.items_per_second.max(1) as f64);
        let paced = stream::unfold(named, |mut named| async move {
            let place = named.recv().await?;
            sleep(pause).await;
            Some((place, named))
        });
        let inspected = paced.for_each_concurrent(AT_ONCE, |(wallet, number)| async move {
            if let Err(error) = self.inspect_one(wallet, number).await {
                warn!(%wallet, number, %error, "a new block was not verified; the next pass does it");
            }
        });
        tokio::select! {
            () = inspected => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }

    async fn inspect_one(&self, wallet: WalletId, number: u64) -> Result<(), StoreError> {
        let mut random = self.clock.random();
        let Some(first) = retry::read(|| random.f64(), || look(&self.store, wallet, number)).await? else {
            return Ok(());
        };
        let again = retry::read(|| random.f64(), || look(&self.store, wallet, number)).await?;
        let Some(found) = again.filter(|again| again.place == first.place) else { return Ok(()) };
        error!(%wallet, place = found.place, what = found.what, "a new block is not what it must be");
        let response = self.freeze(wallet, &Report::default(), "integrity-new-block").await;
        self.count();
        Findings::new(&self.store, &self.cell).record(Some(wallet), &found, &response, self.clock.now()).await
    }
}

/// What is wrong with a block, or with the one before it.
async fn look<S: Store>(store: &S, wallet: WalletId, number: u64) -> Result<Option<Break>, StoreError> {
    let page = store.stored_blocks(wallet, number.saturating_sub(1), BLOCKS).await?;
    let mut previous: Option<Head> = None;
    for Stored { key, value } in page.items {
        let place = format!("block {key}");
        let Some(here) = key.parse::<u64>().ok().filter(|here| *here <= number) else { break };
        let block = match value {
            Ok(block) => block,
            Err(what) => return Ok(Some(Break { place, block: Some(here), what })),
        };
        if (here == 0 || previous.is_some())
            && let Err(fault) = chain::verify(previous.as_ref(), &block)
        {
            return Ok(Some(Break { place, block: Some(here), what: fault.to_string() }));
        }
        previous = Some(block.head());
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use ledger::{Append, Block, Entry, EntryKind, Hash, Money};
    use store::memory::MemoryStore;
    use store::{Chains, Genesis};
    use topology::Bucket;
    use uuid::Uuid;

    use super::*;
    use crate::feed::tests::{HERE, START, cell, wallet};

    /// Blocks 0 to 3 of a chain.
    fn sound() -> Vec<Block> {
        let entry = |kind| Entry::new(Uuid::from_u128(1), kind, Money::ZERO, Money::ZERO);
        let mut blocks = vec![chain::open(wallet(1), cell(HERE), START, entry(EntryKind::Opened), None)];
        for kind in [EntryKind::Frozen, EntryKind::Unfrozen, EntryKind::Frozen] {
            let head = blocks[blocks.len() - 1].head();
            let mut state = head.state.clone();
            state.apply(Uuid::from_u128(1), &kind, Money::ZERO, (head.number + 1, START)).expect("allowed");
            blocks.push(chain::next(&head, state, vec![entry(kind)], START));
        }
        blocks
    }

    #[tokio::test]
    async fn only_what_is_stored_and_wrong_is_found() {
        let blocks = sound();
        let unlinked = Block { previous: Hash([9; 32]), ..blocks[2].clone() };
        // What is stored, the block that is named, and where a fault is found.
        let cases = [
            (blocks.clone(), 0, None),
            (blocks.clone(), 3, None),
            // Not there yet, or not any more; copied before the one below it; purged below.
            (blocks[..2].to_vec(), 3, None),
            (blocks[2..].to_vec(), 2, None),
            ([&blocks[..1], &blocks[2..]].concat(), 2, None),
            ([&blocks[..2], std::slice::from_ref(&unlinked)].concat(), 2, Some(2)),
            (vec![unlinked], 2, None),
        ];
        for (stored, named, expected) in cases {
            let store = MemoryStore::new(Genesis::of(Bucket::all()));
            let numbers: Vec<u64> = stored.iter().map(|block| block.number).collect();
            for block in stored {
                store.append(&Append::next(block)).await.expect("free");
            }
            let found = look(&store, wallet(1), named).await.expect("it answers");
            assert_eq!(found.and_then(|found| found.block), expected, "{numbers:?}, {named}");
        }
    }
}
