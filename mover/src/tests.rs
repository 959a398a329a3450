//! Movers that are stopped for an hour in front of one write, and wake up in another world. The tables are the store in
//! memory; an hour passes at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use archive::Archive;
use ledger::fence::HEAD_LIFETIME;
use ledger::{Append, Block, Entry, EntryKind, Guard, Money, Owner, Timestamp, Trace, WalletKey, chain, moving};
use store::memory::{Fate, Fault, FaultPlan, MemoryStore};
use store::packing::Packing;
use store::{BlockRange, Chains, Forgotten, Genesis, Owners};
use tokio::sync::watch;
use tokio::time::Instant;
use topology::{Bucket, CellId, UserId, WalletId};
use uuid::Uuid;

use super::{Buckets, Group, Holds, MoveError, Moved, Mover, Order, Pace, Route, Settled, Side, settle};

const HOUR: Duration = Duration::from_secs(3_600);

struct NoHolds;

impl Holds for NoHolds {
    async fn hold(&self, _: WalletId) {}
    async fn release(&self, _: WalletId) {}
}

/// Stops the process in front of its `stop_at`-th write to this cell.
struct StopsAt {
    stop_at: usize,
    writes: AtomicUsize,
}

impl FaultPlan for StopsAt {
    fn next(&self, write: bool) -> Fate {
        let stops = write && self.writes.fetch_add(1, Ordering::Relaxed) + 1 == self.stop_at;
        Fate { before: if stops { HOUR } else { Duration::ZERO }, ..Fate::default() }
    }
}

pub fn cell(name: &str) -> CellId {
    CellId::parse(name).expect("sound")
}

fn side(name: &str) -> Side<MemoryStore> {
    Side { cell: cell(name), store: MemoryStore::new(Genesis::of(Bucket::all())) }
}

/// Another cell of the same name with the same chains.
async fn copy_of(original: &Side<MemoryStore>) -> Side<MemoryStore> {
    let copy = Side { cell: original.cell.clone(), store: MemoryStore::new(Genesis::of([])) };
    for blocks in original.store.chains().into_values() {
        copy.store.append(&Append::of(blocks, None)).await.expect("free");
    }
    copy
}

/// The same cell, for a process that stops in front of its `stop_at`-th write there.
fn stopping(side: &Side<MemoryStore>, stop_at: usize) -> Side<MemoryStore> {
    let plan = Arc::new(StopsAt { stop_at, writes: AtomicUsize::new(0) });
    Side { cell: side.cell.clone(), store: side.store.with_faults(plan) }
}

async fn with_mover<T>(
    from: &Side<MemoryStore>,
    to: &Side<MemoryStore>,
    work: impl AsyncFnOnce(Mover<'_, MemoryStore, NoHolds>) -> T,
) -> T {
    with_holds(from, to, &NoHolds, work).await
}

async fn with_holds<H: Holds, T>(
    from: &Side<MemoryStore>,
    to: &Side<MemoryStore>,
    holds: &H,
    work: impl AsyncFnOnce(Mover<'_, MemoryStore, H>) -> T,
) -> T {
    let route = Route { from: from.clone(), to: to.clone() };
    let order = Order { operation: "op-1".into(), epoch: 1 };
    let (pace, clock) = (Pace::new(1, None), || Timestamp::from_micros(1_000_000));
    let (_stopper, stop) = watch::channel(false);
    let head_lifetime = HEAD_LIFETIME;
    work(Mover { route: &route, order: &order, pace: &pace, holds, stop, clock: &clock, head_lifetime }).await
}

async fn moves(from: &Side<MemoryStore>, to: &Side<MemoryStore>, wallet: WalletId) -> Result<Moved, MoveError> {
    with_mover(from, to, async |mover| mover.move_wallet(wallet).await).await
}

async fn forgets(at: &Side<MemoryStore>, home: &Side<MemoryStore>, wallet: WalletId) -> Result<u64, MoveError> {
    with_mover(at, home, async |mover| {
        let tombstone = mover.tombstone(wallet).await?.expect("it has left");
        mover.forget_wallet(wallet, tombstone.number).await
    })
    .await
}

fn entry(kind: EntryKind, amount: u64, balance_after: Money) -> Entry {
    let amount = Money::from_minor(amount);
    Entry::new(Uuid::now_v7(), kind, amount, balance_after)
}

fn next(head: &Block, amount: u64) -> Block {
    let mut state = head.state.clone();
    state.balance = Money::from_minor(state.balance.minor() + amount);
    let entry = entry(EntryKind::Deposit, amount, state.balance);
    chain::next(&head.head(), state, vec![entry], head.at)
}

async fn deposit(side: &Side<MemoryStore>, wallet: WalletId) {
    let head = side.store.head(wallet).await.expect("answers").expect("there");
    side.store.append(&Append::of(vec![next(&head, 1)], None)).await.expect("free");
}

/// A wallet with so many blocks in this cell.
async fn wallet_of(side: &Side<MemoryStore>, blocks: u64) -> WalletId {
    let user = UserId::parse("ann").expect("sound");
    let wallet = WalletId::for_user(Uuid::from_u128(1), &user);
    let opened = entry(EntryKind::Opened, 0, Money::ZERO);
    let block = chain::open(wallet, side.cell.clone(), Timestamp::from_micros(1), opened, None);
    let owner = Owner { user, key: WalletKey::from_bytes([7; WalletKey::BYTES]) };
    let append = Append::create(block, Guard::Bucket { genesis: true }, owner);
    side.store.append(&append).await.expect("created");
    for _ in 1..blocks {
        deposit(side, wallet).await;
    }
    wallet
}

fn numbers(side: &Side<MemoryStore>, wallet: WalletId) -> Vec<u64> {
    side.store.chains().get(&wallet).into_iter().flatten().map(|block| block.number).collect()
}

#[tokio::test(start_paused = true)]
async fn a_copier_that_slept_writes_nothing_below_a_tombstone() {
    let (a, b) = (side("a"), side("b"));
    let wallet = wallet_of(&a, 40).await;
    let asleep = tokio::spawn({
        let (a, b) = (a.clone(), stopping(&b, 2));
        async move { moves(&a, &b, wallet).await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!asleep.is_finished());
    assert_eq!(moves(&a, &b, wallet).await.expect("moved"), Moved::Done);
    assert_eq!(moves(&b, &a, wallet).await.expect("moved back"), Moved::Done);
    forgets(&b, &a, wallet).await.expect("forgotten");
    let tombstone = numbers(&b, wallet);
    assert_eq!(tombstone.len(), 1);
    drop(asleep.await.expect("it ends"));
    let after = numbers(&b, wallet);
    assert!(after == tombstone || after.starts_with(&[0]), "{after:?}");
    // Whatever it did, the wallet comes whole, and nothing is lost when the other copy goes.
    moves(&a, &b, wallet).await.expect("moved again");
    forgets(&a, &b, wallet).await.expect("forgotten");
    let whole = numbers(&b, wallet);
    assert_eq!(whole, (0..whole.len() as u64).collect::<Vec<_>>());
    let head = b.store.head(wallet).await.expect("answers").expect("there");
    assert_eq!((head.home, head.state.balance.minor()), (b.cell.clone(), 39));
}

#[tokio::test(start_paused = true)]
async fn a_mover_that_slept_does_not_cut_over_below_a_tombstone() {
    let (a, b) = (side("a"), side("b"));
    let wallet = wallet_of(&a, 3).await;
    let asleep = tokio::spawn({
        let (a, b) = (stopping(&a, 1), b.clone());
        async move { moves(&a, &b, wallet).await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!asleep.is_finished());
    deposit(&a, wallet).await;
    moves(&a, &b, wallet).await.expect("moved");
    forgets(&a, &b, wallet).await.expect("forgotten");
    let tombstone = numbers(&a, wallet);
    // Its head is too old by now, and what was below is gone: either is enough.
    drop(asleep.await.expect("it ends"));
    assert_eq!(numbers(&a, wallet), tombstone);
    moves(&b, &a, wallet).await.expect("moved back");
}

/// Tables that take so many writes and no more.
struct Takes(AtomicUsize);

impl FaultPlan for Takes {
    fn next(&self, write: bool) -> Fate {
        let takes = |left: usize| left.checked_sub(1);
        let refused = write && self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, takes).is_err();
        Fate { fault: if refused { Fault::Refused } else { Fault::None }, ..Fate::default() }
    }
}

#[tokio::test(start_paused = true)]
async fn wherever_a_copy_ends_its_owner_is_there() {
    for writes in 0..8 {
        let (a, b) = (side("a"), side("b"));
        let wallet = wallet_of(&a, 3).await;
        let takes = Side { store: b.store.with_faults(Arc::new(Takes(AtomicUsize::new(writes)))), ..b.clone() };
        let moved = moves(&a, &takes, wallet).await;
        let blocks = b.store.chains().remove(&wallet).unwrap_or_default().len();
        let has_owner = b.store.owner(wallet).await.expect("answers").is_some();
        assert!(has_owner || blocks == 0, "after {writes} writes: {blocks} blocks, {moved:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_was_purged_on_the_way_is_brought_again() {
    let (a, b) = (side("a"), side("b"));
    let wallet = wallet_of(&a, 3).await;
    let owner = a.store.owner(wallet).await.expect("answers");
    moves(&a, &b, wallet).await.expect("moved");
    assert_eq!(b.store.owner(wallet).await, Ok(owner.clone()));
    // A mover back has died after its write to the source, before what the first stay had left is purged.
    let head = b.store.head(wallet).await.expect("answers").expect("there");
    let moved = moving::moved_block(&head.head(), &a.cell, 2, Uuid::from_u128(9), Trace::default(), head.at);
    b.store.append(&Append::of(vec![moved], None)).await.expect("free");
    while a.store.forget(wallet, head.number).await.expect("answers") != Forgotten::All {}
    assert_eq!(a.store.owner(wallet).await, Ok(None));
    moves(&b, &a, wallet).await.expect("moved back");
    assert_eq!(a.store.owner(wallet).await, Ok(owner));
}

#[tokio::test(start_paused = true)]
async fn a_copy_with_a_hole_is_neither_served_nor_trusted() {
    let (a, b) = (side("a"), side("b"));
    let wallet = wallet_of(&a, 40).await;
    let blocks = a.store.chains().remove(&wallet).expect("there");
    // Further down than what is written at once.
    b.store.append(&Append::of(blocks[5..].to_vec(), None)).await.expect("free");
    let error = moves(&a, &b, wallet).await.expect_err("blocks 0 to 4 are missing");
    assert!(matches!(&error, MoveError::Diverged { what, .. } if what.contains("broken")), "{error}");
    let head = a.store.head(wallet).await.expect("answers").expect("there");
    assert_eq!(head.home, a.cell, "it is still served from where it is whole");

    let moved = moving::moved_block(&head.head(), &b.cell, 1, Uuid::from_u128(9), Trace::default(), head.at);
    for side in [&a, &b] {
        side.store.append(&Append::of(vec![moved.clone()], None)).await.expect("free");
    }
    let error = forgets(&a, &b, wallet).await.expect_err("the only whole copy stays");
    assert!(matches!(&error, MoveError::Diverged { what, .. } if what.contains("broken")), "{error}");
    assert_eq!(numbers(&a, wallet).len(), blocks.len() + 1);
}

#[tokio::test(start_paused = true)]
async fn a_restored_cell_serves_no_part_of_a_chain_that_returns() {
    let (a, b) = (side("a"), side("b"));
    // More blocks of its first stay than are copied by one write.
    let wallet = wallet_of(&b, 40).await;
    moves(&b, &a, wallet).await.expect("moved");
    for _ in 0..40 {
        deposit(&a, wallet).await;
    }
    // Stopped in front of each write in turn, until one more write than it makes.
    for stop_at in 1.. {
        // The tables of cell b are new, and the export lacked this wallet.
        let (a, b) = (copy_of(&a).await, side("b"));
        let mover = tokio::spawn({
            let (a, b) = (a.clone(), stopping(&b, stop_at));
            async move { moves(&a, &b, wallet).await }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        let head = b.store.head(wallet).await.expect("answers");
        let serves = head.as_ref().is_some_and(|head| head.home == b.cell);
        let done = mover.is_finished();
        assert_eq!(serves, done, "stopped in front of write {stop_at}: {:?}", head.map(|head| head.number));
        if done {
            let numbers = numbers(&b, wallet);
            assert_eq!(numbers, (0..numbers.len() as u64).collect::<Vec<_>>());
            assert!(stop_at > 3, "it was stopped between copies");
            return;
        }
        mover.abort();
    }
}

/// Writes wait until this moment.
#[derive(Default)]
struct HeldUntil(Mutex<Option<Instant>>);

impl HeldUntil {
    fn is_held(&self) -> bool {
        self.0.lock().expect("sound").is_some_and(|until| Instant::now() < until)
    }
}

impl Holds for HeldUntil {
    async fn hold(&self, _: WalletId) {
        *self.0.lock().expect("sound") = Some(Instant::now() + Duration::from_millis(200));
    }
    async fn release(&self, _: WalletId) {
        *self.0.lock().expect("sound") = None;
    }
}

/// A database far away.
struct Slow;

impl FaultPlan for Slow {
    fn next(&self, _: bool) -> Fate {
        Fate { before: Duration::from_millis(30), ..Fate::default() }
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_was_interrupted_below_a_tombstone_is_completed() {
    let (a, lost) = (side("a"), side("b"));
    let wallet = wallet_of(&lost, 40).await;
    moves(&lost, &a, wallet).await.expect("moved");
    deposit(&a, wallet).await;
    let chain = a.store.chains().remove(&wallet).expect("there");
    // The newest tables of cell b got the beginning of a copy, the last blocks in any order, and then the tombstone.
    let stone = chain.iter().position(|block| moving::is_tombstone(&lost.cell, block)).expect("it left");
    for holes in [vec![17], vec![30], vec![16, 31], vec![17, 19, 20, 30], (16..31).collect()] {
        let (a, b) = (copy_of(&a).await, side("b"));
        for number in (0..32).filter(|number| !holes.contains(number)).chain([stone]) {
            b.store.append(&Append::next(chain[number].clone())).await.expect("free");
        }
        assert_eq!(moves(&a, &b, wallet).await.expect("moved"), Moved::Done, "{holes:?}");
        assert_eq!(numbers(&b, wallet), (0..=chain.len() as u64).collect::<Vec<_>>(), "{holes:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wallet_that_is_written_faster_than_it_is_copied_moves() {
    let (a, b) = (side("a"), side("b"));
    let wallet = wallet_of(&a, 100).await;
    let holds = Arc::new(HeldUntil::default());
    // A page of 16 blocks takes 60 ms, in which 30 blocks are written.
    let writer = tokio::spawn({
        let (a, holds) = (a.clone(), holds.clone());
        async move {
            loop {
                tokio::time::sleep(Duration::from_millis(2)).await;
                let head = a.store.head(wallet).await.expect("answers").expect("there");
                if head.home == a.cell && !holds.is_held() {
                    // The mover may have come first.
                    let _ = a.store.append(&Append::of(vec![next(&head, 1)], None)).await;
                }
            }
        }
    });
    let far =
        |side: &Side<MemoryStore>| Side { cell: side.cell.clone(), store: side.store.with_faults(Arc::new(Slow)) };
    let (far_a, far_b) = (far(&a), far(&b));
    let moved = with_holds(&far_a, &far_b, &*holds, async |mover| mover.move_wallet(wallet).await);
    let moved = tokio::time::timeout(Duration::from_secs(60), moved).await.expect("caught up with in time");
    assert_eq!(moved.expect("caught up with"), Moved::Done);
    assert!(!holds.is_held(), "whatever waits goes on at once");
    writer.abort();
    let whole = numbers(&b, wallet);
    assert_eq!(whole, (0..whole.len() as u64).collect::<Vec<_>>());
    assert!(whole.len() > 200, "it was written to meanwhile: {}", whole.len());
}

#[tokio::test]
async fn buckets_left_closed_are_served_where_the_target_says() {
    let (from, to) = (side("a"), Side { cell: cell("b"), store: MemoryStore::new(Genesis::of([])) });
    let group = Group { first: Bucket(4), last: Bucket(7) };
    let source = Buckets { cell: &from.cell, store: &from.store, group };
    let target = Buckets { cell: &to.cell, store: &to.store, group };
    let serves = || [&from, &to].map(|side| side.store.creates_in(Bucket(5)));

    let closed = source.close(&to.cell, &source.read().await.expect("answers")).await.expect("it serves");
    assert_eq!(serves(), [false, false]);
    let (one, other) = tokio::join!(settle(&from, &to, group), settle(&from, &to, group));
    assert_eq!(one.expect("answers").reopened.max(other.expect("answers").reopened), 4);
    assert_eq!(serves(), [true, false]);
    let late = target.open(&from.cell, &closed).await;
    assert!(matches!(late, Err(MoveError::NotOurs(_))), "{late:?}");
    assert_eq!(serves(), [true, false]);

    // A move that gets as far as the target's row is carried on.
    let closed = source.close(&to.cell, &source.read().await.expect("answers")).await.expect("it serves again");
    target.open(&from.cell, &closed).await.expect("it is a new move");
    assert_eq!(settle(&from, &to, group).await.expect("answers"), Settled { handed_over: 4, reopened: 0 });
    assert_eq!(serves(), [false, true]);
    assert!(source.read().await.expect("answers").iter().all(|stand| stand.has_moved_to(&to.cell)));
    assert_eq!(settle(&from, &to, group).await.expect("answers"), Settled::default());
}

/// Cells with the same packs, of a few blocks each.
fn packed_sides() -> (Side<MemoryStore>, Side<MemoryStore>, Archive) {
    let packs = Archive::open("memory:///", cell("a")).expect("a store").with_packs_of(PACK_BLOCKS);
    let with = |side: Side<MemoryStore>| Side { store: side.store.with_packs(packs.clone()), ..side };
    (with(side("a")), with(side("b")), packs)
}

const PACK_BLOCKS: u64 = 64;
const KEPT: u64 = 34;

/// The numbers of the blocks that the table holds.
fn held(side: &Side<MemoryStore>, wallet: WalletId) -> Vec<u64> {
    side.store.tables().chain(wallet).map(|block| block.number).collect()
}

async fn pack(side: &Side<MemoryStore>, packs: &Archive, wallet: WalletId) {
    let before = Timestamp::from_micros(i64::MAX);
    let packing = Packing { cell: &side.cell, packs, before, kept: KEPT };
    packing.pack(&side.store, wallet).await.expect("sound");
}

/// All blocks of a wallet, and the rows that follow from them, as the cell serves them.
async fn served(side: &Side<MemoryStore>, wallet: WalletId) -> (Vec<Block>, Vec<String>) {
    let mut blocks: Vec<Block> = Vec::new();
    loop {
        let rest = BlockRange { first: blocks.len() as u64, last: u64::MAX, newest_first: false };
        let page = side.store.page(wallet, rest, 100).await.expect("answers");
        blocks.extend(page.blocks);
        if !page.more {
            break;
        }
    }
    let rows = side.store.stored_rows(wallet, None, 10_000).await.expect("answers");
    (blocks, rows.items.into_iter().map(|row| row.key).collect())
}

#[tokio::test(start_paused = true)]
async fn blocks_in_packs_are_not_copied() {
    let (a, b, packs) = packed_sides();
    let wallet = wallet_of(&a, 300).await;
    pack(&a, &packs, wallet).await;
    let kept = held(&a, wallet);
    assert_eq!(kept[..2], [0, 256]);
    with_mover(&a, &b, async |mover| {
        let size = mover.size_at_source(wallet).await.expect("answers");
        let blocks = kept.len() as u64;
        assert!(size < blocks * 400, "{size} bytes of {blocks} blocks");
        assert_eq!(mover.move_wallet(wallet).await.expect("moved"), Moved::Done);
        assert_eq!(mover.pace.progress.blocks.load(Ordering::Relaxed), blocks);
    })
    .await;
    let moved = a.store.head(wallet).await.expect("answers").expect("there").number;
    assert_eq!(held(&b, wallet), [kept, vec![moved]].concat());
    let (blocks, rows) = served(&b, wallet).await;
    assert_eq!(served(&a, wallet).await.0, blocks);
    assert_eq!(blocks.len(), 301);
    // Of the runs and snapshots of all blocks, whether they were copied or not.
    let runs = rows.iter().filter(|row| row.starts_with("marks")).count();
    assert_eq!((runs, rows.len() - runs), (4, 4), "{rows:?}");
    // What is left behind goes, and comes back.
    forgets(&a, &b, wallet).await.expect("forgotten");
    assert_eq!(held(&a, wallet), [moved]);
    deposit(&b, wallet).await;
    moves(&b, &a, wallet).await.expect("moved back");
    forgets(&b, &a, wallet).await.expect("forgotten");
    assert_eq!(served(&a, wallet).await.0.len(), 303);
}

#[tokio::test(start_paused = true)]
async fn a_copy_above_packs_is_gone_on_with_wherever_it_ended() {
    let mut ended = 0;
    for writes in 0.. {
        let (a, b, packs) = packed_sides();
        let wallet = wallet_of(&a, 130).await;
        pack(&a, &packs, wallet).await;
        let takes = Side { store: b.store.with_faults(Arc::new(Takes(AtomicUsize::new(writes)))), ..b.clone() };
        let is_done = moves(&a, &takes, wallet).await.is_ok();
        if writes % 2 == 0 {
            // More has been packed by the time the next mover comes.
            for _ in 0..40 {
                if a.store.head(wallet).await.expect("answers").expect("there").home == a.cell {
                    deposit(&a, wallet).await;
                }
            }
            pack(&a, &packs, wallet).await;
        }
        assert_eq!(moves(&a, &b, wallet).await.expect("moved"), Moved::Done, "after {writes} writes");
        let whole = served(&b, wallet).await.0;
        assert_eq!(whole, served(&a, wallet).await.0, "after {writes} writes");
        assert_eq!(whole.last().map(|block| block.number + 1), Some(whole.len() as u64));
        forgets(&a, &b, wallet).await.expect("forgotten");
        if is_done {
            ended = writes;
            break;
        }
    }
    assert!(ended > 40, "{ended}");
}

#[tokio::test(start_paused = true)]
async fn blocks_that_are_in_no_pack_are_never_passed_over() {
    let (a, b, packs) = packed_sides();
    let wallet = wallet_of(&a, 100).await;
    pack(&a, &packs, wallet).await;
    // Another cell, with other packs, knows nothing of them.
    let elsewhere = Archive::open("memory:///", cell("a")).expect("a store").with_packs_of(PACK_BLOCKS);
    let lost = Side { store: a.store.with_packs(elsewhere.clone()), ..a.clone() };
    let to = Side { store: b.store.with_packs(elsewhere), ..b.clone() };
    let error = moves(&lost, &to, wallet).await.expect_err("blocks are missing");
    assert!(matches!(&error, MoveError::Diverged { what, .. } if what.contains("pack")), "{error}");
    let head = a.store.head(wallet).await.expect("answers").expect("there");
    assert_eq!(head.home, a.cell);
    assert_eq!(moves(&a, &b, wallet).await.expect("moved"), Moved::Done);
}
