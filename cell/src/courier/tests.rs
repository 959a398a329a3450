//! Couriers against peers that answer, or do not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ledger::block::Key;
use ledger::{Audit, Intent, Money, Note, Timestamp};
use store::Genesis;
use store::memory::{Fate, Fault, FaultPlan, MemoryStore};
use topology::wire::{Credit, CreditRefusal, Receivable};
use topology::{Bucket, UserId, WalletId};
use uuid::Uuid;

use super::*;
use crate::instance;
use crate::peers::{Credited, PeerError};
use crate::sequencer::Limits;
use crate::wallets::{Context, TransferStatus, Wallets};

/// Payees with an id that begins with a zero live in a cell that answers, all others in one that
/// does not.
#[derive(Clone, Default)]
struct TwoCells {
    /// Until it answers too.
    is_dead_no_more: Arc<AtomicBool>,
    /// Set once the cell that answers has refused a credit; without it, it accepts all.
    refused: Option<Arc<AtomicBool>>,
}

impl Peers for TwoCells {
    async fn receivable(&self, wallet: WalletId, _: Instant) -> Result<Receivable, PeerError> {
        Ok(Receivable { wallet_id: wallet, refusal: None })
    }

    async fn credit(&self, credit: &Credit, deadline: Instant) -> Credited {
        let is_alive = credit.to_wallet_id.bucket() < Bucket(0x1000);
        let cell = CellId::parse(if is_alive { "alive" } else { "dead" }).ok();
        if let Some(refused) = &self.refused {
            refused.store(true, Ordering::Relaxed);
            return Credited { cell, outcome: Ok(CreditOutcome::Refused { reason: CreditRefusal::WalletFrozen }) };
        }
        if is_alive || self.is_dead_no_more.load(Ordering::Relaxed) {
            return Credited { cell, outcome: Ok(CreditOutcome::Received) };
        }
        sleep_until(deadline).await;
        Credited { cell, outcome: Err(PeerError::Unreachable("deadline".into())) }
    }
}

type Service = Wallets<MemoryStore, TwoCells>;

fn context(patience: Duration) -> Context {
    Context { key: None, audit: Audit::default(), note: Note::default(), deadline: Instant::now() + patience }
}

async fn pay(service: &Service, from: WalletId, to: u128, patience: Duration) -> TransferStatus {
    let to = WalletId::from_uuid(Uuid::from_u128(to));
    let paid = service.transfer(from, to, Money::from_minor(1), context(patience)).await;
    paid.expect("the payer has money").value.status
}

/// No payee's bucket, but the payer's.
const NAMESPACE: Uuid = Uuid::from_u128(7);

fn ann() -> (UserId, WalletId) {
    let ann = UserId::parse("ann").expect("sound");
    (ann.clone(), WalletId::for_user(NAMESPACE, &ann))
}

/// An instance that runs until this is dropped, with a clock that began at `began`.
struct Running {
    service: Arc<Service>,
    _tasks: JoinSet<()>,
    _stopper: watch::Sender<bool>,
}

fn start(store: &MemoryStore, peers: &TwoCells, began: Instant, later: Duration) -> Running {
    let clock = Clock::new(1, move || {
        let passed = (began.elapsed() + later).as_micros();
        Timestamp::from_micros(1_760_000_000_000_000 + i64::try_from(passed).expect("short"))
    });
    let (stopper, stop) = watch::channel(false);
    let cell = CellId::parse("cell-1").expect("sound");
    let instance = instance::start(cell, NAMESPACE, store.clone(), peers.clone(), clock, Limits::default(), stop);
    Running { service: instance.wallets, _tasks: instance.tasks, _stopper: stopper }
}

async fn deposit(service: &Service, wallet: WalletId, minor: u64) {
    let deposit = Intent::Deposit { amount: Money::from_minor(minor) };
    service.change(wallet, deposit, context(Duration::from_secs(5))).await.expect("active");
}

/// A payer with 100.00, and tables of its own.
async fn funded() -> (MemoryStore, TwoCells, Instant, Running, WalletId) {
    let (ann, payer) = ann();
    let (store, peers, began) = (MemoryStore::new(Genesis::of([payer.bucket()])), TwoCells::default(), Instant::now());
    let running = start(&store, &peers, began, Duration::ZERO);
    running.service.create(ann, context(Duration::from_secs(5))).await.expect("it may be created here");
    deposit(&running.service, payer, 10_000).await;
    (store, peers, began, running, payer)
}

#[tokio::test(start_paused = true)]
async fn transfers_to_a_dead_cell_hold_up_no_others() {
    let (_store, _peers, _began, running, payer) = funded().await;
    let service = Arc::clone(&running.service);
    let mut stuck = JoinSet::new();
    for number in 0..200_u128 {
        let service = Arc::clone(&service);
        let to = (0x8000 + number) << 112;
        stuck.spawn(async move { pay(&service, payer, to, Duration::from_secs(20)).await });
    }
    while let Some(status) = stuck.join_next().await {
        assert_eq!(status.expect("it ended"), TransferStatus::InFlight);
    }
    let began = Instant::now();
    for number in 1..=20 {
        assert_eq!(pay(&service, payer, number, Duration::from_secs(8)).await, TransferStatus::Settled);
    }
    let took = began.elapsed();
    assert!(took < Duration::from_secs(2), "20 transfers to the cell that answers took {took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_transfer_is_never_given_up_and_its_payee_knows_its_end() {
    const EIGHT_DAYS: Duration = Duration::from_secs(8 * 24 * 60 * 60);
    const LONG: Duration = Duration::from_secs(120);
    let (store, peers, began, running, payer) = funded().await;
    let service = Arc::clone(&running.service);
    let is_alive = |is_alive| peers.is_dead_no_more.store(is_alive, Ordering::Relaxed);
    let open = || store.chains()[&payer].last().expect("block 0").state.open_count;
    let dead = WalletId::from_uuid(Uuid::from_u128(0x8000 << 112));
    let key = Some(Key { key: [1; 16], request: [1; 16] });
    let keyed = async || {
        let context = Context { key, ..context(Duration::from_secs(8)) };
        service.transfer(payer, dead, Money::from_minor(1), context).await.expect("the payer has money").value
    };
    let sent = keyed().await;
    assert_eq!(sent.status, TransferStatus::InFlight);
    // Further on than one request reads for the end of a transfer.
    for _ in 0..600 {
        deposit(&service, payer, 1).await;
    }
    sleep_until(Instant::now() + LONG).await;
    is_alive(true);
    // By itself its next turn may be half a minute away. Twice, since the last attempt may still wait
    // for its answer.
    for _ in 0..2 {
        let tried = service.deliver(payer, sent.id, Instant::now() + Duration::from_secs(4)).await;
        tried.expect("in flight, or settled");
    }
    sleep_until(Instant::now() + Duration::from_secs(2)).await;
    assert_eq!(open(), 0, "delivered, and settled");
    let shown = service.transfer_status(payer, sent.id).await.expect("the payee answers");
    assert_eq!((shown.status, shown.updated_at), (TransferStatus::Settled, None));
    assert_eq!(keyed().await.status, TransferStatus::Settled, "a repetition gets the same answer");

    is_alive(false);
    assert_eq!(pay(&service, payer, 0x9000 << 112, Duration::from_secs(8)).await, TransferStatus::InFlight);
    drop((service, running));
    is_alive(true);
    let later = start(&store, &peers, began, EIGHT_DAYS);
    later.service.carry_on(payer, 0).await;
    sleep_until(Instant::now() + LONG).await;
    assert_eq!(open(), 0, "however old it is");
    drop(later);
}

/// Tables that take no writes while this is set.
struct ReadOnly(Arc<AtomicBool>);

impl FaultPlan for ReadOnly {
    fn next(&self, write: bool) -> Fate {
        let fault = if write && self.0.load(Ordering::Relaxed) { Fault::Refused } else { Fault::None };
        Fate { fault, ..Fate::default() }
    }
}

#[tokio::test(start_paused = true)]
async fn money_has_not_come_back_before_the_chain_says_so() {
    let (ann, payer) = ann();
    let (store, began, refused) = (MemoryStore::new(Genesis::of([payer.bucket()])), Instant::now(), Arc::default());
    let peers = TwoCells { refused: Some(Arc::clone(&refused)), ..TwoCells::default() };
    let tables = store.with_faults(Arc::new(ReadOnly(Arc::clone(&refused))));
    let running = start(&tables, &peers, began, Duration::ZERO);
    running.service.create(ann, context(Duration::from_secs(5))).await.expect("it may be created here");
    deposit(&running.service, payer, 100).await;
    // The payee has refused, and that cannot be recorded.
    let status = pay(&running.service, payer, 1, Duration::from_secs(8)).await;
    assert_eq!(status, TransferStatus::InFlight);
    refused.store(false, Ordering::Relaxed);
    sleep_until(Instant::now() + Duration::from_secs(120)).await;
    let head = store.chains()[&payer].last().expect("block 0").state.clone();
    assert_eq!((head.balance, head.open_count), (Money::from_minor(100), 0), "it comes back by itself");
    drop(running);
}
