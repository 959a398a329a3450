//! A 421 is followed, within bounds, and never shown to a client.

use super::fixture::{Deed, LOW, Rig, eventually, halves};
use super::http_client::ask;

fn elsewhere(line: &'static str) -> Deed {
    Deed::Answer(421, line, "{}".into())
}

#[tokio::test]
async fn a_request_follows_its_wallet_to_the_other_cell_with_its_body() {
    let (rig, low, high) = Rig::with_two_cells().await;
    low.will(elsewhere("x-wallet-cell: cell-1\r\n"));
    let answer =
        ask(rig.running.public, "POST", &format!("/api/v1/wallets/{LOW}/deposit"), &[], r#"{"amount":1}"#).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "high"));
    let seen = &high.seen()[0];
    assert!(seen.ends_with(r#"{"amount":1}"#) && seen.contains("x-hops: 1\r\n"), "{seen}");
}

#[tokio::test]
async fn only_a_cell_sends_the_block_by_which_a_wallet_left() {
    let (rig, low, high) = Rig::with_two_cells().await;
    low.will(elsewhere("x-wallet-cell: cell-1\r\nx-moved-block: c0ffee\r\n"));
    high.will(Deed::Answer(200, "x-moved-block: c0ffee\r\n", "high".into()));
    let path = format!("/api/v1/wallets/{LOW}");
    let answer = ask(rig.running.public, "GET", &path, &[("x-moved-block", "bad")], "").await;
    assert_eq!((answer.status, answer.header("x-moved-block")), (200, None));
    assert!(!low.seen()[0].contains("x-moved-block"), "a client's word is not passed on");
    assert!(high.seen()[0].contains("x-moved-block: c0ffee\r\n"), "{}", high.seen()[0]);
    // The next request of the connection knows nothing of it.
    ask(rig.running.public, "GET", &path, &[], "").await;
    assert!(!low.seen()[1].contains("x-moved-block"));
}

#[tokio::test]
async fn hints_that_lead_nowhere_end_in_503_and_a_new_placement() {
    let (low, high) = (super::fixture::Cell::start("low").await, super::fixture::Cell::start("high").await);
    let (rig, plane) = Rig::with(halves(1, [&[low.address], &[high.address]])).await;
    let path = format!("/api/v1/wallets/{LOW}");
    for _ in 0..3 {
        low.will(elsewhere("x-wallet-cell: cell-1\r\n"));
        high.will(elsewhere("x-wallet-cell: cell-0\r\n"));
    }
    let answer = ask(rig.running.public, "GET", &path, &[], "").await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "wallet_moving"));
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!((low.seen().len(), high.seen().len()), (3, 2), "four hops");

    for hint in ["", "x-wallet-cell: cell-9\r\n"] {
        high.deeds_cleared();
        low.deeds_cleared().will(elsewhere(hint));
        let answer = ask(rig.running.public, "POST", &format!("{path}/deposit"), &[], "{}").await;
        assert_eq!((answer.status, answer.code().as_str()), (503, "wallet_moving"), "{hint}");
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    eventually(async || plane.asked().iter().filter(|line| line.contains("since=1")).count() > 1).await;
}
