//! The feed over the store in memory, on a clock that runs with the runtime's paused one.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ledger::{Append, Block, Entry, EntryKind, Hash, Money, Timestamp, WalletState};
use store::memory::{Fate, FaultPlan, MAX_LOG_BLOCKS, MemoryStore};
use store::{CellRows, Chains, Genesis, MAX_CELL_ROW_BYTES, MAX_POSITION_SHARDS};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use topology::Bucket;
use uuid::Uuid;

use super::*;
use crate::hot::Hot;
use crate::jobs::LEASE;
use crate::walk::HEADS_AT_ONCE;

pub const HERE: &str = "cell-1";
pub const START: Timestamp = Timestamp::from_micros(1_760_000_000_000_000);
/// Longer than anything that is waited for.
const LONG: Duration = Duration::from_secs(600);
const A_WHILE: Duration = Duration::from_secs(20);

pub fn cell(name: &str) -> CellId {
    CellId::parse(name).expect("sound")
}

pub fn wallet(number: u128) -> WalletId {
    WalletId::from_uuid(Uuid::from_u128(number))
}

/// A block with so many open transfers. Its time is its number, in seconds.
pub fn block(wallet: WalletId, number: u64, transfers: u32, home: &str) -> Block {
    let at = START.plus_micros(i64::try_from(number).expect("small") * 1_000_000);
    let state = WalletState::new(at);
    Block {
        wallet,
        number,
        previous: Hash::ZERO,
        at,
        home: cell(home),
        state: WalletState { open_count: transfers, open_since: u64::from(transfers > 0), ..state },
        entries: vec![],
        sealed: None,
        hash: Hash::ZERO,
    }
}

async fn append(store: &MemoryStore, wallet: WalletId, number: u64, transfers: u32) {
    store.append(&Append::next(block(wallet, number, transfers, HERE))).await.expect("free");
}

fn tables() -> MemoryStore {
    MemoryStore::new(Genesis::of(Bucket::all()))
}

/// An instance that follows.
struct Instance {
    task: JoinHandle<()>,
    found: mpsc::Receiver<(WalletId, u64)>,
    stopper: watch::Sender<bool>,
}

impl Instance {
    fn start(store: &MemoryStore, owner: &str) -> Self {
        let (began, (stopper, stop), (sender, found)) = (Instant::now(), watch::channel(false), mpsc::channel(MAILBOX));
        let now = move || START.plus_micros(i64::try_from(began.elapsed().as_micros()).expect("small"));
        let (clock, owner) = (Clock::new(1, now), owner.to_owned());
        let feed = Feed { cell: cell(HERE), store: store.clone(), clock, owner, hot: Hot::default(), found: sender };
        Self { task: tokio::spawn(feed.run(stop)), found, stopper }
    }

    /// The next one that it finds.
    async fn next(&mut self) -> Option<WalletId> {
        timeout(LONG, self.found.recv()).await.ok().flatten().map(|(wallet, _)| wallet)
    }

    /// What it finds in a while.
    async fn finds(&mut self) -> Vec<WalletId> {
        while self.found.try_recv().is_ok() {}
        sleep(A_WHILE).await;
        let found = std::iter::from_fn(|| self.found.try_recv().ok());
        let mut found: Vec<_> = found.map(|(wallet, _)| wallet).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    async fn end(self) {
        self.stopper.send_replace(true);
        self.task.await.expect("it ends");
    }
}

async fn saved(store: &MemoryStore) -> Progress {
    let row = store.cell_row("jobs", JOB).await.expect("it answers").expect("saved");
    let mut row: serde_json::Value = serde_json::from_slice(&row.bytes).expect("JSON");
    serde_json::from_value(row["progress"].take()).expect("of this job")
}

#[tokio::test(start_paused = true)]
async fn a_wallet_is_found_while_its_transfers_are_open() {
    let store = tables();
    append(&store, wallet(1), 0, 0).await;
    let mut instance = Instance::start(&store, "a");
    sleep(A_WHILE).await;
    append(&store, wallet(1), 20, 2).await;
    let began = Instant::now();
    assert_eq!(instance.next().await, Some(wallet(1)));
    assert!((Duration::from_secs(2)..=Duration::from_secs(6)).contains(&began.elapsed()), "{:?}", began.elapsed());
    assert_eq!(instance.finds().await, [wallet(1)], "again and again");
    append(&store, wallet(1), 21, 0).await;
    sleep(A_WHILE).await;
    assert_eq!(instance.finds().await, []);
    instance.end().await;
}

#[tokio::test(start_paused = true)]
async fn another_instance_goes_on_after_the_first_dies() {
    let store = tables();
    let mut first = Instance::start(&store, "a");
    append(&store, wallet(1), 1, 1).await;
    assert_eq!(first.next().await, Some(wallet(1)));
    sleep(A_WHILE).await;
    let mut second = Instance::start(&store, "b");
    assert_eq!((first.finds().await, second.finds().await), (vec![wallet(1)], vec![]), "one at a time");
    first.task.abort();
    append(&store, wallet(2), 1, 1).await;
    let (before, began) = (saved(&store).await, Instant::now());
    assert_eq!((before.walk, before.wallets.len()), (Walk::Done, 1));
    assert!(second.next().await.is_some());
    assert!(began.elapsed() < LEASE + Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(second.finds().await, [wallet(1), wallet(2)]);
    second.end().await;
    // One that is stopped gives the job up.
    let (mut third, began) = (Instance::start(&store, "c"), Instant::now());
    assert!(third.next().await.is_some());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    third.end().await;
}

#[tokio::test(start_paused = true)]
async fn all_wallets_are_walked_where_the_stream_has_forgotten() {
    let store = tables();
    // Before any instance followed the stream, and too long ago for it.
    append(&store, wallet(1), 1, 1).await;
    forget_stream(&store, 100).await;
    let mut first = Instance::start(&store, "a");
    assert_eq!(first.finds().await, [wallet(1)]);
    first.end().await;
    // While none followed it.
    append(&store, wallet(1), 2, 0).await;
    append(&store, wallet(2), 1, 1).await;
    forget_stream(&store, 101).await;
    let mut second = Instance::start(&store, "b");
    sleep(A_WHILE).await;
    assert_eq!(second.finds().await, [wallet(2)]);
    // The tables are replaced by those of an earlier time.
    let before = store.tables();
    append(&store, wallet(2), 2, 0).await;
    sleep(A_WHILE).await;
    assert_eq!(second.finds().await, []);
    store.rewind(before);
    sleep(A_WHILE).await;
    assert_eq!(second.finds().await, [wallet(2)]);
    second.end().await;
}

/// How long each call takes where it is noted when it began.
const CALL: Duration = Duration::from_millis(100);

/// When each read began.
#[derive(Default)]
pub struct Noted(Mutex<Vec<Instant>>);

impl Noted {
    /// The most reads that were under way at once.
    pub fn most(&self) -> usize {
        let began = self.0.lock().expect("no test panics");
        let under_way = |at: Instant| began.iter().filter(|began| **began <= at && at < **began + CALL).count();
        began.iter().map(|at| under_way(*at)).max().unwrap_or(0)
    }
}

impl FaultPlan for Noted {
    fn next(&self, write: bool) -> Fate {
        if !write {
            self.0.lock().expect("no test panics").push(Instant::now());
        }
        Fate { before: CALL, ..Fate::default() }
    }
}

#[tokio::test(start_paused = true)]
async fn a_walk_reads_heads_side_by_side() {
    let (store, noted) = (tables(), Arc::new(Noted::default()));
    let all = 1..=u128::try_from(3 * HEADS_AT_ONCE + 1).expect("small");
    for number in all.clone() {
        append(&store, wallet(number), 1, 1).await;
    }
    let mut instance = Instance::start(&store.with_faults(Arc::clone(&noted) as Arc<dyn FaultPlan>), "a");
    assert_eq!(instance.finds().await, all.map(wallet).collect::<Vec<_>>());
    instance.end().await;
    // The store in memory lists few wallets at once.
    assert!((2..=HEADS_AT_ONCE).contains(&noted.most()), "{}", noted.most());
}

/// Writes so much that the stream keeps nothing of what was written before.
async fn forget_stream(store: &MemoryStore, of: u128) {
    for number in 0..=MAX_LOG_BLOCKS {
        append(store, wallet(of), u64::try_from(number).expect("small"), 0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_wallet_is_read_again_where_the_stream_has_left_a_block_out() {
    let store = tables();
    let mut instance = Instance::start(&store, "a");
    append(&store, wallet(1), 1, 1).await;
    assert_eq!(instance.next().await, Some(wallet(1)));
    // A chain that ends below what was seen.
    let mut row = saved(&store).await;
    instance.end().await;
    row.wallets = vec![(wallet(1), 9, 1, 1, START.micros())];
    let lease = jobs::look::<_, Progress>(&store, &Clock::new(1, || START), JOB, &mut Watch::default()).await;
    let mut lease = lease.expect("it answers").take("by hand").await.expect("it answers").expect("free");
    lease.progress = row;
    assert!(lease.end().await.expect("it answers"));
    append(&store, wallet(1), 2, 0).await;
    let mut instance = Instance::start(&store, "b");
    assert_eq!(instance.finds().await, [wallet(1)], "as was seen");
    sleep(Duration::from_secs(120)).await;
    assert_eq!(instance.finds().await, []);
    instance.end().await;
}

#[test]
fn what_a_wallet_that_moves_in_brings_is_no_write_of_the_cell() {
    let opened = |home: &str| {
        let entry = Entry::new(Uuid::from_u128(7), EntryKind::Opened, Money::ZERO, Money::ZERO);
        Block { entries: vec![entry.clone(), entry], ..block(wallet(1), 1, 0, home) }
    };
    let read = [opened("cell-2"), opened(HERE), block(wallet(2), 1, 0, HERE), opened(HERE)];
    assert_eq!(following::own_entries(&cell(HERE), &read), 4);
}

#[test]
fn the_row_of_the_job_fits_however_much_there_is() {
    let shards: serde_json::Map<_, _> = (0..MAX_POSITION_SHARDS)
        .map(|number| (format!("shardId-{number:057}"), serde_json::json!({ "Upto": "9".repeat(40) })))
        .collect();
    let position = serde_json::json!({ "stream": "a".repeat(1_011), "shards": shards });
    let position: Position = serde_json::from_value(position).expect("a position");
    let open = |number: u128| {
        let open =
            Open { number: u64::MAX, transfers: u32::MAX, block: u64::MAX, since: Timestamp::from_micros(i64::MIN) };
        (WalletId::from_uuid(Uuid::from_u128(u128::MAX - number)), open)
    };
    let most = u128::try_from(MAX_SAVED_WALLETS).expect("small");
    for (wallets, walk) in [(most, Walk::Done), (most + 1, Walk::Due)] {
        let wallets = OpenWallets::new(cell(HERE), (0..wallets).map(open));
        let progress = Progress::of(&position, Walk::Done, &wallets);
        assert_eq!((progress.wallets.len(), progress.walk), (MAX_SAVED_WALLETS, walk));
        let bytes = serde_json::to_vec(&progress).expect("plain data").len();
        // The names of the owner and of the fields come on top.
        assert!(bytes + 1_024 < MAX_CELL_ROW_BYTES, "{bytes}");
    }
}
