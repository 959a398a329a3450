//! Statements that are read slowly, against the routes of a cell over a store in memory.

use axum::Router;
use axum::extract::Request;
use ledger::{Audit, Note};
use store::Genesis;
use store::memory::MemoryStore;
use tokio::sync::watch;
use tokio::time::{Duration, Instant};
use topology::wire::{Credit, Receivable};
use topology::{Bucket, CellId, Role, UserId, wire};
use tower_service::Service;
use uuid::Uuid;

use super::*;
use crate::admission::Admission;
use crate::clock::Clock;
use crate::hot::Hot;
use crate::http::{Bodies, MAX_FOLLOWERS, MAX_FOLLOWERS_OF_EACH, Places, routes};
use crate::instance;
use crate::peers::{Credited, PeerError};
use crate::sequencer::Limits;
use crate::wallets::Context;

/// No other cell is asked for anything.
#[derive(Clone)]
struct Alone;

impl Peers for Alone {
    async fn receivable(&self, _: WalletId, _: Instant) -> Result<Receivable, PeerError> {
        Err(PeerError::UnknownWallet)
    }

    async fn credit(&self, _: &Credit, _: Instant) -> Credited {
        Credited { cell: None, outcome: Err(PeerError::UnknownWallet) }
    }
}

/// The routes of a cell with one wallet, and what has to live as long.
async fn cell_of_one() -> (Router, WalletId, impl Sized) {
    let (namespace, ann) = (Uuid::from_u128(7), UserId::parse("ann").expect("sound"));
    let clock = Clock::new(1, || Timestamp::from_micros(1_760_000_000_000_000));
    let store = MemoryStore::new(Genesis::of(Bucket::all()));
    let (stopper, stop) = watch::channel(false);
    let cell = CellId::parse("cell-1").expect("sound");
    let limits = Limits::default();
    let instance = instance::start(cell, namespace, store.clone(), Alone, clock.clone(), limits, stop.clone());
    let deadline = Instant::now() + Duration::from_secs(5);
    let context = Context { key: None, audit: Audit::default(), note: Note::default(), deadline };
    instance.wallets.create(ann.clone(), context).await.expect("it may be created here");
    let version = topology::Version::parse("1");
    let edge = Edge {
        wallets: instance.wallets.clone(),
        store,
        clock,
        metrics: None,
        admission: Admission::new(0),
        hot: Hot::default(),
        events: None,
        followers: Places::new(MAX_FOLLOWERS, MAX_FOLLOWERS_OF_EACH),
        statements: Places::new(MAX_STATEMENTS, MAX_STATEMENTS_OF_EACH),
        bodies: Bodies::default(),
        role: Role::All,
        draining: stop,
        running: topology::version::Running {
            version: version.expect("sound"),
            instance: "cell-1-a".into(),
            started_ms: 0,
            standby: false,
        },
    };
    (routes(Arc::new(edge)), WalletId::for_user(namespace, &ann), (instance.tasks, stopper))
}

async fn asked(routes: &mut Router, wallet: WalletId, format: &str, caller: &str) -> Response {
    let request = Request::builder()
        .uri(format!("/api/v1/wallets/{wallet}/statement?format={format}"))
        .header(wire::FORWARDED_FOR, caller)
        .body(Body::empty());
    routes.call(request.expect("sound")).await.expect("infallible")
}

#[tokio::test]
async fn a_caller_who_reads_slowly_leaves_places_to_others() {
    let (mut routes, wallet, _alive) = cell_of_one().await;
    let mut unread = vec![];
    for number in 0..MAX_STATEMENTS_OF_EACH {
        let format = if number % 2 == 0 { "json" } else { "csv" };
        let answer = asked(&mut routes, wallet, format, "10.0.0.1").await;
        assert_eq!(answer.status(), 200);
        unread.push(answer);
    }
    let refused = asked(&mut routes, wallet, "csv", "10.0.0.1").await;
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.headers()[wire::NOT_PROCESSED], wire::AT_LIMIT, "as for a caller that follows events too often");
    assert_eq!(asked(&mut routes, wallet, "json", "10.0.0.2").await.status(), 200, "another caller's share is free");
    unread.pop();
    assert_eq!(asked(&mut routes, wallet, "json", "10.0.0.1").await.status(), 200, "a place is free again");
}
