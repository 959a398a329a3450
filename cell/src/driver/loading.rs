//! Reads of the store for the sequencer: a wallet's head with what it must not do twice, its new blocks; and the rows of
//! runs that were not recorded.

use std::collections::BTreeSet;

use ledger::limits::RUN_BLOCKS;
use ledger::marks::{Mark, MarkRun, last_of, marks_in, run_of};
use ledger::open::OpenTransfers;
use ledger::snapshots::snapshot_of;
use ledger::{Block, Hash, Head, Status, Timestamp, chain};
use metrics::counter;
use store::{BlockRange, Page, RecordedRuns, Store, StoreError, retry};
use topology::{CellId, WalletId};
use tracing::warn;

use crate::sequencer::{Loaded, Whole};

/// Blocks asked for in one page.
const PAGE_BLOCKS: usize = 256;
/// Pages of new blocks read after another instance was found ahead; above it the wallet is read afresh.
const MAX_TAIL_PAGES: usize = 16;
/// Pages of unrecorded blocks read to learn the marks of the last 24 hours, each of at most 1 MB. Where there are more,
/// the load fails, having recorded these: the next one gets further.
const MAX_MARK_PAGES: usize = 64;
/// Pages read for the open transfers of one wallet, each of at most 1 MB.
const MAX_OPEN_PAGES: usize = 1_024;

/// What a load is for.
pub struct Want {
    pub cell: CellId,
    pub wallet: WalletId,
    /// Marks made before this are not asked for.
    pub since: Timestamp,
    pub most_marks: usize,
}

pub async fn load<S: Store>(store: &S, want: &Want, after: Option<(u64, Hash)>, mut random: fastrand::Rng) -> Loaded {
    let found = retry::read(
        || random.f64(),
        || async {
            match after {
                Some((number, hash)) => load_tail(store, want, number, hash).await,
                None => load_whole(store, want).await,
            }
        },
    );
    match found.await {
        Ok(loaded) => loaded,
        Err(StoreError::Corrupt(what)) => Loaded::Corrupt(what),
        Err(StoreError::Unavailable(why) | StoreError::Rejected(why)) => Loaded::Unavailable(why),
    }
}

/// The blocks after a known one, checked link by link.
async fn load_tail<S: Store>(store: &S, want: &Want, known: u64, hash: Hash) -> Result<Loaded, StoreError> {
    // Each page starts with the last block already known: it is what the rest is checked against, and a page that
    // holds nothing else is the end of the chain.
    let mut tail: Vec<Block> = Vec::new();
    for _ in 0..MAX_TAIL_PAGES {
        let first = tail.last().map_or(known, |block| block.number);
        let range = BlockRange { first, last: u64::MAX, newest_first: false };
        let page = store.blocks(want.wallet, range, PAGE_BLOCKS).await?;
        let is_known = |block: &Block| block.number == first && (!tail.is_empty() || block.hash == hash);
        if !page.first().is_some_and(is_known) {
            // The known block is not here any more: the wallet has left, and what it left behind is being purged.
            return load_whole(store, want).await;
        }
        let ended = page.len() <= 1;
        let repeated = usize::from(!tail.is_empty());
        tail.extend(page.into_iter().skip(repeated));
        if ended {
            check_links(&tail)?;
            return Ok(Loaded::Tail(tail.into_iter().skip(1).collect()));
        }
    }
    match load_whole(store, want).await? {
        // What was read on the way goes along: a command that was written after all is found in it.
        Loaded::Whole(mut whole) => {
            tail.retain(|block| whole.blocks.first().is_none_or(|first| block.number < first.number));
            tail.extend(std::mem::take(&mut whole.blocks));
            Ok(Loaded::Whole(Box::new(Whole { blocks: tail, ..*whole })))
        }
        other => Ok(other),
    }
}

/// The head, every mark of the last 24 hours from recorded runs and from the blocks of other runs, and the transfers
/// that are open.
async fn load_whole<S: Store>(store: &S, want: &Want) -> Result<Loaded, StoreError> {
    let &Want { ref cell, wallet, since, most_marks } = want;
    let everything = BlockRange { first: 0, last: u64::MAX, newest_first: true };
    let (page, recorded, owner) = tokio::join!(
        store.page(wallet, everything, 32),
        store.mark_runs(wallet, since, most_marks),
        store.owner(wallet)
    );
    let (Page { mut blocks, more }, RecordedRuns { mut runs, is_all }, owner) = (page?, recorded?, owner?);
    let Some(head) = blocks.first().map(Block::head) else { return Ok(Loaded::Absent) };
    // One that is not full yet was written before the cell lost a part of the chain.
    runs.retain(|run| last_of(run.run) <= head.number);
    if head.home != *cell {
        // The marks of a wallet that lives elsewhere are of no use here: late requests are only sent on.
        blocks.reverse();
        let (runs, open) = (Vec::new(), OpenTransfers::default());
        let whole = Whole { head, runs, blocks, known_since: since, is_capped: false, open, owner };
        return Ok(Loaded::Whole(Box::new(whole)));
    }
    check_unbroken(&blocks, more)?;
    if owner.is_none() && head.state.status != Status::Erased {
        // Money comes first: the wallet is served. The integrity job reports it.
        warn!(%wallet, "the owner of a wallet is missing");
    }
    let open = open_transfers(store, &head, &blocks).await?;
    // Runs that were left out are not read block by block either.
    let known_since = match runs.last() {
        Some(oldest) if !is_all => oldest.last_at.plus_micros(1),
        _ => since,
    };
    let recorded = runs.iter().map(|run| run.run).collect();
    let is_whole = read_unrecorded(store, wallet, &mut blocks, &recorded, known_since).await?;
    blocks.reverse();
    check_links(&blocks)?;
    blocks.retain(|block| block.at >= known_since || block.number == head.number);
    record_missing(store, wallet, &blocks, &recorded).await;
    if !is_whole {
        return Err(StoreError::Unavailable(
            "the idempotency keys of the last 24 hours are still being indexed".into(),
        ));
    }
    Ok(Loaded::Whole(Box::new(Whole { head, runs, blocks, known_since, is_capped: !is_all, open, owner })))
}

/// The transfers that are open after `head`: from the blocks that the head names. `newest`: its last blocks, newest first.
async fn open_transfers<S: Store>(store: &S, head: &Head, newest: &[Block]) -> Result<OpenTransfers, StoreError> {
    let mut open = OpenTransfers::default();
    if head.state.open_count == 0 {
        return Ok(open);
    }
    let lowest = newest.last().map_or(head.number + 1, |block| block.number);
    let mut first = head.state.open_since;
    for _ in 0..MAX_OPEN_PAGES {
        if first >= lowest {
            break;
        }
        let range = BlockRange { first, last: lowest - 1, newest_first: false };
        let page = store.blocks(head.wallet, range, PAGE_BLOCKS).await?;
        page.iter().for_each(|block| open.take(block));
        first = page.last().ok_or_else(|| broken(first))?.number + 1;
    }
    if first < lowest {
        return Err(StoreError::Unavailable("too many blocks hold the open transfers of this wallet".into()));
    }
    newest.iter().rev().filter(|block| block.number >= first).for_each(|block| open.take(block));
    match usize::try_from(head.state.open_count) == Ok(open.len()) {
        true => Ok(open),
        false => Err(StoreError::Corrupt(format!("block {} miscounts the open transfers", head.number))),
    }
}

fn broken(number: u64) -> StoreError {
    StoreError::Corrupt(format!("block {number} is missing"))
}

/// The latest block that bears a mark, of all since `since`, however long ago that is.
pub async fn look_up<S: Store>(
    store: &S,
    cell: &CellId,
    wallet: WalletId,
    mark: Mark,
    since: Timestamp,
) -> Result<Option<u64>, StoreError> {
    let want = Want { cell: cell.clone(), wallet, since, most_marks: usize::MAX };
    let Loaded::Whole(whole) = load_whole(store, &want).await? else {
        return Ok(None);
    };
    if whole.is_capped {
        return Err(StoreError::Unavailable(format!("the search for what wallet {wallet} has done was given up")));
    }
    let of_runs = whole.runs.iter().flat_map(|run| run.marks.iter().copied());
    let found = of_runs.chain(marks_in(&whole.blocks)).filter(|(found, _)| *found == mark);
    Ok(found.map(|(_, block)| block).max())
}

/// Extends `blocks`, newest first, by those of unrecorded runs, back to `since`. False if that were too many to be read
/// at once.
async fn read_unrecorded<S: Store>(
    store: &S,
    wallet: WalletId,
    blocks: &mut Vec<Block>,
    recorded: &BTreeSet<u64>,
    since: Timestamp,
) -> Result<bool, StoreError> {
    for _ in 0..MAX_MARK_PAGES {
        let oldest = blocks.last().expect("the head is among them");
        if oldest.at < since || oldest.number == 0 {
            return Ok(true);
        }
        let Some(last) = next_unrecorded(oldest.number - 1, recorded) else { return Ok(true) };
        let range = BlockRange { first: 0, last, newest_first: true };
        let page = store.blocks(wallet, range, PAGE_BLOCKS).await?;
        if page.is_empty() {
            return Ok(true);
        }
        blocks.extend(page);
    }
    Ok(false)
}

/// The newest block at or before `number` that belongs to no recorded run.
fn next_unrecorded(mut number: u64, recorded: &BTreeSet<u64>) -> Option<u64> {
    while recorded.contains(&run_of(number)) {
        number = (run_of(number) * RUN_BLOCKS).checked_sub(1)?;
    }
    Some(number)
}

/// Runs that were full but never recorded, because the process that filled them died first.
async fn record_missing<S: Store>(store: &S, wallet: WalletId, blocks: &[Block], recorded: &BTreeSet<u64>) {
    for run in blocks.chunk_by(|a, b| run_of(a.number) == run_of(b.number)).filter_map(MarkRun::of) {
        if !recorded.contains(&run.run) {
            let last = blocks.iter().find(|block| block.number == last_of(run.run));
            let snapshot = snapshot_of(last.expect("the run is whole"));
            if let Err(error) = store.put_run(wallet, &run).await {
                warn!(%wallet, %error, "a run of blocks was not recorded");
                return;
            }
            // Other snapshots that are missing are found by the integrity job.
            if let Err(error) = store.put_snapshots(wallet, &[snapshot]).await {
                warn!(%wallet, %error, "a snapshot was not recorded");
            }
        }
    }
}

pub async fn record_run<S: Store>(store: &S, wallet: WalletId, run: u64) -> Result<(), StoreError> {
    let mut blocks: Vec<Block> = Vec::new();
    while blocks.len() < RUN_BLOCKS as usize {
        let first = blocks.last().map_or(run * RUN_BLOCKS, |block| block.number + 1);
        let range = BlockRange { first, last: last_of(run), newest_first: false };
        let page = store.blocks(wallet, range, RUN_BLOCKS as usize).await?;
        if page.is_empty() {
            return Err(StoreError::Corrupt(format!("run {run} is full but block {first} is missing")));
        }
        blocks.extend(page);
    }
    let marks = MarkRun::of(&blocks).ok_or_else(|| StoreError::Corrupt(format!("run {run} is not whole")))?;
    store.put_run(wallet, &marks).await?;
    store.put_snapshots(wallet, &[snapshot_of(&blocks[blocks.len() - 1])]).await?;
    counter!("cell_snapshots_recorded_total").increment(1);
    Ok(())
}

/// No block is missing among and below the newest ones, given newest first. Where one is, as after a restore that lacks a
/// part of the chain, what was done before cannot be known.
fn check_unbroken(newest: &[Block], more: bool) -> Result<(), StoreError> {
    let gap = newest.windows(2).find(|pair| pair[1].number + 1 != pair[0].number).map(|pair| pair[0].number);
    let lowest = newest.last().map(|block| block.number).filter(|number| !more && *number > 0);
    match gap.or(lowest) {
        None => Ok(()),
        Some(number) => Err(StoreError::Corrupt(format!("the blocks before block {number} are missing"))),
    }
}

/// Neighbours follow one another; where recorded runs were skipped there is nothing to compare.
fn check_links(blocks: &[Block]) -> Result<(), StoreError> {
    for pair in blocks.windows(2).filter(|pair| pair[0].number + 1 == pair[1].number) {
        chain::verify(Some(&pair[0].head()), &pair[1]).map_err(|fault| StoreError::Corrupt(fault.to_string()))?;
    }
    Ok(())
}
