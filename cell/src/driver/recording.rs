//! Writes the rows of full runs. A run without them costs time and nothing else: its blocks are read instead.

use ledger::Block;
use ledger::limits::RUN_BLOCKS;
use ledger::marks::{MarkRun, first_of, last_of, run_of};
use ledger::snapshots::snapshot_of;
use metrics::counter;
use store::{BlockRange, Store, StoreError};
use topology::WalletId;
use tracing::warn;

/// Records a run that this process has filled.
pub async fn record_run<S: Store>(store: &S, wallet: WalletId, run: u64) -> Result<(), StoreError> {
    let mut blocks: Vec<Block> = Vec::new();
    while blocks.len() < RUN_BLOCKS as usize {
        let first = blocks.last().map_or(first_of(run), |block| block.number + 1);
        let range = BlockRange { first, last: last_of(run), newest_first: false };
        let page = store.blocks(wallet, range, RUN_BLOCKS as usize).await?;
        if page.is_empty() {
            return Err(StoreError::Corrupt(format!("run {run} is full but block {first} is missing")));
        }
        blocks.extend(page);
    }
    record(store, wallet, &blocks).await
}

async fn record<S: Store>(store: &S, wallet: WalletId, blocks: &[Block]) -> Result<(), StoreError> {
    let (Some(marks), Some(last)) = (MarkRun::of(blocks), blocks.last()) else {
        return Err(StoreError::Corrupt("a run is not whole".into()));
    };
    store.put_run(wallet, &marks).await?;
    // Other snapshots that are missing are found by the integrity job.
    store.put_snapshots(wallet, &[snapshot_of(last)]).await?;
    counter!("cell_snapshots_recorded_total").increment(1);
    Ok(())
}

/// Records the full runs among blocks that are read newest first: the process that filled them died before it could.
pub struct Recorder<'a, S> {
    store: &'a S,
    wallet: WalletId,
    /// Of one run, from its last block down.
    held: Vec<Block>,
    has_failed: bool,
}

impl<'a, S: Store> Recorder<'a, S> {
    pub fn new(store: &'a S, wallet: WalletId) -> Self {
        Self { store, wallet, held: Vec::new(), has_failed: false }
    }

    pub async fn take(&mut self, block: &Block) {
        let run = run_of(block.number);
        let goes_on = self.held.last().is_some_and(|above| above.number == block.number + 1);
        if !goes_on {
            self.held.clear();
        }
        if self.has_failed || !(goes_on || block.number == last_of(run)) {
            return;
        }
        self.held.push(block.clone());
        if block.number == first_of(run) {
            self.held.reverse();
            if let Err(error) = record(self.store, self.wallet, &self.held).await {
                warn!(wallet = %self.wallet, run, %error, "a run of blocks was not recorded");
                self.has_failed = true;
            }
            self.held.clear();
        }
    }
}
