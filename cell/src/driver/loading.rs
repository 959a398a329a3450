//! Reads a wallet for the sequencer: its head with what it must not do twice, or its new blocks.

use std::ops::ControlFlow;

use ledger::open::OpenTransfers;
use ledger::{Block, Hash, Head, Status, Timestamp, chain};
use store::{BlockRange, Page, RunPage, Store, StoreError, retry};
use topology::{CellId, WalletId};
use tracing::warn;

use super::marks::Walk;
use super::recording::Recorder;
use crate::sequencer::{Gathered, Loaded, Part, Sealing, Seen, Whole};

/// Blocks asked for in one page.
const PAGE_BLOCKS: usize = 256;
/// Blocks that are read first: of most wallets all that is needed.
const NEWEST_BLOCKS: usize = 32;
/// Pages of new blocks read after another instance was found ahead; above it the wallet is read afresh.
const MAX_TAIL_PAGES: usize = 16;
/// Pages read for the open transfers of one wallet, each of at most 1 MB.
const MAX_OPEN_PAGES: usize = 1_024;

/// What a load is for.
pub struct Want {
    pub cell: CellId,
    pub wallet: WalletId,
    /// Marks made before this are not asked for.
    pub since: Timestamp,
    pub most_marks: usize,
    pub sealing: Sealing,
}

pub async fn load<S: Store>(store: &S, want: &Want, after: Option<(u64, Hash)>, mut random: fastrand::Rng) -> Loaded {
    let seed = random.u64(..);
    let found = retry::read(
        || random.f64(),
        || async {
            match after {
                Some((number, hash)) => load_tail(store, want, number, hash, seed).await,
                None => load_whole(store, want, seed).await,
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
async fn load_tail<S: Store>(store: &S, want: &Want, known: u64, hash: Hash, seed: u64) -> Result<Loaded, StoreError> {
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
            return load_whole(store, want, seed).await;
        }
        let ended = page.len() <= 1;
        let repeated = usize::from(!tail.is_empty());
        tail.extend(page.into_iter().skip(repeated));
        if ended {
            check_links(&tail)?;
            return Ok(Loaded::Tail(tail.into_iter().skip(1).collect()));
        }
    }
    match load_whole(store, want, seed).await? {
        // What was read on the way goes along: a command that was written after all is found in it.
        Loaded::Whole(mut whole) => {
            tail.retain(|block| whole.blocks.first().is_none_or(|first| block.number < first.number));
            tail.extend(std::mem::take(&mut whole.blocks));
            Ok(Loaded::Whole(Box::new(Whole { blocks: tail, ..*whole })))
        }
        other => Ok(other),
    }
}

/// The head, every mark of the last 24 hours, and the transfers that are open.
async fn load_whole<S: Store>(store: &S, want: &Want, seed: u64) -> Result<Loaded, StoreError> {
    let (cell, wallet) = (&want.cell, want.wallet);
    let everything = BlockRange { first: 0, last: u64::MAX, newest_first: true };
    let (page, rows, owner) = tokio::join!(
        store.held_page(wallet, everything, NEWEST_BLOCKS),
        store.mark_runs(wallet, 0..=u64::MAX),
        store.owner(wallet)
    );
    let (Page { mut blocks, more }, rows, owner) = (page?, rows?, owner?);
    let Some(head) = blocks.first().map(Block::head) else { return Ok(Loaded::Absent) };
    let (seen, open) = if head.home == *cell {
        check_unbroken(&blocks, more)?;
        check_links(&blocks)?;
        if owner.is_none() && head.state.status != Status::Erased {
            // Money comes first: the wallet is served. The integrity job reports it.
            warn!(%wallet, "the owner of a wallet is missing");
        }
        let open = open_transfers(store, &head, &blocks).await?;
        (seen(store, want, &head, &blocks, rows, seed).await?, open)
    } else {
        // The marks of a wallet that lives elsewhere are of no use here: late requests are only sent on.
        let nothing = Gathered::new(want.sealing);
        (Seen::of(nothing, want.since, false), OpenTransfers::default())
    };
    blocks.reverse();
    Ok(Loaded::Whole(Box::new(Whole { head, blocks, seen, open, owner })))
}

/// What is known of the marks of the last 24 hours. `newest`: the wallet's last blocks, newest first.
async fn seen<S: Store>(
    store: &S,
    want: &Want,
    head: &Head,
    newest: &[Block],
    rows: RunPage,
    seed: u64,
) -> Result<Seen, StoreError> {
    let (wallet, random) = (want.wallet, fastrand::Rng::with_seed(seed));
    let mut gathered = Gathered::new(want.sealing);
    let (mut oldest, mut is_capped) = (head.at, false);
    let visit = |part: Part| {
        if part.last_at < want.since {
            return ControlFlow::Break(());
        }
        if gathered.marks() >= want.most_marks {
            is_capped = true;
            return ControlFlow::Break(());
        }
        oldest = part.last_at;
        gathered.take(part);
        ControlFlow::Continue(())
    };
    let mut walk = Walk { store, wallet, newest, recorder: Some(Recorder::new(store, wallet)), random };
    walk.down(0..=head.number, rows, visit).await?;
    let known_since = if is_capped { oldest.plus_micros(1) } else { want.since };
    Ok(Seen::of(gathered, known_since, is_capped))
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

/// Neighbors follow one another, whichever end comes first. What is being purged has gaps.
fn check_links(blocks: &[Block]) -> Result<(), StoreError> {
    for pair in blocks.windows(2) {
        let (below, above) = if pair[0].number < pair[1].number { (&pair[0], &pair[1]) } else { (&pair[1], &pair[0]) };
        if below.number + 1 == above.number {
            chain::verify(Some(&below.head()), above).map_err(|fault| StoreError::Corrupt(fault.to_string()))?;
        }
    }
    Ok(())
}
