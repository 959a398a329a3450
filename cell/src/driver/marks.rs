//! Reads the marks of a wallet's blocks, newest first: from the rows of recorded runs, and from the blocks where there is
//! no row. It holds a few pages at a time, however many marks there are.

use std::collections::{BTreeMap, HashMap};
use std::ops::{ControlFlow, RangeInclusive};
use std::pin::pin;

use futures_util::stream::{self, Stream, StreamExt};
use ledger::marks::{Mark, MarkRun, first_of, last_of, run_of};
use ledger::{Block, Timestamp, chain};
use metrics::counter;
use store::{BlockRange, RunPage, Store, StoreError, retry};
use topology::{CellId, WalletId};

use super::recording::Recorder;
use crate::sequencer::{Command, Doubt, Known, Part};

/// Blocks asked for in one page.
const PAGE_BLOCKS: usize = 256;
/// Pages of blocks without rows read in one walk, each of at most 1 MB. Where there are more, the walk fails, having
/// recorded these: the next one gets further.
const MAX_BLOCK_PAGES: usize = 64;
/// Pages of rows that are read at once. The database takes longer to send a page than this process takes to read it.
const PAGES_AT_ONCE: usize = 4;

/// A way down a chain.
pub struct Walk<'a, S> {
    pub store: &'a S,
    pub wallet: WalletId,
    /// The last blocks of the chain, newest first, where they were read before.
    pub newest: &'a [Block],
    /// What records the runs without rows that it meets, if anything does.
    pub recorder: Option<Recorder<'a, S>>,
    pub random: fastrand::Rng,
}

impl<S: Store> Walk<'_, S> {
    /// Visits a part of the chain, until `visit` breaks off. `rows`: the first page of its recorded runs.
    pub async fn down(
        &mut self,
        blocks: RangeInclusive<u64>,
        rows: RunPage,
        mut visit: impl FnMut(Part) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let (first, last) = blocks.into_inner();
        let below = |number: u64| number.checked_sub(1).filter(|number| *number >= first);
        let mut next = Some(last);
        let mut pages = MAX_BLOCK_PAGES;
        let mut rows = pin!(all_rows(self.store, self.wallet, run_of(first), rows, self.random.fork()));
        while let Some(page) = rows.next().await {
            // A row of a run that is not full was written before the cell lost a part of the chain.
            for run in page?.into_iter().filter(|run| last_of(run.run) <= last) {
                let number = run.run;
                let missing = next.filter(|next| *next > last_of(number)).map(|next| last_of(number) + 1..=next);
                if let Some(missing) = missing
                    && self.down_blocks(missing, &mut pages, &mut visit).await?.is_break()
                {
                    return Ok(());
                }
                if visit(Part::of_run(run)).is_break() {
                    return Ok(());
                }
                next = below(first_of(number));
            }
        }
        if let Some(next) = next {
            let _ended = self.down_blocks(first..=next, &mut pages, &mut visit).await?;
        }
        Ok(())
    }

    /// The same by blocks alone.
    async fn down_blocks(
        &mut self,
        blocks: RangeInclusive<u64>,
        pages: &mut usize,
        visit: &mut impl FnMut(Part) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, StoreError> {
        let (first, mut next) = blocks.into_inner();
        let mut above: Option<Block> = None;
        loop {
            for block in self.page(first, next, pages).await? {
                check_link(&block, above.as_ref(), next)?;
                let flow = visit(Part::of_block(&block));
                if let Some(recorder) = &mut self.recorder {
                    recorder.take(&block).await;
                }
                if flow.is_break() || block.number == first {
                    return Ok(flow);
                }
                next = block.number - 1;
                above = Some(block);
            }
        }
    }

    /// A page of blocks from `next` down, newest first.
    async fn page(&self, first: u64, next: u64, pages: &mut usize) -> Result<Vec<Block>, StoreError> {
        let known = self.newest.iter().filter(|block| (first..=next).contains(&block.number));
        let known: Vec<_> = known.cloned().collect();
        if known.first().is_some_and(|block| block.number == next) {
            return Ok(known);
        }
        *pages = pages.checked_sub(1).ok_or_else(|| {
            StoreError::Unavailable("the idempotency keys of the last 24 hours are still being indexed".into())
        })?;
        let range = BlockRange { first, last: next, newest_first: true };
        let page = self.store.blocks(self.wallet, range, PAGE_BLOCKS).await?;
        if page.is_empty() { Err(missing(next)) } else { Ok(page) }
    }
}

/// Blocks follow one another. One that is missing may be that of a wallet that has left and is being purged.
fn check_link(block: &Block, above: Option<&Block>, expected: u64) -> Result<(), StoreError> {
    if block.number != expected {
        return Err(missing(expected));
    }
    let Some(above) = above else { return Ok(()) };
    chain::verify(Some(&block.head()), above).map_err(|fault| StoreError::Corrupt(fault.to_string()))
}

fn missing(number: u64) -> StoreError {
    StoreError::Unavailable(format!("block {number} is missing"))
}

/// All recorded runs down to one, newest first, a page after the other. Those after the first page are asked for in parts
/// of about a page, several at once.
fn all_rows<S: Store>(
    store: &S,
    wallet: WalletId,
    first: u64,
    page: RunPage,
    mut random: fastrand::Rng,
) -> impl Stream<Item = Result<Vec<MarkRun>, StoreError>> {
    let oldest = page.runs.last().map(|run| run.run).filter(|run| page.more && *run > first);
    let width = u64::try_from(page.runs.len()).unwrap_or(u64::MAX);
    let part = move |last: u64| last.saturating_sub(width.saturating_sub(1)).max(first)..=last;
    let parts = std::iter::successors(oldest.map(|oldest| part(oldest - 1)), move |above| {
        (*above.start() > first).then(|| part(*above.start() - 1))
    });
    let read = move |runs| rows_of(store, wallet, runs, random.fork());
    stream::iter([Ok(page.runs)]).chain(stream::iter(parts).map(read).buffered(PAGES_AT_ONCE))
}

async fn rows_of<S: Store>(
    store: &S,
    wallet: WalletId,
    runs: RangeInclusive<u64>,
    mut random: fastrand::Rng,
) -> Result<Vec<MarkRun>, StoreError> {
    let (first, mut last) = runs.into_inner();
    let mut found: Vec<MarkRun> = Vec::new();
    loop {
        let page = retry::read(|| random.f64(), || store.mark_runs(wallet, first..=last)).await?;
        found.extend(page.runs);
        match found.last().filter(|oldest| page.more && oldest.run > first) {
            Some(oldest) => last = oldest.run - 1,
            None => return Ok(found),
        }
    }
}

/// What was looked up of a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LookedUp {
    /// The latest block that bears it, if one does, of all up to `through`, which was the head and was written at `at`.
    Here { latest: Option<u64>, through: u64, at: Timestamp },
    /// The wallet lives in another cell: nothing was looked up.
    Elsewhere,
}

/// Looks a mark up in all blocks since `since`, however long ago that is.
pub async fn look_up<S: Store>(
    store: &S,
    cell: &CellId,
    wallet: WalletId,
    mark: Mark,
    since: Timestamp,
    random: fastrand::Rng,
) -> Result<LookedUp, StoreError> {
    let Some(head) = store.head(wallet).await?.filter(|head| head.home == *cell) else {
        return Ok(LookedUp::Elsewhere);
    };
    let rows = store.mark_runs(wallet, 0..=run_of(head.number)).await?;
    let mut found = None;
    let mut walk = Walk { store, wallet, newest: &[], recorder: None, random };
    let visit = |part: Part| {
        if part.last_at >= since {
            found = part.latest(mark);
        }
        if part.last_at < since || found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    walk.down(0..=head.number, rows, visit).await?;
    Ok(LookedUp::Here { latest: found, through: head.number, at: head.at })
}

/// Looks up where a command's marks may have been made, and notes what was found with the command.
pub async fn look_up_doubts<S: Store>(
    store: &S,
    command: &mut Command,
    doubts: Vec<Doubt>,
    random: &mut fastrand::Rng,
) -> Result<(), StoreError> {
    // By the last block of each part, so that the later one counts where two bear the same mark.
    let mut parts: BTreeMap<(u64, u64), Vec<Mark>> = BTreeMap::new();
    for Doubt { mark, parts: of_mark } in doubts {
        of_mark.iter().for_each(|part| parts.entry((*part.end(), *part.start())).or_default().push(mark));
    }
    for ((last, first), marks) in parts {
        let found = latest_in(store, command.wallet, first..=last, &marks, random.fork()).await?;
        for mark in marks {
            let latest = found.get(&mark).copied();
            let outcome = if latest.is_some() { "found" } else { "not_found" };
            counter!("cell_marks_looked_up_total", "outcome" => outcome).increment(1);
            command.learn(mark, Known::found(last, latest));
        }
    }
    Ok(())
}

/// The latest block in a part of the chain that bears each of these marks.
async fn latest_in<S: Store>(
    store: &S,
    wallet: WalletId,
    blocks: RangeInclusive<u64>,
    marks: &[Mark],
    random: fastrand::Rng,
) -> Result<HashMap<Mark, u64>, StoreError> {
    let mut found = HashMap::new();
    let rows = store.mark_runs(wallet, run_of(*blocks.start())..=run_of(*blocks.end())).await?;
    let mut walk = Walk { store, wallet, newest: &[], recorder: None, random };
    let within = blocks.clone();
    let visit = |part: Part| {
        for mark in marks {
            if let Some(block) = part.latest(*mark).filter(|block| within.contains(block)) {
                found.entry(*mark).or_insert(block);
            }
        }
        if found.len() == marks.len() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    walk.down(blocks, rows, visit).await?;
    Ok(found)
}
