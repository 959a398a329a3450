//! Archiving over the store and an object store in memory, on a clock that runs with the runtime's paused one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use archive::Segment;
use ledger::{Append, Block, Entry, EntryKind, Guard, Money, Owner, Timestamp, WalletKey, chain, moving};
use object_store::memory::InMemory;
use object_store::throttle::{ThrottleConfig, ThrottledStore};
use store::memory::{MAX_LOG_BLOCKS, MemoryStore};
use store::place::{Place, Walk};
use store::{Chains, Genesis, Owners};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use topology::{Bucket, CellId, UserId, WalletId};
use uuid::Uuid;

use super::*;
use crate::feed::tests::{HERE, START, cell, wallet};
use crate::region::{Region, Standing};

/// Until an instance has the job and has archived all there is.
const SOON: Duration = Duration::from_secs(3);
/// Until another one has taken the job over, too.
const LATER: Duration = Duration::from_secs(10);
const OUTAGE: Duration = Duration::from_secs(300);

/// A cell: its tables, and its archive.
struct Cell {
    store: MemoryStore,
    objects: Arc<ThrottledStore<InMemory>>,
    began: Instant,
}

struct Instance {
    task: JoinHandle<()>,
    stopper: watch::Sender<bool>,
}

impl Instance {
    async fn end(self) {
        self.stopper.send_replace(true);
        self.task.await.expect("it ends");
    }

    /// As SIGKILL would.
    async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.is_err_and(|error| error.is_cancelled()));
    }
}

impl Cell {
    fn new() -> Self {
        let objects = Arc::new(ThrottledStore::new(InMemory::new(), ThrottleConfig::default()));
        Self { store: MemoryStore::new(Genesis::of(Bucket::all())), objects, began: Instant::now() }
    }

    fn archive(&self) -> Archive {
        Archive::new(self.objects.clone(), cell(HERE))
    }

    fn now(&self) -> Timestamp {
        START.plus_micros(i64::try_from(self.began.elapsed().as_micros()).expect("small"))
    }

    fn archiver(&self, owner: &str) -> Archiver<MemoryStore> {
        let began = self.began;
        let now = move || START.plus_micros(i64::try_from(began.elapsed().as_micros()).expect("small"));
        let (store, clock) = (self.store.clone(), Clock::new(1, now));
        let (doubtful, _) = mpsc::channel(1);
        Archiver { store, archive: self.archive(), clock, epoch: 0, owner: owner.to_owned(), doubtful }
    }

    fn start(&self, owner: &str) -> Instance {
        let (stopper, stop) = watch::channel(false);
        Instance { task: tokio::spawn(self.archiver(owner).run(stop)), stopper }
    }

    /// Every call of the archive takes so long.
    fn slow(&self, duration: Duration) {
        self.objects.config_mut(|config| {
            config.wait_put_per_call = duration;
            config.wait_get_per_call = duration;
            config.wait_delete_per_call = duration;
        });
    }

    /// The next block of a chain: the first one opens it.
    async fn write(&self, wallet: WalletId) -> Block {
        let head = self.store.head(wallet).await.expect("it answers");
        let kind = if head.is_none() { EntryKind::Opened } else { EntryKind::Deposit };
        let entry = Entry::new(Uuid::from_u128(7), kind, Money::ZERO, Money::ZERO);
        let block = match &head {
            None => chain::open(wallet, cell(HERE), self.now(), entry, None),
            Some(head) => chain::next(&head.head(), head.state.clone(), vec![entry], self.now()),
        };
        self.store.append(&Append::next(block.clone())).await.expect("free");
        block
    }

    /// Writes so much that the stream keeps nothing of what was written before.
    async fn forget_stream(&self, of: WalletId) {
        for _ in 0..=MAX_LOG_BLOCKS {
            self.write(of).await;
        }
    }

    async fn entries(&self) -> Vec<archive::Entry> {
        let (archive, mut entries) = (self.archive(), vec![]);
        while let Some(entry) = archive.entry(entries.len() as u64 + 1).await.expect("it answers") {
            entries.push(entry);
        }
        entries
    }

    /// Holds the archive against the tables: nothing is missing. How many blocks are there twice.
    async fn audit(&self) -> usize {
        let (archive, mut found) = (self.archive(), BTreeMap::<_, usize>::new());
        for entry in self.entries().await {
            let segment: Segment = archive.segment(&entry).await.expect("sound");
            for block in segment.blocks {
                *found.entry((block.wallet, block.number, block.hash.0)).or_default() += 1;
            }
        }
        for block in self.store.chains().values().flatten() {
            let is_there = found.contains_key(&(block.wallet, block.number, block.hash.0));
            assert!(is_there, "block {} of {} is not archived", block.number, block.wallet);
        }
        found.values().map(|times| times - 1).sum()
    }

    async fn place(&self) -> Place {
        let newest = self.archive().newest(0).await.expect("it answers").expect("archived");
        Place::parse(&newest.position).expect("a place")
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_written_is_archived_within_a_second() {
    let cell = Cell::new();
    cell.write(wallet(1)).await;
    let instance = cell.start("a");
    sleep(SOON).await;
    assert_eq!(cell.audit().await, 0);
    for number in 0..20 {
        cell.write(wallet(number % 5)).await;
        sleep(Duration::from_secs(1)).await;
        assert_eq!(cell.audit().await, 0);
    }
    assert_eq!(cell.place().await.walk, Walk::Done);
    let before = cell.entries().await.len();
    sleep(LATER).await;
    assert_eq!(cell.entries().await.len(), before, "nothing was written");
    instance.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_process_killed_at_any_step_is_followed_by_the_next() {
    let cell = Cell::new();
    cell.slow(Duration::from_millis(20));
    let mut repeated = 0;
    for step in 0_u64..80 {
        let instance = cell.start("dies");
        for number in 0..3 {
            cell.write(wallet(u128::from(step % 7) * 3 + number)).await;
        }
        // From the start of its turn on, in steps that are shorter than a call of the archive.
        sleep(POLL + Duration::from_millis(15 * step)).await;
        instance.kill().await;
        let next = cell.start("follows");
        sleep(LATER).await;
        let now = cell.audit().await;
        assert!(now == repeated || cell.entries().await.len() < 3, "killed after {step} steps");
        repeated = now;
        next.end().await;
    }
    assert_eq!(repeated, 0);
}

#[tokio::test(start_paused = true)]
async fn a_process_that_lost_the_job_archives_nothing() {
    let cell = Cell::new();
    cell.write(wallet(1)).await;
    let (one, other) = (cell.archiver("one"), cell.archiver("other"));
    let mut late = Tenure::new(&one);
    while cell.entries().await.is_empty() {
        sleep(late.step().await.expect("it archives")).await;
    }
    // It has read this, and sleeps before it appends it.
    let block = cell.write(wallet(1)).await;
    late.step().await.expect("it reads");
    let mut next = Tenure::new(&other);
    while cell.entries().await.len() < 2 {
        sleep(next.step().await.expect("it archives")).await;
    }
    cell.write(wallet(1)).await;
    sleep(LATER).await;
    let stopped = late.step().await;
    assert!(matches!(stopped, Err(Stopped::Lost)), "{stopped:?}");
    while cell.entries().await.len() < 3 {
        sleep(next.step().await.expect("it archives")).await;
    }
    assert_eq!((cell.audit().await, cell.entries().await.len()), (0, 3), "{block:?}");
}

#[tokio::test(start_paused = true)]
async fn a_region_that_was_left_archives_nothing_and_serves_no_more() {
    let cell = Cell::new();
    let here = Region { name: "here".into(), is_standby: false };
    let instance = cell.start("a");
    cell.write(wallet(1)).await;
    sleep(SOON).await;
    let newest = cell.entries().await.pop().expect("archived");
    let fence = cell.archive().fence(Some(&newest), 1, cell.now(), String::new()).await.expect("it answers");
    assert!(fence.is_some());
    assert_eq!(here.look(&cell.store).await, Ok(Standing::Home { epoch: 0 }), "it does not know yet");
    cell.write(wallet(1)).await;
    sleep(LATER).await;
    assert_eq!(cell.entries().await.len(), 2);
    assert!(matches!(here.look(&cell.store).await, Ok(Standing::Standby { .. })));
    instance.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_written_while_an_instance_stops_is_archived() {
    let cell = Cell::new();
    let instance = cell.start("a");
    cell.write(wallet(1)).await;
    sleep(LATER).await;
    let (ended, ()) = tokio::join!(instance.end(), async {
        for _ in 0..5 {
            cell.write(wallet(1)).await;
            sleep(Duration::from_millis(100)).await;
        }
    });
    assert_eq!((ended, cell.audit().await), ((), 0));
}

#[tokio::test(start_paused = true)]
async fn all_wallets_are_walked_where_the_stream_has_forgotten() {
    let cell = Cell::new();
    // Before any instance archived, and too long ago for the stream.
    cell.write(wallet(1)).await;
    cell.forget_stream(wallet(100)).await;
    let first = cell.start("a");
    sleep(LATER).await;
    assert_eq!(cell.audit().await, 0);
    first.end().await;
    // While none did.
    cell.write(wallet(1)).await;
    cell.write(wallet(2)).await;
    cell.forget_stream(wallet(101)).await;
    let second = cell.start("b");
    for _ in 0..10 {
        cell.write(wallet(1)).await;
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(cell.audit().await, 0, "what was archived before is known, and what came while it walked");
    // The tables are replaced by those of an earlier time, and the chain goes on in another way.
    let before = cell.store.tables();
    cell.write(wallet(2)).await;
    sleep(LATER).await;
    cell.store.rewind(before);
    cell.write(wallet(2)).await;
    sleep(LATER).await;
    cell.write(wallet(2)).await;
    sleep(LATER).await;
    assert!(cell.audit().await <= 2, "of the chain that differs, what both have");
    second.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_walk_that_was_interrupted_goes_on() {
    let cell = Cell::new();
    for number in 0..500 {
        cell.write(wallet(number << 100)).await;
        cell.write(wallet(number << 100)).await;
    }
    cell.forget_stream(wallet(1)).await;
    let mut walks = 0;
    loop {
        let instance = cell.start("dies");
        let began = cell.entries().await.len();
        for _ in 0..100 {
            sleep(Duration::from_millis(100)).await;
            if cell.entries().await.len() > began {
                break;
            }
        }
        instance.kill().await;
        walks += 1;
        if cell.place().await.walk == Walk::Done {
            break;
        }
        cell.write(wallet(3 << 100)).await;
    }
    assert!(walks > 1, "it was interrupted");
    let last = cell.start("last");
    sleep(LATER).await;
    assert!(cell.audit().await <= walks, "only what the stream repeats");
    last.end().await;
}

#[tokio::test(start_paused = true)]
async fn with_the_archive_away_little_waits_and_all_is_caught_up() {
    let cell = Cell::new();
    cell.write(wallet(1)).await;
    let archiver = cell.archiver("a");
    let mut tenure = Tenure::new(&archiver);
    while cell.entries().await.is_empty() {
        sleep(tenure.step().await.expect("it archives")).await;
    }
    cell.slow(Duration::from_secs(3_600));
    cell.write(wallet(2)).await;
    let began = Instant::now();
    while began.elapsed() < OUTAGE {
        cell.write(wallet(3)).await;
        sleep(tenure.step().await.expect("it tries again").max(Duration::from_secs(1))).await;
    }
    assert!(tenure.waiting() < 10, "the stream is not read meanwhile: {}", tenure.waiting());
    assert!(tenure.lag() > OUTAGE - SOON, "{:?}", tenure.lag());
    cell.slow(Duration::ZERO);
    let began = Instant::now();
    while tenure.lag() > Duration::ZERO {
        sleep(tenure.step().await.expect("it archives")).await;
    }
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert_eq!(cell.audit().await, 0);
}

impl Cell {
    /// A wallet with an owner of this name.
    async fn opens(&self, number: u128, name: &str) -> Block {
        let entry = Entry::new(Uuid::from_u128(7), EntryKind::Opened, Money::ZERO, Money::ZERO);
        let block = chain::open(wallet(number), cell(HERE), self.now(), entry, None);
        let user = UserId::parse(name).expect("sound");
        let owner = Owner { user, key: WalletKey::from_bytes([1; WalletKey::BYTES]) };
        let create = Append::create(block.clone(), Guard::Bucket { genesis: true }, owner);
        self.store.append(&create).await.expect("free");
        block
    }

    async fn leaves(&self, block: &Block) {
        let to = CellId::parse("cell-2").expect("sound");
        let moved = moving::moved_block(&block.head(), &to, 2, Uuid::from_u128(8), Default::default(), self.now());
        self.store.append(&Append::onto(vec![moved])).await.expect("free");
    }
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_is_put_late_is_erased_again() {
    let cell = Cell::new();
    let (archive, opened) = (cell.archive(), cell.opens(1, "ada").await);
    let call = Duration::from_secs(2);
    cell.objects.config_mut(|config| config.wait_put_per_call = call);
    let (store, late, blocks) = (cell.store.clone(), cell.archive(), [opened.clone()]);
    let putting = tokio::spawn(async move { owners::settle(&store, &late, &blocks).await });
    sleep(call / 2).await;
    // The process that has the job is ahead.
    cell.leaves(&opened).await;
    archive.erase_owner(opened.wallet).await.expect("it answers");
    putting.await.expect("it ends").expect("it answers");
    assert!(cell.began.elapsed() >= call, "it was put after that");
    assert_eq!(archive.owner(opened.wallet).await, Ok(None));
}

#[tokio::test(start_paused = true)]
async fn an_owner_is_archived_while_the_wallet_lives_here() {
    let cell = Cell::new();
    let instance = cell.start("a");
    let stays = cell.opens(1, "ada").await;
    let leaves = cell.opens(2, "bob").await;
    let erased = cell.opens(3, "cyd").await;
    cell.store.erase_owner(wallet(3)).await.expect("it answers");
    let closed = cell.opens(4, "dan").await;
    sleep(SOON).await;
    let archive = cell.archive();
    let there = async |block: &Block| archive.owner(block.wallet).await.expect("it answers").map(|owner| owner.user);
    let named = |name: &str| UserId::parse(name).ok();
    assert_eq!(there(&stays).await, named("ada"));
    assert_eq!(there(&leaves).await, named("bob"));
    assert_eq!(there(&erased).await, None, "its owner was erased before it was archived");
    assert_eq!(there(&closed).await, named("dan"));

    cell.leaves(&leaves).await;
    let entry = Entry::new(Uuid::from_u128(9), EntryKind::Erased, Money::ZERO, Money::ZERO);
    let mut state = closed.state.clone();
    state.status = ledger::Status::Erased;
    cell.store.append(&Append::next(chain::next(&closed.head(), state, vec![entry], cell.now()))).await.expect("free");
    sleep(SOON).await;
    assert_eq!(there(&stays).await, named("ada"));
    assert_eq!(there(&leaves).await, None, "the archive of its new cell has it");
    assert_eq!(there(&closed).await, None);
    assert_eq!(cell.audit().await, 0);
    instance.end().await;
}
