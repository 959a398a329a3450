//! Operations from beginning to end: the control plane's own reconciler and the mover over real tables with chains.

use control_api::{
    BucketRange, OperationId, OperationState, OperationView, Piece, RemoveCell, Scope, StartOperation, VerifyFrom,
    Wanted,
};
use ledger::{Append, Entry, EntryKind, Guard, Money, chain};
use mover::wall_clock;
use store::Chains;
use topology::{Bucket, CellId, UserId, WalletId};
use uuid::Uuid;

use super::cell::NAMESPACE;
use super::fixture::{Fixture, PATIENCE, Plane, because, cell_id, code};
use crate::customers::wallet_status::{Verb, change};
use crate::operations::{self, Started};

/// A user of one of the first buckets, which are cell 1's, and the wallet's chain of one block there.
pub async fn opened(plane: &Plane, buckets: std::ops::Range<u16>) -> (UserId, WalletId) {
    let user = |number: u32| UserId::parse(format!("user-{number}")).expect("sound");
    let of = |user: UserId| (WalletId::for_user(NAMESPACE, &user), user);
    let (wallet, user) =
        (0..).map(|number| of(user(number))).find(|(wallet, _)| buckets.contains(&wallet.bucket().0)).expect("some");
    let side = plane.control.fleet.side(&cell_id(1)).await.expect("registered");
    let entry = Entry::new(Uuid::from_u128(wallet.as_uuid().as_u128()), EntryKind::Opened, Money::ZERO, Money::ZERO);
    let block = chain::open(wallet, cell_id(1), wall_clock(), entry, None);
    let append = Append::of(vec![block], Some(Guard::Bucket { genesis: true }));
    side.store.append(&append).await.expect("created");
    (user, wallet)
}

/// A deposit of one cent by hand: one block more in `cell`.
pub async fn deposited(plane: &Plane, cell: usize, wallet: WalletId) {
    let side = plane.control.fleet.side(&cell_id(cell)).await.expect("registered");
    let head = side.store.head(wallet).await.expect("answers").expect("there").head();
    let mut state = head.state.clone();
    state.balance = Money::from_minor(state.balance.minor() + 1);
    let entry = Entry::new(Uuid::new_v4(), EntryKind::Deposit, Money::from_minor(1), state.balance);
    let block = chain::next(&head, state, vec![entry], wall_clock());
    side.store.append(&Append::of(vec![block], None)).await.expect("free");
}

/// Where the wallet is by its chain in `cell`'s tables.
async fn home(plane: &Plane, cell: usize, wallet: WalletId) -> Option<CellId> {
    let side = plane.control.fleet.side(&cell_id(cell)).await.expect("registered");
    side.store.head(wallet).await.expect("answers").map(|head| head.home)
}

async fn placed(plane: &Plane, wallet: WalletId) -> (CellId, bool) {
    let now = plane.control.fleet.placements.refresh().await.expect("answers").expect("published");
    let cell = now.placement.cell(now.placement.cell_of(wallet)).expect("listed").id.clone();
    (cell, now.placement.pins().contains_key(&wallet))
}

pub async fn start(plane: &Plane, wanted: &StartOperation) -> OperationId {
    match operations::start(&plane.control.operations, wanted).await {
        Ok(Started::Created(operation)) => operation.id(),
        other => panic!("{:?}", code(other.map(|_| ()))),
    }
}

async fn at_rest(plane: &Plane, id: OperationId) -> OperationView {
    tokio::time::timeout(PATIENCE, async {
        loop {
            let view = operations::get(&plane.control.operations, id).await.expect("there").view();
            if view.state.is_at_rest() {
                return view;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("it comes to rest")
}

pub async fn done(plane: &Plane, wanted: Wanted) -> OperationView {
    let mut wanted = StartOperation::new(wanted, because());
    wanted.limits.bake_seconds = 0;
    let id = start(plane, &wanted).await;
    let view = at_rest(plane, id).await;
    assert_eq!(view.state, OperationState::Done, "{:?}", view.last_error);
    view
}

pub fn buckets(first: u16, last: u16, to: usize) -> Wanted {
    let range = BucketRange { first: Bucket(first), last: Bucket(last) };
    Wanted::Migrate { scope: Scope::Buckets(range), to: cell_id(to) }
}

#[tokio::test]
async fn buckets_move_with_their_wallets_are_verified_and_come_back() {
    let (_fixture, plane) = Fixture::bootstrapped(2).await;
    let (_, wallet) = opened(&plane, 0..0x400).await;
    let first = wallet.bucket().0;
    let asked = StartOperation { dry_run: true, ..StartOperation::new(buckets(first, first + 70, 2), because()) };
    let Ok(Started::Planned(plan)) = operations::start(&plane.control.operations, &asked).await else {
        panic!("a plan")
    };
    assert_eq!((plan.steps.len(), plan.wallets), (2, Some(1)));
    assert!(plan.headroom[0].after.is_some());

    let moved = done(&plane, buckets(first, first + 70, 2)).await;
    assert_eq!((moved.progress.steps_done, moved.progress.wallets, moved.progress.blocks), (2, 1, 1));
    assert_eq!(home(&plane, 1, wallet).await, Some(cell_id(2)));
    assert_eq!(home(&plane, 2, wallet).await, Some(cell_id(2)));
    assert_eq!(placed(&plane, wallet).await, (cell_id(2), false));
    let verified =
        operations::verify::verify(&plane.control.operations, moved.id, &VerifyFrom::default()).await.expect("read");
    assert_eq!((verified.wallets, verified.mismatches.len(), verified.next), (1, 0, None));

    done(&plane, Wanted::Reverse { operation: moved.id }).await;
    assert_eq!(home(&plane, 1, wallet).await, Some(cell_id(1)));
    assert_eq!(placed(&plane, wallet).await, (cell_id(1), false));
}

#[tokio::test]
async fn a_moved_wallet_is_pinned_until_it_comes_home() {
    let (_fixture, plane) = Fixture::bootstrapped(2).await;
    let (user, wallet) = opened(&plane, 0..0x400).await;
    let to = |cell| Wanted::Migrate { scope: Scope::User(user.to_string()), to: cell_id(cell) };
    done(&plane, to(2)).await;
    assert_eq!(placed(&plane, wallet).await, (cell_id(2), true));
    assert_eq!(home(&plane, 2, wallet).await, Some(cell_id(2)));
    // Its bucket goes and comes without it.
    let bucket = wallet.bucket().0;
    done(&plane, buckets(bucket, bucket, 2)).await;
    assert_eq!(placed(&plane, wallet).await, (cell_id(2), false), "the bucket came to its cell");
    done(&plane, to(1)).await;
    assert_eq!(placed(&plane, wallet).await, (cell_id(1), true));
    let absent = Scope::User("nobody".into());
    let now = plane.control.fleet.placements.known().expect("published");
    let other = now.placement.cell_of(WalletId::for_user(NAMESPACE, &UserId::parse("nobody").expect("sound")));
    let target = if other.0 == 0 { 2 } else { 1 };
    let unknown = StartOperation::new(Wanted::Migrate { scope: absent, to: cell_id(target) }, because());
    assert_eq!(code(operations::start(&plane.control.operations, &unknown).await.map(|_| ())), "unknown_wallet");
}

#[tokio::test]
async fn blocks_are_deleted_only_below_an_old_tombstone() {
    let mut fixture = Fixture::new(2).await;
    fixture.purge_after = std::time::Duration::from_secs(1);
    let plane = fixture.plane().await;
    crate::lifecycle::bootstrap::bootstrap(&plane.control.fleet, &fixture.request()).await.expect("published");
    let (_, wallet) = opened(&plane, 0..0x400).await;
    let bucket = wallet.bucket().0;
    let moved = done(&plane, buckets(bucket, bucket, 2)).await;
    let mut forget = StartOperation::new(Wanted::Forget { operation: moved.id }, because());
    forget.limits.bake_seconds = 0;
    let too_young = operations::start(&plane.control.operations, &forget).await;
    assert_eq!(code(too_young.map(|_| ())), "still_baking");
    let store = plane.control.fleet.side(&cell_id(1)).await.expect("registered").store;
    let left = store.head(wallet).await.expect("answers").expect("a tombstone");
    // Asked past the API, which looks at whole seconds of the operation's end: the step waits by itself.
    let step = operations::plan_of(&plane.control.operations, moved.id).await.expect("there").steps.remove(0);
    let assignment = crate::operations::hands::Assignment::purging(step);
    crate::operations::hands::Hands::real().carry(&plane.control.operations, assignment).await.expect("purged");
    assert!(wall_clock().micros() - left.at.micros() >= 1_000_000, "it waited");
    let blocks = store::BlockRange { first: 0, last: u64::MAX, newest_first: false };
    let kept = store.blocks(wallet, blocks, 10).await.expect("answers");
    assert_eq!(kept, [left], "the last block goes on telling where it went");
}

#[tokio::test]
async fn a_cell_is_removed_only_when_no_wallet_is_left() {
    use topology::placement::CellState::{Active, Draining, Joining, Removed};
    let (mut fixture, plane) = Fixture::bootstrapped(2).await;
    let control = &plane.control;
    let late = fixture.start_cell().await;
    let added = control_api::AddCell { cell: late, because: because() };
    assert_eq!(crate::lifecycle::registration::add(&control.fleet, &added).await.expect("added").state, Joining);
    let life = crate::lifecycle::life::drain(&control.fleet, &cell_id(1), &because()).await.expect("drained");
    assert_eq!(life.state, Draining);
    let plain = StartOperation::new(buckets(0xffff, 0xffff, 1), because());
    assert_eq!(code(operations::start(&control.operations, &plain).await.map(|_| ())), "cell_not_accepting");
    let life = crate::lifecycle::life::undrain(&control.fleet, &cell_id(1), &because()).await.expect("active");
    assert_eq!(life.state, Active);

    let remove = RemoveCell { force: false, because: because() };
    assert_eq!(code(crate::lifecycle::life::remove(&control.operations, &cell_id(1), &remove).await), "cell_not_empty");
    let (_, wallet) = opened(&plane, 0..0x400).await;
    let pinned = done(&plane, Wanted::Migrate { scope: Scope::Wallet(wallet), to: cell_id(3) }).await;
    assert_eq!(code(crate::lifecycle::life::remove(&control.operations, &cell_id(3), &remove).await), "cell_not_empty");
    done(&plane, Wanted::Reverse { operation: pinned.id }).await;
    let removed = crate::lifecycle::life::remove(&control.operations, &cell_id(3), &remove).await.expect("removed");
    assert_eq!((removed.state, removed.instances.len()), (Removed, 0));
    let again = StartOperation::new(buckets(0, 0, 3), because());
    assert_eq!(code(operations::start(&control.operations, &again).await.map(|_| ())), "cell_not_accepting");
}

#[tokio::test]
async fn the_api_says_what_is_wrong_before_any_work_is_done() {
    let (_fixture, plane) = Fixture::bootstrapped(2).await;
    const JSON: &str = "application/json";
    let http = reqwest::Client::new();
    let cases = [
        ("operations", "{}", 400, "bad_body"),
        (
            "operations",
            r#"{"kind":"rebalance","limits":{"maxConcurrent":0},"actor":"a","reason":"r"}"#,
            400,
            "bad_limit",
        ),
        ("operations", r#"{"kind":"rebalance","actor":"","reason":"r"}"#, 400, "bad_because"),
        ("operations", r#"{"kind":"rebalance","actor":"\u001b[2J","reason":"r"}"#, 400, "bad_text"),
        (
            "operations",
            r#"{"kind":"rebalance","plan":{"placementVersion":1,"steps":[]},"actor":"a","reason":"r"}"#,
            400,
            "unknown_field",
        ),
        (
            "operations",
            r#"{"kind":"evacuate","cell":"cell-1","force":true,"actor":"a","reason":"not given"}"#,
            422,
            "reason_needed",
        ),
        ("operations", r#"{"kind":"reverse","operation":"op-9","actor":"a","reason":"r"}"#, 404, "unknown_operation"),
        ("operations/op-9/pause", r#"{"actor":"a","reason":"r"}"#, 404, "unknown_operation"),
        ("operations/9/pause", r#"{"actor":"a","reason":"r"}"#, 400, "bad_id"),
        ("cells/cell-9/drain", r#"{"actor":"a","reason":"r"}"#, 404, "unknown_cell"),
    ];
    for (path, body, status, code) in cases {
        let answer = http
            .post(format!("{}/v1/{path}", plane.url))
            .header("content-type", JSON)
            .body(body)
            .send()
            .await
            .expect("answers");
        assert_eq!(answer.headers()["content-type"], "application/problem+json", "{path} {body}");
        let problem: topology::Problem = answer.json().await.expect("a problem");
        assert_eq!((problem.status, problem.code.as_str()), (status, code), "{path} {body}");
    }
    for query in ["audit?limit=x", "audit?limt=5", "operations?operaton=op-1", "placement?wait=x", "log?cel=cell-1"] {
        let answer = reqwest::get(format!("{}/v1/{query}", plane.url)).await.expect("answers");
        assert_eq!(
            (answer.status().as_u16(), answer.headers()["content-type"].to_str().expect("text")),
            (400, "application/problem+json"),
            "{query}"
        );
    }
    let body = serde_json::to_string(&StartOperation::new(buckets(0, 0, 2), because())).expect("plain");
    let answer = http
        .post(format!("{}/v1/operations", plane.url))
        .header("content-type", JSON)
        .body(body)
        .send()
        .await
        .expect("answers");
    assert_eq!(answer.status(), 201);
    let view: OperationView = answer.json().await.expect("a view");
    assert_eq!(at_rest(&plane, view.id).await.state, OperationState::Done);
    let audit = reqwest::get(format!("{}/v1/audit?operation=op-1&limit=2", plane.url)).await.expect("answers");
    let audit: Vec<control_api::AuditEntry> = audit.json().await.expect("entries");
    assert_eq!(audit.iter().map(|entry| entry.what.as_str()).collect::<Vec<_>>(), ["finish", "begin"]);
}

#[tokio::test]
async fn the_command_line_runs_an_operation_to_its_end() {
    let (_fixture, plane) = Fixture::bootstrapped(2).await;
    let (_, wallet) = opened(&plane, 0..0x400).await;
    let api = control_api::Client::new(&plane.url, &control_api::client::Credentials::default()).expect("a URL");
    let wanted = StartOperation::new(Wanted::Rebalance { max_moves: None }, because());
    let nothing = ctl::operations::run_to_end(&api, wanted).await.expect("at rest");
    assert_eq!((nothing.state, nothing.steps), (OperationState::Done, 0));
    let bucket = wallet.bucket().0;
    let wanted = StartOperation::new(buckets(bucket, bucket, 2), because());
    let moved = ctl::operations::run_to_end(&api, wanted).await.expect("at rest");
    assert_eq!((moved.state, moved.progress.wallets), (OperationState::Done, 1));
    let command = |line: &str| {
        let line = format!("ctl --server {} --reason test {line}", plane.url);
        line.split(' ').map(str::to_owned).collect::<Vec<_>>()
    };
    let cases = [
        (format!("migrate verify {}", moved.id), 0),
        (format!("op show {}", moved.id), 0),
        ("audit".to_owned(), 0),
        ("rebalance --dry-run --explain".to_owned(), 3),
        ("rebalance".to_owned(), 2),
        (format!("migrate forget {} --yes", moved.id), 4),
        (format!("migrate reverse {} --yes -o json", moved.id), 0),
        ("migrate resume op-99".to_owned(), 4),
        ("migrate --to cell-2".to_owned(), 2),
        ("rebalance --yes --wait 5".to_owned(), 0),
    ];
    for (line, expected) in cases {
        assert_eq!(ctl::run_line(command(&line)).await, expected, "{line}");
    }
}

#[tokio::test]
async fn a_database_that_does_not_answer_is_named_and_waited_for() {
    let (fixture, plane) = Fixture::bootstrapped(2).await;
    let (_, wallet) = opened(&plane, 0..0x400).await;
    let endpoint = fixture.cells[0].dynamodb.endpoint.as_deref().expect("given");
    let set_faults = async |plan: &'static str| {
        let put = reqwest::Client::new().put(format!("{endpoint}/_faults")).body(plan).send().await;
        assert!(put.expect("answers").status().is_success());
    };
    set_faults(r#"{"unavailable":true}"#).await;
    let bucket = wallet.bucket().0;
    let id = start(&plane, &StartOperation::new(buckets(bucket, bucket, 2), because())).await;
    let said = tokio::time::timeout(PATIENCE, async {
        loop {
            let view = operations::get(&plane.control.operations, id).await.expect("there").view();
            assert!(!view.state.is_at_rest(), "it is not given up");
            if let Some(said) = view.last_error {
                return said;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
    let said = said.await.expect("it is shown");
    assert_eq!(said, "the database of cell-1 does not answer: its wallets cannot be moved until it does");
    set_faults("{}").await;
    assert_eq!(at_rest(&plane, id).await.state, OperationState::Done);
}

#[tokio::test]
async fn an_evacuation_takes_along_who_was_never_pinned() {
    let (_fixture, plane) = Fixture::bootstrapped(2).await;
    let (_, wallet) = opened(&plane, 0..0x400).await;
    done(&plane, Wanted::Migrate { scope: Scope::Wallet(wallet), to: cell_id(2) }).await;
    // As an onboarding leaves it that is broken off before the pin.
    let unpin = |_: &topology::Placement| {
        let pins = vec![topology::placement::Pin { wallet, cell: None }];
        Ok(Some(crate::placement::placements::Delta { pins, ..Default::default() }))
    };
    plane.control.fleet.placements.change("test", &because(), unpin).await.expect("published");
    assert_eq!(placed(&plane, wallet).await, (cell_id(1), false));
    let evacuation = StartOperation::new(Wanted::Evacuate { cell: cell_id(2), force: false }, because());
    let id = start(&plane, &evacuation).await;
    let steps = operations::plan_of(&plane.control.operations, id).await.expect("there").steps;
    assert!(steps.iter().any(|step| matches!(step.piece, Piece::Wallet { wallet: of } if of == wallet)));
}

/// A process of a cell that froze the wallet when it was asked, whatever it answered.
async fn freezing(answer: u16) -> String {
    use axum::Json;
    use axum::routing::{get, post};
    let answer = axum::http::StatusCode::from_u16(answer).expect("sound");
    let problem = serde_json::json!({ "type": "", "title": "", "status": 409, "code": "wallet_frozen", "detail": "" });
    let app = axum::Router::new()
        .route("/api/v1/wallets/{id}", get(|| async { Json(serde_json::json!({ "status": "FROZEN" })) }))
        .route("/internal/v1/wallets/{id}/freeze", post(move || async move { (answer, Json(problem)) }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

#[tokio::test]
async fn a_freeze_that_had_happened_is_answered_as_done() {
    let mut fixture = Fixture::new(1).await;
    let template = fixture.cells[0].instances.remove(0);
    // The first one's answer is lost after it froze the wallet; the second finds it frozen.
    for status in [500, 409] {
        let id = topology::InstanceId(format!("cell-1-{status}"));
        let address = freezing(status).await;
        fixture.cells[0].instances.push(topology::placement::InstanceEntry { id, address, ..template.clone() });
    }
    let plane = fixture.plane().await;
    crate::lifecycle::bootstrap::bootstrap(&plane.control.fleet, &fixture.request()).await.expect("published");
    let (_, wallet) = opened(&plane, 0..0x400).await;
    let shown = change(&plane.control.fleet, wallet, Verb::Freeze, &because()).await;
    assert_eq!(shown.map(|wallet| wallet["status"].clone()).map_err(|error| error.to_string()), Ok("FROZEN".into()));
    let refused = change(&plane.control.fleet, wallet, Verb::Close, &because()).await;
    assert!(refused.is_err(), "another refusal is no success");
}
