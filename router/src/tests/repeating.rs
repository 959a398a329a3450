//! When a request is sent again, when it must not be, and what the client gets then.

use std::time::Instant;

use super::fixture::{Cell, Deed, LOW, Rig, halves, no_listener};
use super::http_client::ask;

const BODY: &str = r#"{"amount":1}"#;

fn deposit() -> String {
    format!("/api/v1/wallets/{LOW}/deposit")
}

fn wallet() -> String {
    format!("/api/v1/wallets/{LOW}")
}

#[tokio::test]
async fn an_instance_that_refuses_connections_is_passed_over() {
    let live = Cell::start("live").await;
    for addresses in [[no_listener().await, live.address], [live.address, no_listener().await]] {
        let (rig, _plane) = Rig::with(halves(1, [&addresses, &addresses])).await;
        for _ in 0..3 {
            assert_eq!(ask(rig.running.public, "POST", &deposit(), &[], BODY).await.body, "live");
        }
    }
}

#[tokio::test]
async fn without_any_instance_the_answer_says_that_nothing_was_done() {
    let gone = no_listener().await;
    let (rig, _plane) = Rig::with(halves(1, [&[gone], &[gone]])).await;
    let answer = ask(rig.running.public, "POST", &deposit(), &[], BODY).await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "upstream_unavailable"));
    assert_eq!(answer.header("retry-after"), Some("1"));
}

#[tokio::test]
async fn a_shed_request_is_answered_so_only_if_all_instances_shed() {
    let (one, two) = (Cell::start("one").await, Cell::start("two").await);
    let both = [one.address, two.address];
    let (rig, _plane) = Rig::with(halves(1, [&both, &both])).await;
    let preferred = ask(rig.running.public, "GET", &wallet(), &[], "").await.body;
    let (first, second) = if preferred == "one" { (&one, &two) } else { (&two, &one) };
    let shed = || Deed::Answer(503, "x-not-processed: true\r\n", "shed".into());
    first.will(shed());
    assert_eq!(ask(rig.running.public, "POST", &deposit(), &[], BODY).await.body, second.name);
    first.will(shed());
    second.will(shed());
    let answer = ask(rig.running.public, "POST", &deposit(), &[], BODY).await;
    assert_eq!((answer.status, answer.body.as_str(), answer.header("x-not-processed")), (503, "shed", None));
    first.will(Deed::Answer(503, "", "done, perhaps".into()));
    assert_eq!(ask(rig.running.public, "POST", &deposit(), &[], BODY).await.body, "done, perhaps");
}

#[tokio::test]
async fn a_post_without_a_key_is_never_sent_twice() {
    let (rig, low, _) = Rig::with_two_cells().await;
    low.will(Deed::Die);
    let answer = ask(rig.running.public, "POST", &deposit(), &[], BODY).await;
    assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_unknown_outcome"));
    assert!(answer.body.contains("may or may not have been applied"));
    assert_eq!(low.seen().len(), 1);
}

#[tokio::test]
async fn reads_and_keyed_posts_are_sent_again() {
    let (rig, low, _) = Rig::with_two_cells().await;
    low.will(Deed::Die);
    assert_eq!(ask(rig.running.public, "GET", &wallet(), &[], "").await.body, "low");
    low.will(Deed::Die);
    let key = [("Idempotency-Key", "k1")];
    assert_eq!(ask(rig.running.public, "POST", &deposit(), &key, BODY).await.body, "low");
    let seen = low.seen();
    assert_eq!(seen.len(), 4);
    assert!(seen[3].contains("idempotency-key: k1\r\n") && seen[3].ends_with(BODY), "{}", seen[3]);
    for _ in 0..crate::limits::ATTEMPTS_MAX {
        low.will(Deed::Die);
    }
    assert_eq!(ask(rig.running.public, "GET", &wallet(), &[], "").await.code(), "upstream_broken");
    assert_eq!(low.seen().len(), 4 + crate::limits::BREAKS_MAX as usize, "bounded");
}

#[tokio::test]
async fn an_instance_that_breaks_off_a_request_is_asked_last() {
    let (one, two) = (Cell::start("one").await, Cell::start("two").await);
    let (rig, _plane) = Rig::with(halves(1, [&[one.address, two.address], &[one.address]])).await;
    for dying in [&one, &two] {
        one.deeds_cleared();
        two.deeds_cleared();
        let before = (one.seen().len(), two.seen().len());
        // More broken connections than a request is sent times.
        for _ in 0..=crate::limits::ATTEMPTS_MAX {
            dying.will(Deed::Die);
        }
        let answer = ask(rig.running.public, "POST", &deposit(), &[("Idempotency-Key", "k")], BODY).await;
        assert_eq!(answer.status, 200);
        let asked = one.seen().len() + two.seen().len() - before.0 - before.1;
        assert!(asked <= 2, "one broke off, the other one answered: {asked}");
    }
}

#[tokio::test]
async fn a_connection_closed_while_idle_costs_no_request() {
    let (rig, low, _) = Rig::with_two_cells().await;
    for _ in 0..20 {
        low.will(Deed::AnswerAndClose);
        // Without a key: only a request that was provably not sent may be repeated.
        let answer = ask(rig.running.public, "POST", &deposit(), &[], BODY).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "low"));
        // What is tested is a connection that is known to be closed; give the kernel the time to know.
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(low.seen().len(), 20);
}

#[tokio::test]
async fn the_deadline_is_passed_on_and_kept() {
    let (rig, low, _) = Rig::with_two_cells().await;
    let remaining = |seen: &str| -> u64 {
        let line = seen.lines().find_map(|line| line.strip_prefix("x-deadline-ms: ")).expect("a deadline");
        line.parse().expect("a number")
    };
    for (asked, expected) in
        [("2000", 1_500..=2_000), ("1", 50..=100), ("999999", 29_000..=30_000), ("x", 9_000..=10_000)]
    {
        ask(rig.running.public, "GET", &wallet(), &[("x-deadline-ms", asked)], "").await;
        let passed = remaining(low.seen().last().expect("one"));
        assert!(expected.contains(&passed), "{asked}: {passed}");
    }
    for (method, path, body) in [("GET", wallet(), ""), ("POST", deposit(), BODY)] {
        low.will(Deed::Hang);
        let started = Instant::now();
        let answer = ask(rig.running.public, method, &path, &[("x-deadline-ms", "300")], body).await;
        let code = if method == "GET" { "deadline_exceeded" } else { "deadline_unknown_outcome" };
        assert_eq!((answer.status, answer.code().as_str()), (504, code));
        assert_eq!(answer.body.contains("may or may not"), method == "POST");
        assert!((300..2_000).contains(&started.elapsed().as_millis()));
    }
}

#[tokio::test]
async fn an_answer_that_stalls_in_its_head_ends_at_the_deadline() {
    let (rig, low, _) = Rig::with_two_cells().await;
    for bytes in ["HTTP/1.1 200 OK\r\ncontent-le", "HTTP/1.1 100 Continue\r\n\r\n"] {
        low.will(Deed::Stall(bytes));
        let answer = ask(rig.running.public, "POST", &deposit(), &[("x-deadline-ms", "300")], BODY).await;
        assert_eq!((answer.status, answer.code().as_str()), (504, "deadline_unknown_outcome"));
    }
}

#[tokio::test]
async fn an_answer_that_is_no_http_leaves_the_outcome_unknown() {
    let (rig, low, _) = Rig::with_two_cells().await;
    for bytes in ["HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", "SSH-2.0\r\n\r\n"] {
        low.will(Deed::Stall(bytes));
        assert_eq!(ask(rig.running.public, "POST", &deposit(), &[], BODY).await.code(), "upstream_unknown_outcome");
    }
    // Bytes that no request asked for are not taken for the answer to the next request.
    low.will(Deed::Answer(200, "", "first".into()));
    low.will(Deed::Stall(
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nbad",
    ));
    assert_eq!(ask(rig.running.public, "POST", &deposit(), &[], BODY).await.body, "first");
    assert_eq!(ask(rig.running.public, "POST", &deposit(), &[], BODY).await.body, "ok");
    assert_eq!(ask(rig.running.public, "POST", &deposit(), &[], BODY).await.body, "low");
}

#[tokio::test]
async fn the_only_instances_refusal_reaches_the_client_unchanged() {
    let (rig, low, _) = Rig::with_two_cells().await;
    let lines = "x-not-processed: true\r\nretry-after: 7\r\ncontent-type: application/problem+json\r\n";
    low.will(Deed::Answer(503, lines, r#"{"code":"overloaded"}"#.into()));
    let answer = ask(rig.running.public, "POST", &deposit(), &[], BODY).await;
    assert_eq!((answer.status, answer.body.as_str()), (503, r#"{"code":"overloaded"}"#));
    assert_eq!((answer.header("retry-after"), answer.header("x-not-processed")), (Some("7"), None));
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert_eq!(low.seen().len(), 1);
}

#[tokio::test]
async fn no_answer_denies_a_send_with_an_unknown_outcome() {
    let key = [("Idempotency-Key", "k1")];
    let later = [
        Deed::Answer(421, "", "{}".into()),
        Deed::Answer(421, "x-wallet-cell: cell-9\r\n", "{}".into()),
        Deed::Answer(503, "x-not-processed: true\r\n", "shed".into()),
    ];
    for deed in later {
        let (rig, low, _) = Rig::with_two_cells().await;
        low.will(Deed::Die).will(deed.clone());
        let answer = ask(rig.running.public, "POST", &deposit(), &key, BODY).await;
        assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_unknown_outcome"), "{deed:?}");
    }
}
