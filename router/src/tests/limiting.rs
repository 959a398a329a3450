//! What a router refuses for its own sake or a cell for its, and which processes of a cell it asks for what.

use super::fixture::{Cell, ControlPlane, Deed, HIGH, LOW, NAMESPACE, Rig, fresh_dir, halves};
use super::http_client::{Answer, ask};
use crate::config::Bounds;
use crate::limits::EJECT_AFTER_SHEDS;
use crate::rate::Rates;
use topology::{Role, UserId, WalletId};

const BODY: &str = r#"{"amount":1}"#;

fn deposit(wallet: &str) -> String {
    format!("/api/v1/wallets/{wallet}/deposit")
}

/// More than fit into one window at the rates of these tests, however slow the machine.
const ATTEMPTS: usize = 50;

/// Asks until the router refuses; every answer before that was the cell's.
async fn until_refused(rig: &Rig, wallet: &str) -> Answer {
    for _ in 0..ATTEMPTS {
        let answer = ask(rig.running.public, "POST", &deposit(wallet), &[], BODY).await;
        if answer.status == 429 {
            return answer;
        }
        assert_eq!(answer.status, 200);
    }
    panic!("{ATTEMPTS} requests, and none was refused");
}

#[tokio::test]
async fn a_wallet_at_its_limit_learns_when_to_retry() {
    let rates = Rates { all: 0, wallet: 2 };
    let (rig, cell) = Rig::with_one_cell(2, Bounds { rates, ..Bounds::default() }).await;
    let answer = ask(rig.running.public, "POST", &deposit(LOW), &[], BODY).await;
    assert_eq!((answer.status, answer.header("ratelimit")), (200, Some(r#""wallet";r=1;t=1"#)));
    assert_eq!(answer.header("ratelimit-policy"), Some(r#""wallet";q=2;w=1"#));
    let answer = until_refused(&rig, LOW).await;
    assert_eq!(answer.code(), "rate_limited");
    assert_eq!((answer.header("retry-after"), answer.header("ratelimit")), (Some("1"), Some(r#""wallet";r=0;t=1"#)));
    let served = cell.seen().len();
    assert!(served <= ATTEMPTS, "what is refused does not reach the cell");
    assert_eq!(ask(rig.running.public, "POST", &deposit(HIGH), &[], BODY).await.status, 200);
    let credits = format!("/internal/v1/wallets/{LOW}/credits");
    for _ in 0..10 {
        assert_eq!(ask(rig.running.internal, "POST", &credits, &[], BODY).await.status, 200, "money in flight");
    }
    let page = ask(rig.running.admin, "GET", "/metrics", &[], "").await.body;
    assert!(page.contains(r#"router_rate_limited_total{scope="wallet"}"#), "{page}");
}

#[tokio::test]
async fn all_wallets_together_have_a_limit_that_the_pages_have_not() {
    let rates = Rates { all: 1, wallet: 0 };
    let (rig, _cell) = Rig::with_one_cell(1, Bounds { rates, ..Bounds::default() }).await;
    assert_eq!(ask(rig.running.public, "POST", &deposit(LOW), &[], BODY).await.status, 200);
    let answer = until_refused(&rig, HIGH).await;
    assert_eq!(answer.header("ratelimit"), Some(r#""router";r=0;t=1"#));
    for _ in 0..5 {
        let answer = ask(rig.running.public, "GET", "/openapi.yaml", &[], "").await;
        assert_eq!((answer.status, answer.header("ratelimit")), (200, None));
    }
}

#[tokio::test]
async fn an_instance_at_its_limit_is_neither_ejected_nor_passed_over() {
    let (one, two) = (Cell::start("one").await, Cell::start("two").await);
    let both = [one.address, two.address];
    let (rig, _plane) = Rig::with(halves(1, [&both, &both])).await;
    let preferred = ask(rig.running.public, "POST", &deposit(LOW), &[], BODY).await.body;
    let (first, second) = if preferred == "one" { (&one, &two) } else { (&two, &one) };
    for _ in 0..2 * EJECT_AFTER_SHEDS {
        first.will(Deed::Answer(503, "x-not-processed: at-limit\r\n", "later".into()));
        let answer = ask(rig.running.public, "POST", &deposit(LOW), &[], BODY).await;
        assert_eq!((answer.status, answer.body.as_str()), (503, "later"));
        assert_eq!(answer.header("x-not-processed"), None);
    }
    assert_eq!(second.seen().len(), 0, "the overload stays where it is");
    assert_eq!(ask(rig.running.public, "POST", &deposit(LOW), &[], BODY).await.body, first.name);
}

/// A user whose wallet is in the lower half of the buckets.
fn low_user() -> String {
    let named = (0..).map(|number| format!("user-{number}"));
    let is_low = |user: &String| {
        WalletId::for_user(NAMESPACE, &UserId::parse(user.clone()).expect("sound")).bucket().index() < 0x8000
    };
    named.into_iter().find(is_low).expect("half of them are")
}

#[tokio::test]
async fn each_request_goes_to_a_process_that_is_there_for_it() {
    let (money, wallets) = (Cell::start("money").await, Cell::start("wallets").await);
    let mut update = halves(1, [&[money.address, wallets.address], &[money.address]]);
    update.cells[0].instances[0].role = Role::Transactions;
    update.cells[0].instances[1].role = Role::Accounts;
    let (rig, _plane) = Rig::with(update).await;
    let public = rig.running.public;
    let create = format!(r#"{{"userId":"{}"}}"#, low_user());
    for _ in 0..8 {
        assert_eq!(ask(public, "POST", &deposit(LOW), &[], BODY).await.body, "money");
        assert_eq!(ask(public, "GET", &format!("/api/v1/wallets/{LOW}"), &[], "").await.body, "money");
        assert_eq!(ask(public, "POST", "/api/v1/wallets", &[], &create).await.body, "wallets");
        let find = format!("/api/v1/wallets?userId={}", low_user());
        assert_eq!(ask(public, "GET", &find, &[], "").await.body, "wallets");
        let freeze = format!("/internal/v1/wallets/{LOW}/freeze");
        assert_eq!(ask(rig.running.internal, "POST", &freeze, &[], "").await.body, "wallets");
    }
    let asked = money.seen().len();
    for _ in 0..EJECT_AFTER_SHEDS {
        wallets.will(Deed::Answer(503, "x-not-processed: true\r\n", "no".into()));
        assert_eq!(ask(public, "POST", "/api/v1/wallets", &[], &create).await.status, 503);
    }
    assert_eq!(money.seen().len(), asked, "what is not its own is not brought to it");
}

#[tokio::test]
async fn a_process_with_a_new_role_is_skipped_and_the_placement_read() {
    let (one, two) = (Cell::start("one").await, Cell::start("two").await);
    let both = [one.address, two.address];
    let plane = ControlPlane::start(Some(halves(1, [&both, &both]))).await;
    let rig = Rig::start(plane.address, fresh_dir()).await;
    rig.until_version(1).await;
    let preferred = ask(rig.running.public, "POST", &deposit(LOW), &[], BODY).await.body;
    let (first, second) = if preferred == "one" { (&one, &two) } else { (&two, &one) };
    let wrong = || Deed::Answer(421, "x-not-processed: true\r\n", "wrong role".into());
    first.will(wrong());
    assert_eq!(ask(rig.running.public, "POST", &deposit(LOW), &[], BODY).await.body, second.name);
    first.will(wrong());
    second.will(wrong());
    let answer = ask(rig.running.public, "POST", &deposit(LOW), &[], BODY).await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "upstream_unavailable"), "a client never sees a 421");
    super::fixture::eventually(async || plane.asked().len() > 2).await;
}
