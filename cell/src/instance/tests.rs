//! Instances over a store in memory that holds, or does, what no instance expects.

mod once;
mod sealed;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use ledger::Append;
use ledger::block::Key;
use ledger::{Audit, Block, Intent, Money, Note, Timestamp, Trace, moving};
use store::memory::{Fate, FaultPlan, MemoryStore};
use store::{Chains, Forgotten, Genesis};
use tokio::time::{Instant, sleep, timeout};
use topology::wire::{Credit, Receivable};
use topology::{Bucket, Role, UserId, Version, WalletId};
use tower_service::Service;

use super::*;
use crate::admission::Admission;
use crate::failure::Failure;
use crate::hot::Hot;
use crate::http::{Bodies, Edge, Places, routes};
use crate::peers::{Credited, PeerError};
use crate::wallets::{Answer, Context, Wallet};

const HOUR: Duration = Duration::from_secs(3_600);
const NAMESPACE: Uuid = Uuid::from_u128(7);
const NOW: Timestamp = Timestamp::from_micros(1_760_000_000_000_000);

#[derive(Clone)]
struct NoPeers;

impl Peers for NoPeers {
    async fn receivable(&self, _: WalletId, _: Instant) -> Result<Receivable, PeerError> {
        Err(PeerError::UnknownWallet)
    }

    async fn credit(&self, _: &Credit, _: Instant) -> Credited {
        Credited { cell: None, outcome: Err(PeerError::UnknownWallet) }
    }
}

/// An instance that runs until this is dropped.
struct Running {
    instance: Instance<MemoryStore, NoPeers>,
    stopper: watch::Sender<bool>,
}

impl Running {
    fn start(store: &MemoryStore, clock: Clock, limits: Limits) -> Self {
        let (stopper, stop) = watch::channel(false);
        let instance = start(cell("cell-1"), NAMESPACE, store.clone(), NoPeers, clock, limits, stop);
        Self { instance, stopper }
    }

    /// Its HTTP edge.
    fn routes(&self, store: &MemoryStore, clock: Clock) -> Router {
        let version = Version::parse("test").expect("sound");
        routes(Arc::new(Edge {
            wallets: Arc::clone(&self.instance.wallets),
            store: store.clone(),
            clock,
            metrics: None,
            admission: Admission::new(0),
            hot: Hot::default(),
            events: None,
            followers: Places::new(1, 1),
            statements: Places::new(1, 1),
            bodies: Bodies::default(),
            role: Role::All,
            draining: self.stopper.subscribe(),
            running: topology::version::Running { version, instance: "cell-1-a".into(), started_ms: 0, standby: false },
        }))
    }

    async fn create(&self, user: &str) -> Result<WalletId, Failure> {
        let user = UserId::parse(user).expect("sound");
        Ok(self.instance.wallets.create(user, context(None)).await?.value.id)
    }

    async fn deposit(&self, wallet: WalletId, key: Option<u8>) -> Result<Answer<Wallet>, Failure> {
        let deposit = Intent::Deposit { amount: Money::from_minor(1) };
        self.instance.wallets.change(wallet, deposit, context(key)).await
    }
}

fn cell(name: &str) -> CellId {
    CellId::parse(name).expect("sound")
}

fn tables() -> MemoryStore {
    MemoryStore::new(Genesis::of(Bucket::all()))
}

fn clock() -> Clock {
    Clock::new(1, || NOW)
}

fn context(key: Option<u8>) -> Context {
    let key = key.map(|key| Key { key: [key; 16], request: [1; 16] });
    Context { key, audit: Audit::default(), note: Note::default(), deadline: Instant::now() + Duration::from_secs(8) }
}

/// A wallet with a deposit in each of so many blocks after its first.
async fn funded(running: &Running, blocks: u8) -> WalletId {
    let wallet = running.create("ann").await.expect("it may be created here");
    for key in 0..blocks {
        running.deposit(wallet, Some(key)).await.expect("active");
    }
    wallet
}

fn chain(store: &MemoryStore, wallet: WalletId) -> Vec<Block> {
    store.chains().remove(&wallet).unwrap_or_default()
}

async fn append(store: &MemoryStore, blocks: &[Block]) {
    for block in blocks {
        store.append(&Append::next(block.clone())).await.expect("free");
    }
}

#[tokio::test(start_paused = true)]
async fn a_chain_with_a_hole_is_not_continued() {
    let whole = tables();
    let wallet = funded(&Running::start(&whole, clock(), Limits::default()), 6).await;
    let blocks = chain(&whole, wallet);
    // A hole below the newest block, as a restore leaves it, and one below several.
    for missing in [1..6, 1..3, 0..1] {
        let store = tables();
        let held: Vec<_> = blocks.iter().filter(|block| !missing.contains(&(block.number as usize))).cloned().collect();
        append(&store, &held).await;
        let running = Running::start(&store, clock(), Limits::default());
        let refused = running.deposit(wallet, None).await;
        assert!(matches!(refused, Err(Failure::Corrupt(_))), "without {missing:?}: {refused:?}");
        assert_eq!(chain(&store, wallet), held);
    }
}

#[tokio::test(start_paused = true)]
async fn a_wallet_that_left_and_was_purged_is_elsewhere() {
    let store = tables();
    let running = Running::start(&store, clock(), Limits::default());
    let wallet = funded(&running, 3).await;
    // What the instance remembers is there no more.
    let head = chain(&store, wallet).pop().expect("four blocks").head();
    let there = cell("cell-2");
    let left = moving::moved_block(&head, &there, 1, Uuid::from_u128(9), Trace::default(), NOW);
    append(&store, std::slice::from_ref(&left)).await;
    while store.forget(wallet, left.number).await.expect("answers") != Forgotten::All {}
    assert_eq!(chain(&store, wallet), [left]);
    let refused = running.deposit(wallet, None).await;
    assert!(matches!(&refused, Err(Failure::Misdirected { to: Some(to), .. }) if *to == there), "{refused:?}");
}

/// In real time: an instance that reads the same again and again lets no other time pass.
#[tokio::test]
async fn a_key_among_too_many_to_be_loaded_is_refused() {
    let store = tables();
    let running = Running::start(&store, clock(), Limits::default());
    let wallet = funded(&running, 200).await;
    while store.mark_runs(wallet, 0..=u64::MAX).await.expect("answers").runs.len() < 3 {
        sleep(Duration::from_millis(1)).await;
    }
    let few = Running::start(&store, clock(), Limits { marks_per_wallet: 100, ..Limits::default() });
    let refused = timeout(Duration::from_secs(20), few.deposit(wallet, Some(0))).await.expect("an answer");
    assert_eq!(refused, Err(Failure::KeyWindowFull), "used, and not loaded");
    assert!(few.deposit(wallet, Some(199)).await.expect("remembered").replayed);
    assert!(!few.deposit(wallet, None).await.expect("it needs no key").replayed);
}

async fn get(routes: &mut Router, path: &str) -> Response {
    let request = Request::builder().uri(path).body(Body::empty()).expect("sound");
    routes.call(request).await.expect("infallible")
}

#[tokio::test(start_paused = true)]
async fn an_answer_holds_its_place_to_its_last_byte() {
    let store = tables();
    let running = Running::start(&store, clock(), Limits::default());
    let path = format!("/api/v1/wallets/{}/statement", funded(&running, 3).await);
    let mut routes = running.routes(&store, clock());
    let mut unread = Vec::new();
    // More than there ever are places for such requests.
    for _ in 0..300 {
        let answer = get(&mut routes, &path).await;
        if answer.status() == 503 {
            break;
        }
        assert_eq!(answer.status(), 200);
        unread.push(answer);
    }
    assert!(unread.len() < 300, "all were answered");
    unread.clear();
    assert_eq!(get(&mut routes, &path).await.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_by_a_clock_an_hour_off() {
    let store = tables();
    let right = Running::start(&store, clock(), Limits::default());
    let wallet = funded(&right, 1).await;
    assert_eq!(get(&mut right.routes(&store, clock()), "/readyz").await.status(), 200);
    let before = store.chains();
    for wrong in [NOW.plus_micros(HOUR.as_micros() as i64), NOW.plus_micros(-(HOUR.as_micros() as i64))] {
        let wrong = Clock::new(1, move || wrong).with_reference(|| Some((NOW, NOW.plus_micros(1_000_000))));
        let running = Running::start(&store, wrong.clone(), Limits::default());
        assert_eq!(get(&mut running.routes(&store, wrong), "/readyz").await.status(), 503);
        let (changed, created) = (running.deposit(wallet, None).await, running.create("bob").await);
        assert!(matches!(changed, Err(Failure::Unavailable(_))), "{changed:?}");
        assert!(matches!(created, Err(Failure::Unavailable(_))), "{created:?}");
    }
    assert_eq!(store.chains(), before);
}

/// Stops the process for an hour in front of its first write.
#[derive(Default)]
struct StopsOnce(AtomicUsize);

impl FaultPlan for StopsOnce {
    fn next(&self, write: bool) -> Fate {
        let stops = write && self.0.fetch_add(1, Ordering::Relaxed) == 0;
        Fate { before: if stops { HOUR } else { Duration::ZERO }, ..Fate::default() }
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_waited_for_an_hour_is_not_sent() {
    let store = tables();
    let wallet = funded(&Running::start(&store, clock(), Limits::default()), 1).await;
    let before = chain(&store, wallet);
    let asleep = store.with_faults(Arc::new(StopsOnce::default()));
    let running = Running::start(&asleep, clock(), Limits::default());
    let answer = running.deposit(wallet, None).await;
    assert!(answer.is_err(), "{answer:?}");
    sleep(2 * HOUR).await;
    assert_eq!(chain(&store, wallet), before, "the head is too old by now");
}
