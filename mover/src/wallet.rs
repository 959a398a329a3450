//! One wallet: copy, tail, cut over.

mod copying;
mod packed;

use std::time::Duration;

use ledger::moving::{self, Copy, NEWEST_BLOCKS, Step};
use ledger::{Append, Block, Head, ShortText, Status, Trace, canonical};
use store::commit::{CommitOutcome, commit_before};
use store::{BlockRange, Store, StoreError, retry};
use tokio::time::Instant;
use topology::{CellId, WalletId};
use uuid::Uuid;

use super::chase::Chase;
use super::{Holds, MoveError, Moved, Mover, Side};

/// Blocks looked at to tell the size of a chain.
const SAMPLE_BLOCKS: usize = 32;
/// Blocks read in one page.
const PAGE_BLOCKS: usize = 256;
/// How long one write is tried.
const WRITE_PATIENCE: Duration = Duration::from_secs(10);
/// Steps of one wallet, a page of blocks each: far more than the longest chain takes.
const STEPS_MAX: u32 = 10_000_000;

/// How often a copy is begun at the same block: as often as other movers and purges come between.
const BEGINNINGS_MAX: u32 = 100;

/// How often a copy that looks broken is counted again before it is called broken.
const RECOUNTS_MAX: u32 = 3;

/// What both cells hold, as it was last seen.
struct Seen {
    source: Option<Head>,
    /// Before either was asked.
    at: Instant,
    copy: Copy,
    /// The last block that the target does not need to hold, since it and all below are in packs.
    packed: Option<Head>,
}

enum Written {
    Yes,
    /// A condition failed, and both cells have to be looked at again.
    No,
}

impl<S: Store, H: Holds> Mover<'_, S, H> {
    /// Copies one wallet and cuts it over. Ends early where another mover did it.
    pub async fn move_wallet(&self, wallet: WalletId) -> Result<Moved, MoveError> {
        let _place = self.pace.place().await;
        let mut chase = Chase::default();
        let moved = Box::pin(self.steps(wallet, &mut chase)).await;
        if chase.is_slow() {
            self.holds.release(wallet).await;
        }
        moved
    }

    async fn steps(&self, wallet: WalletId, chase: &mut Chase) -> Result<Moved, MoveError> {
        let (from, to) = (&self.route.from.cell, &self.route.to.cell);
        let mut seen = self.look(wallet, None).await?;
        let (mut counted, mut recounts) = (false, 0);
        let (mut begins_at, mut beginnings) = (0, 0);
        let mut begun: Option<Instant> = None;
        for _ in 0..STEPS_MAX {
            let step = moving::next(from, to, seen.source.as_ref(), &seen.copy);
            if matches!(step, Step::Copy { .. } | Step::CutOver { .. }) && !counted {
                // What the target held before is counted once; each later write checks what is below it.
                if let Some(prefix) = &seen.copy.prefix
                    && let Err(broken) = self.check_whole(&self.route.to, prefix).await
                {
                    let again = self.look(wallet, seen.packed.take()).await?;
                    // It was being purged while it was counted, and may have been filled again since.
                    recounts += 1;
                    if again.copy == seen.copy && recounts > RECOUNTS_MAX {
                        return Err(broken);
                    }
                    seen = again;
                    continue;
                }
                counted = true;
            }
            seen = match step {
                Step::Absent => return Ok(Moved::Absent),
                Step::Elsewhere { home } => return Ok(Moved::Elsewhere(home)),
                Step::Diverged { number } => {
                    return Err(diverged(wallet, format!("the cells differ at block {number}")));
                }
                Step::Done => {
                    if let Some(begun) = begun {
                        self.pace.progress.moved_one(begun.elapsed());
                    }
                    return Ok(Moved::Done);
                }
                Step::Copy { first, last } => {
                    beginnings = if first == begins_at { beginnings + 1 } else { 1 };
                    begins_at = first;
                    if beginnings > BEGINNINGS_MAX {
                        return Err(MoveError::Contended(wallet));
                    }
                    // Once the wallet has left the source, what is missing is never left for later.
                    if seen.source.as_ref().is_some_and(|head| head.home == *from) {
                        self.check_stop()?;
                        chase.copies(first, last);
                        if chase.is_over() {
                            return Err(MoveError::Contended(wallet));
                        }
                    }
                    chase.run(self.holds, wallet, self.copy(wallet, seen, first, last)).await?
                }
                Step::CutOver { after } => {
                    self.check_stop()?;
                    // A block after an old head could land where the chain has been purged since.
                    if seen.at.elapsed() > self.head_lifetime / 2 {
                        seen = self.look(wallet, seen.packed).await?;
                        continue;
                    }
                    let slows = chase.cuts_over();
                    if chase.is_over() {
                        return Err(MoveError::Contended(wallet));
                    }
                    if slows {
                        self.holds.hold(wallet).await;
                        seen = self.look(wallet, seen.packed).await?;
                        continue;
                    }
                    begun.get_or_insert_with(Instant::now);
                    let cut = chase.run(self.holds, wallet, self.cut_over(wallet, seen, &after)).await?;
                    if cut.source.as_ref().is_some_and(|head| head.home == *from) {
                        // Written to meanwhile.
                        begun = None;
                    }
                    cut
                }
            };
        }
        Err(MoveError::Contended(wallet))
    }

    async fn look(&self, wallet: WalletId, packed: Option<Head>) -> Result<Seen, MoveError> {
        let began = Instant::now();
        // The target first: seen after the source, a copy could be ahead of it because another
        // mover moved the wallet in between, and would look like another chain.
        let target = retry::read(random(wallet), || newest_blocks(&self.route.to.store, wallet)).await?;
        let asked = Instant::now();
        let source = retry::read(random(wallet), || self.route.from.store.head(wallet)).await?;
        self.pace.source_answered(asked.elapsed());
        let mut copy = Copy::of(&self.route.to.cell, &target);
        // What was purged below a tombstone is copied again, whether it is in packs or not.
        let packed = packed.filter(|_| copy.tombstone.is_none() && copy.prefix.is_some());
        if let Some(packed) = &packed {
            copy = copy.above(packed, &target);
        }
        Ok(Seen { source: source.map(|block| block.head()), at: began, copy, packed })
    }

    /// Appends the `Moved` block to the source: the moment from which nothing can be written there.
    async fn cut_over(&self, wallet: WalletId, mut seen: Seen, after: &Head) -> Result<Seen, MoveError> {
        let order = self.order;
        let request_id = ShortText::cut(&order.operation, MAX_OPERATION_BYTES);
        let trace = Trace { request_id, ..Trace::default() };
        let name = format!("{}:{}", order.operation, after.number);
        let id = Uuid::new_v5(&wallet.as_uuid(), name.as_bytes());
        let block = moving::moved_block(after, &self.route.to.cell, order.epoch, id, trace, (self.clock)());
        let append = Append::onto(vec![block]);
        let sign_by = Some(seen.at + self.head_lifetime);
        self.bring_owner(wallet, after).await?;
        if let Written::No = self.append_before(&self.route.from.store, wallet, append.clone(), sign_by).await? {
            return self.look(wallet, seen.packed).await;
        }
        let head = append.blocks[0].head();
        seen.source = Some(head.clone());
        // The one write between the two homes: a request that comes meanwhile is sent on with this very block.
        let written = self.append_at(&self.route.to.store, wallet, append).await?;
        if matches!(written, Written::No) || seen.copy.tombstone.is_some() {
            return self.look(wallet, seen.packed).await;
        }
        seen.copy.prefix = Some(head);
        Ok(seen)
    }

    /// The owner is at the target before the wallet is, and before its blocks. Once the wallet's personal data is erased, it
    /// is at neither.
    async fn bring_owner(&self, wallet: WalletId, head: &Head) -> Result<(), MoveError> {
        let (source, target) = (&self.route.from.store, &self.route.to.store);
        if head.state.status == Status::Erased {
            return Ok(retry::read(random(wallet), || target.erase_owner(wallet)).await?);
        }
        if retry::read(random(wallet), || target.owner(wallet)).await?.is_some() {
            return Ok(());
        }
        let Some(owner) = retry::read(random(wallet), || source.owner(wallet)).await? else {
            tracing::warn!(%wallet, "the owner of a wallet that moves is missing");
            return Ok(());
        };
        Ok(retry::read(random(wallet), || target.put_owner(wallet, &owner)).await?)
    }

    async fn append_at(&self, store: &S, wallet: WalletId, append: Append) -> Result<Written, MoveError> {
        self.append_before(store, wallet, append, None).await
    }

    async fn append_before(
        &self,
        store: &S,
        wallet: WalletId,
        append: Append,
        sign_by: Option<Instant>,
    ) -> Result<Written, MoveError> {
        let deadline = Instant::now() + WRITE_PATIENCE;
        match commit_before(store, &append, sign_by, deadline, random(wallet)).await {
            CommitOutcome::Applied => Ok(Written::Yes),
            CommitOutcome::Conflict(_) => Ok(Written::No),
            CommitOutcome::NotApplied(why) | CommitOutcome::Unknown(why) => Err(StoreError::Unavailable(why).into()),
        }
    }

    /// About how many bytes of the wallet's chain are to be copied: estimated from its newest blocks.
    pub async fn size_at_source(&self, wallet: WalletId) -> Result<u64, MoveError> {
        let newest = BlockRange { first: 0, last: u64::MAX, newest_first: true };
        let some = self.route.from.store.held_page(wallet, newest, SAMPLE_BLOCKS).await?.blocks;
        let Some(head) = some.first() else { return Ok(0) };
        let bytes: u64 = some.iter().map(|block| canonical::size(block) as u64).sum();
        let copied = head.number.saturating_add(1).saturating_sub(self.first_unpacked(wallet, head.number).await?);
        Ok(bytes.saturating_mul(copied) / some.len() as u64)
    }

    /// Whether the target's chain begins with all of the source's: same block at the number of the source's last one,
    /// and nothing missing before it.
    pub async fn verify_wallet(&self, wallet: WalletId) -> Result<(), MoveError> {
        let Seen { source: Some(source), copy, .. } = self.look(wallet, None).await? else { return Ok(()) };
        if source.home == self.route.from.cell {
            return Err(diverged(wallet, format!("it has not left {}", source.home)));
        }
        let range = BlockRange { first: source.number, last: source.number, newest_first: false };
        let same = self.route.to.store.blocks(wallet, range, 1).await?;
        let whole = copy.prefix.as_ref().is_some_and(|prefix| prefix.number >= source.number);
        match same.first() {
            Some(block) if whole && block.hash == source.hash => self.check_whole(&self.route.to, &source).await,
            Some(block) if block.hash != source.hash => {
                Err(diverged(wallet, format!("block {} has two hashes", source.number)))
            }
            _ => Err(diverged(wallet, format!("{} does not hold all of it", self.route.to.cell))),
        }
    }

    /// Reads the chain of a cell from block 0 up to `last` and checks every link: a block that is missing below the two
    /// newest ones is seen by nothing else.
    async fn check_whole(&self, side: &Side<S>, last: &Head) -> Result<(), MoveError> {
        let (wallet, mut before) = (last.wallet, None::<Head>);
        while before.as_ref().is_none_or(|before| before.number < last.number) {
            let first = before.as_ref().map_or(0, |before| before.number + 1);
            let range = BlockRange { first, last: last.number, newest_first: false };
            let page = retry::read(random(wallet), || side.store.blocks(wallet, range, PAGE_BLOCKS)).await?;
            let broken = |why: String| diverged(wallet, format!("the chain in {} is broken: {why}", side.cell));
            moving::check_links(before.as_ref(), &page).map_err(|fault| broken(fault.to_string()))?;
            before = Some(page.last().ok_or_else(|| broken(format!("block {first} is missing")))?.head());
        }
        let agrees = before.as_ref().is_some_and(|found| found.hash == last.hash);
        agrees.then_some(()).ok_or_else(|| diverged(wallet, format!("block {} has two hashes", last.number)))
    }
}

/// The newest blocks of a chain, newest first: enough to tell where its unbroken beginning ends.
pub async fn newest_blocks<S: Store>(store: &S, wallet: WalletId) -> Result<Vec<Block>, StoreError> {
    let mut newest: Vec<Block> = Vec::new();
    while newest.len() < NEWEST_BLOCKS {
        let last = newest.last().map_or(Some(u64::MAX), |block| block.number.checked_sub(1));
        let Some(last) = last else { break };
        let range = BlockRange { first: 0, last, newest_first: true };
        let page = store.held_page(wallet, range, NEWEST_BLOCKS - newest.len()).await?;
        newest.extend(page.blocks);
        if !page.more {
            break;
        }
    }
    Ok(newest)
}

/// The newest block up to `head` by which the wallet left `cell`, from the chain that another cell holds.
pub async fn last_departure<S: Store>(store: &S, cell: &CellId, head: &Head) -> Result<Option<Block>, StoreError> {
    let mut last = Some(head.number);
    while let Some(newest) = last {
        let range = BlockRange { first: 0, last: newest, newest_first: true };
        let page = retry::read(random(head.wallet), || store.blocks(head.wallet, range, PAGE_BLOCKS)).await?;
        last = page.last().and_then(|block| block.number.checked_sub(1));
        if let Some(left) = page.into_iter().find(|block| moving::is_tombstone(cell, block)) {
            return Ok(Some(left));
        }
    }
    Ok(None)
}

/// Longest name of an operation written into a block: the block has to fit into a header.
const MAX_OPERATION_BYTES: usize = 128;

fn diverged(wallet: WalletId, what: String) -> MoveError {
    MoveError::Diverged { wallet, what }
}

/// Jitter that is the same in every run of a simulation.
pub fn random(wallet: WalletId) -> impl FnMut() -> f64 {
    let mut random = fastrand::Rng::with_seed(wallet.as_uuid().as_u64_pair().1);
    move || random.f64()
}
