//! Couriers against peers that answer, or do not.

use std::sync::Arc;

use ledger::{Audit, Intent, Money};
use store::Genesis;
use store::memory::MemoryStore;
use topology::wire::Receivable;
use topology::{Bucket, UserId, WalletId};
use uuid::Uuid;

use super::*;
use crate::instance;
use crate::sequencer::Limits;
use crate::wallets::{Context, TransferStatus, Wallets};

/// Payees whose id begins with a zero live in a cell that answers, all others in one that does not.
#[derive(Clone)]
struct TwoCells;

impl Peers for TwoCells {
    async fn receivable(&self, wallet: WalletId, _: Instant) -> Result<Receivable, PeerError> {
        Ok(Receivable { wallet_id: wallet, refusal: None })
    }

    async fn credit(&self, credit: &Credit, deadline: Instant) -> Credited {
        let is_alive = credit.to_wallet_id.bucket() < Bucket(0x1000);
        let cell = CellId::parse(if is_alive { "alive" } else { "dead" }).ok();
        if is_alive {
            return Credited { cell, outcome: Ok(CreditOutcome::Received) };
        }
        sleep_until(deadline).await;
        Credited { cell, outcome: Err(PeerError::Unreachable("deadline".into())) }
    }
}

type Service = Wallets<MemoryStore, TwoCells>;

fn context(patience: Duration) -> Context {
    Context { key: None, audit: Audit::default(), deadline: Instant::now() + patience }
}

async fn pay(service: &Service, from: WalletId, to: u128, patience: Duration) -> TransferStatus {
    let to = WalletId::from_uuid(Uuid::from_u128(to));
    let paid = service.transfer(from, to, Money::from_minor(1), context(patience)).await;
    paid.expect("the payer has money").value.status
}

#[tokio::test(start_paused = true)]
async fn transfers_to_a_dead_cell_hold_up_no_others() {
    let started = Instant::now();
    let clock = Clock::new(1, move || {
        Timestamp::from_micros(1_760_000_000_000_000 + i64::try_from(started.elapsed().as_micros()).expect("short"))
    });
    // No payee's bucket, but the payer's.
    let namespace = Uuid::from_u128(7);
    let ann = UserId::parse("ann").expect("sound");
    let payer = WalletId::for_user(namespace, &ann);
    let store = MemoryStore::new(Genesis::of([payer.bucket()]));
    let (_stopper, stop) = watch::channel(false);
    let cell = CellId::parse("cell-1").expect("sound");
    let instance = instance::start(cell, namespace, store, TwoCells, clock, Limits::default(), stop);
    let service = Arc::clone(&instance.wallets);
    service.create(ann, context(Duration::from_secs(5))).await.expect("it may be created here");
    let deposit = Intent::Deposit { amount: Money::from_minor(10_000) };
    service.change(payer, deposit, context(Duration::from_secs(5))).await.expect("active");

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
