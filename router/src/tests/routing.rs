//! Which request reaches which cell, and what the cell gets to see of it.

use topology::{UserId, WalletId, wire};

use super::fixture::{Cell, Deed, HIGH, LOW, NAMESPACE, Rig};
use super::http_client::{Conversation, ask};

fn users() -> (String, String) {
    let half = |user: &String| {
        let user = UserId::parse(user.as_str()).expect("sound");
        WalletId::for_user(NAMESPACE, &user).bucket().0 < 0x8000
    };
    let names = || (0..100).map(|number| format!("user {number}"));
    (names().find(half).expect("one in two"), names().find(|user| !half(user)).expect("one in two"))
}

#[tokio::test]
async fn path_query_header_and_body_each_lead_to_the_owner() {
    let (rig, _low, _high) = Rig::with_two_cells().await;
    let public = rig.running.public;
    let (low_user, high_user) = users();
    for (wallet, user, cell) in [(LOW, low_user, "low"), (HIGH, high_user, "high")] {
        let by_path = ask(public, "GET", &format!("/api/v1/wallets/{wallet}"), &[], "").await;
        assert_eq!((by_path.status, by_path.body.as_str()), (200, cell));
        let query = format!("/api/v1/wallets?userId={}", user.replace(' ', "%20"));
        assert_eq!(ask(public, "GET", &query, &[], "").await.body, cell);
        let body = format!(r#"{{"userId":"{user}"}}"#);
        assert_eq!(ask(public, "POST", "/api/v1/wallets", &[], &body).await.body, cell);
        let body = format!(r#"{{"fromWalletId":"{wallet}"}}"#);
        assert_eq!(ask(public, "POST", "/api/v1/wallets/transfer", &[], &body).await.body, cell);
        let header = [("X-Wallet-Id", wallet)];
        assert_eq!(ask(public, "POST", "/api/v1/wallets/transfer", &header, "anything").await.body, cell);
        let path = format!("/internal/v1/wallets/{wallet}/credits");
        assert_eq!(ask(rig.running.internal, "POST", &path, &[], "{}").await.body, cell);
    }
}

#[tokio::test]
async fn a_request_arrives_unchanged_and_an_answer_goes_back_so() {
    let (rig, low, _) = Rig::with_two_cells().await;
    let sent = format!(r#"{{ "fromWalletId" : "{LOW}", "amount": 1.50 }}"#);
    low.will(super::fixture::Deed::Answer(202, "location: /x\r\nx-own: 1\r\n", "{}".into()));
    let answer = ask(rig.running.public, "POST", "/api/v1/wallets/transfer", &[("x-request-id", "mine")], &sent).await;
    assert_eq!((answer.status, answer.header("location"), answer.header("x-own")), (202, Some("/x"), Some("1")));
    assert_eq!(answer.header("x-request-id"), Some("mine"));
    let seen = &low.seen()[0];
    assert!(seen.ends_with(&sent) && seen.contains("x-request-id: mine\r\n"), "{seen}");
    assert!(seen.starts_with("POST /api/v1/wallets/transfer HTTP/1.1\r\n"), "{seen}");
}

#[tokio::test]
async fn bodies_of_any_size_pass_both_ways() {
    let (rig, low, _) = Rig::with_two_cells().await;
    let path = format!("/api/v1/wallets/{LOW}/transactions:batch");
    for (size, answered) in [(1, 1), (60_000, 70_000), (wire::BATCH_BODY_MAX_BYTES, 3_000_000)] {
        let body = "x".repeat(size);
        low.will(super::fixture::Deed::Answer(200, "", "y".repeat(answered)));
        let answer = ask(rig.running.public, "POST", &path, &[], &body).await;
        assert_eq!(answer.body.len(), answered);
        assert!(low.seen().last().expect("one").ends_with(&body));
    }
    let mut chunked = Conversation::begin(rig.running.public).await;
    for size in [10, 90_000] {
        let body = "y".repeat(size);
        chunked.send(&format!("{}{size:x}\r\n{body}\r\n0\r\n\r\n", post(&path, CHUNKED))).await;
        assert_eq!(chunked.answer().await.expect("an answer").status, 200);
        assert!(low.seen().last().expect("one").ends_with(&body), "{size}");
    }
}

const CHUNKED: &str = "transfer-encoding: chunked\r\n";

fn post(path: &str, lines: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{lines}\r\n")
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_while_it_is_sent() {
    let (rig, low, high) = Rig::with_two_cells().await;
    let body = "x".repeat(3_000_000);
    let (length, chunk) = (format!("content-length: {}\r\n", body.len()), format!("{:x}\r\n", body.len()));
    let wallet = format!("/api/v1/wallets/{LOW}");
    let paths = ["/api/v1/wallets".into(), "/api/v1/wallets/transfer".into(), format!("{wallet}/deposit")];
    let batches = ["transactions:batch", "transfers:batch"].map(|batch| format!("{wallet}/{batch}"));
    for path in paths.iter().chain(&batches) {
        for (lines, begins) in [(length.as_str(), ""), (CHUNKED, chunk.as_str())] {
            let mut client = Conversation::begin(rig.running.public).await;
            // A client that reads nothing before it has sent all.
            client.send_slowly(&format!("{}{begins}{body}", post(path, lines))).await;
            let answer = client.answer().await.expect("an answer");
            assert_eq!((answer.status, answer.code().as_str()), (413, "body_too_large"), "{path} {lines}");
            assert_eq!(client.rest().await, "", "closed");
        }
        let mut client = Conversation::begin(rig.running.public).await;
        client.send(&post(path, &format!("{length}expect: 100-continue\r\n"))).await;
        assert_eq!(client.answer().await.expect("an answer").status, 413, "not asked to send it");
    }
    assert!(low.seen().is_empty() && high.seen().is_empty());
}

#[tokio::test]
async fn an_answer_that_does_not_wait_for_the_body_reaches_the_client() {
    let (rig, low, _) = Rig::with_two_cells().await;
    let path = format!("/api/v1/wallets/{LOW}/transactions:batch");
    let body = "x".repeat(wire::BATCH_BODY_MAX_BYTES);
    for number in 0..20 {
        low.will_at_once(Deed::Answer(429, "connection: close\r\n", "slow down".into()));
        let answer = ask(rig.running.public, "POST", &path, &[], &body).await;
        assert_eq!((answer.status, answer.body.as_str()), (429, "slow down"), "{number}");
    }
}

#[tokio::test]
async fn a_slow_reader_costs_little_memory_and_ends() {
    let (rig, ..) = Rig::with_two_cells().await;
    let path = "/docs/swagger-ui-bundle.js";
    let mut readers = Vec::new();
    let before = resident_bytes();
    for _ in 0..100 {
        let mut client = Conversation::begin(rig.running.public).await;
        client.send(&format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")).await;
        readers.push(client);
    }
    // Served after all of them, by the same thread.
    assert_eq!(ask(rig.running.public, "GET", "/docs/index.css", &[], "").await.status, 200);
    let each = resident_bytes().saturating_sub(before) / readers.len();
    assert!(each < 256 * 1024, "{each} bytes for each");
    let whole = readers.pop().expect("one of them").rest_of_answer().await;
    assert!(whole > 1_000_000, "it comes whole to a client that reads: {whole}");
}

/// What this process has in memory.
fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process has memory");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
}

#[tokio::test]
async fn what_another_site_caused_is_refused() {
    let (rig, low, high) = Rig::with_two_cells().await;
    let (wallet, deposit) = (format!("/api/v1/wallets/{LOW}"), format!("/api/v1/wallets/{LOW}/deposit"));
    let cases: [Case<'_>; 6] = [
        ("POST", &deposit, &[("Origin", "http://evil.example")], "{}", 403, "cross_site"),
        ("GET", &wallet, &[("Sec-Fetch-Site", "cross-site")], "", 403, "cross_site"),
        ("POST", &deposit, &[("Origin", "null")], "", 403, "cross_site"),
        ("POST", &deposit, &[("Content-Type", "text/plain")], "{}", 415, "unsupported_media_type"),
        ("POST", &deposit, &[("Content-Type", "")], "{}", 415, "unsupported_media_type"),
        (
            "POST",
            "/api/v1/wallets",
            &[("Content-Type", "text/plain")],
            r#"{"userId":"a"}"#,
            415,
            "unsupported_media_type",
        ),
    ];
    for (method, path, headers, body, status, code) in cases {
        let answer = ask(rig.running.public, method, path, headers, body).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{method} {path} {headers:?}");
    }
    let mut rebound = Conversation::begin(rig.running.public).await;
    rebound.send(&format!("GET {wallet} HTTP/1.1\r\nhost: evil.example\r\n\r\n")).await;
    assert_eq!(rebound.answer().await.expect("an answer").code(), "foreign_host");
    let internal = format!("/internal/v1/wallets/{LOW}/credits");
    let answer = ask(rig.running.internal, "POST", &internal, &[("Origin", "http://evil.example")], "{}").await;
    assert_eq!(answer.code(), "cross_site");
    assert!(low.seen().is_empty() && high.seen().is_empty());
    let own = [("Origin", "http://localhost"), ("Sec-Fetch-Site", "same-origin")];
    assert_eq!(ask(rig.running.public, "POST", &deposit, &own, "{}").await.status, 200);
}

#[tokio::test]
async fn one_wallet_meets_in_one_instance_and_wallets_spread_over_all() {
    let (one, two) = (Cell::start("one").await, Cell::start("two").await);
    let both = [one.address, two.address];
    let (rig, _plane) = Rig::with(super::fixture::halves(1, [&both, &both])).await;
    let mut names = std::collections::HashSet::new();
    for number in 0..20 {
        let path = format!("/api/v1/wallets/{number:02x}836b5a-367e-4abc-8347-a2aaf56afd1c");
        let first = ask(rig.running.public, "GET", &path, &[], "").await.body;
        assert_eq!(ask(rig.running.public, "GET", &path, &[], "").await.body, first);
        names.insert(first);
    }
    assert_eq!(names.len(), 2);
}

#[tokio::test]
async fn the_description_is_served_from_the_binary() {
    let (rig, ..) = Rig::with_two_cells().await;
    assert!(ask(rig.running.public, "GET", "/openapi.yaml", &[], "").await.body.starts_with("openapi: 3.1"));
    let page = ask(rig.running.public, "GET", "/docs/", &[], "").await;
    assert!(page.body.contains("/openapi.yaml") && !page.body.contains("https://"), "{}", page.body);
    let mut linked = 0;
    // Pictures are no text, as which this client reads every body.
    let links = page.body.split("\"./").skip(1).filter_map(|rest| Some(rest.split_once('"')?.0));
    for link in links.filter(|link| !link.ends_with(".png")) {
        let file = ask(rig.running.public, "GET", &format!("/docs/{link}"), &[], "").await;
        assert!(file.header("content-type").is_some_and(|kind| kind.starts_with("text/")), "{link}");
        assert!(!file.body.is_empty(), "{link}");
        linked += 1;
    }
    assert!(linked >= 4, "{}", page.body);
    assert_eq!(ask(rig.running.public, "GET", "/docs", &[], "").await.header("location"), Some("/docs/"));
    assert_eq!(ask(rig.running.public, "GET", "/docs/none", &[], "").await.code(), "not_found");
}

/// Method, target, header, body; status and code of the answer.
type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a str, u16, &'a str);

#[tokio::test]
async fn what_cannot_be_routed_is_refused_with_a_reason() {
    let (rig, low, high) = Rig::with_two_cells().await;
    let large = format!(r#"{{"userId":"{}"}}"#, "u".repeat(70_000));
    let from = format!(r#"{{"fromWalletId":"{LOW}"}}"#);
    let wallet = format!("/api/v1/wallets/{LOW}");
    let deposit = format!("/api/v1/wallets/{LOW}/deposit");
    let wallets = "/api/v1/wallets";
    let transfer = "/api/v1/wallets/transfer";
    let other = [("X-Wallet-Id", HIGH)];
    let cases: [Case<'_>; 14] = [
        ("GET", "/api/v1/wallets/x", &[], "", 400, "invalid_wallet_id"),
        ("GET", &wallet, &[("X-Wallet-Id", "x")], "", 400, "invalid_wallet_id"),
        ("GET", &wallet, &other, "", 400, "wallet_header_mismatch"),
        ("POST", wallets, &other, r#"{"userId":"a"}"#, 400, "wallet_header_mismatch"),
        ("GET", wallets, &[], "", 400, "invalid_user_id"),
        ("GET", "/api/v1/wallets?userId=a&userId=b", &[], "", 400, "invalid_user_id"),
        ("POST", wallets, &[], "{}", 400, "missing_field"),
        ("POST", wallets, &[], "{", 400, "malformed_json"),
        ("POST", wallets, &[], &large, 413, "body_too_large"),
        ("POST", transfer, &[], "{}", 400, "missing_field"),
        ("POST", transfer, &[("transfer-encoding", "gzip, chunked")], &from, 400, "ambiguous_length"),
        ("DELETE", &deposit, &[], "", 405, "method_not_allowed"),
        ("GET", "/elsewhere", &[], "", 404, "not_found"),
        ("GET", "/internal/v1/wallets/x/receivable", &[], "", 404, "not_found"),
    ];
    for (method, path, headers, body, status, code) in cases {
        let answer = ask(rig.running.public, method, path, headers, body).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{method} {path}");
    }
    assert_eq!(ask(rig.running.public, "DELETE", &deposit, &[], "").await.header("allow"), Some("POST"));
    assert!(low.seen().is_empty() && high.seen().is_empty());
}
