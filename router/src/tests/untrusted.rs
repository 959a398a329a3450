//! What clients must not be able to do to a cell, or to the router.

use std::time::{Duration, Instant};

use super::fixture::{HIGH, LOW, Rig};
use super::http_client::{Conversation, ask};

fn head(lines: &str) -> String {
    head_to("deposit", lines)
}

fn head_to(action: &str, lines: &str) -> String {
    let json = "content-type: application/json";
    format!("POST /api/v1/wallets/{LOW}/{action} HTTP/1.1\r\nhost: localhost\r\n{json}\r\n{lines}\r\n")
}

#[tokio::test]
async fn a_body_with_two_lengths_is_refused_and_the_connection_closed() {
    let (rig, low, _) = Rig::with_two_cells().await;
    let smuggled = "0\r\n\r\nGET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
    for lines in [
        "content-length: 5\r\ntransfer-encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nCONTENT-LENGTH: 5\r\n",
        "content-length: 5\r\ncontent-length: 6\r\n",
        "transfer-encoding: gzip, chunked\r\n",
    ] {
        let mut client = Conversation::begin(rig.running.public).await;
        client.send(&format!("{}{smuggled}", head(lines))).await;
        let answer = client.answer().await.expect("an answer");
        let code = if lines.contains("5\r\ncontent-length: 6") { "malformed_request" } else { "ambiguous_length" };
        assert_eq!((answer.status, answer.code().as_str()), (400, code), "{lines}");
        assert!(client.answer().await.is_none(), "closed");
    }
    assert!(low.seen().is_empty());
    let mut honest = Conversation::begin(rig.running.public).await;
    for _ in 0..3 {
        honest.send(&format!("{}x", head("content-length: 1\r\n"))).await;
        assert_eq!(honest.answer().await.expect("an answer").status, 200);
        honest.send(&format!("{}1\r\nx\r\n0\r\n\r\n", head("transfer-encoding: chunked\r\n"))).await;
        assert_eq!(honest.answer().await.expect("an answer").status, 200, "after a length");
    }
}

#[tokio::test]
async fn the_cell_sees_the_peer_and_nothing_the_client_made_up() {
    let (rig, low, _) = Rig::with_two_cells().await;
    let made_up = [
        ("X-Forwarded-For", "6.6.6.6"),
        ("X-Wallet-Cell", "cell-9"),
        ("X-Hops", "9"),
        ("X-Not-Processed", "true"),
        ("Connection", "close, x-secret"),
        ("X-Secret", "1"),
        ("Keep-Alive", "timeout=5"),
        ("TE", "trailers"),
        ("Proxy-Authorization", "x"),
        ("X-Request-Id", "not sound"),
    ];
    let path = format!("/api/v1/wallets/{LOW}");
    let answer = ask(rig.running.public, "GET", &path, &made_up, "").await;
    assert_eq!(answer.status, 200);
    let seen = low.seen()[0].to_ascii_lowercase();
    assert!(seen.contains("x-forwarded-for: 127.0.0.1\r\n"), "{seen}");
    for gone in ["6.6.6.6", "x-wallet-cell", "x-hops", "x-not-", "x-secret", "keep-alive", "te:", "proxy-", "not sound"]
    {
        assert!(!seen.contains(gone), "{gone} in {seen}");
    }
    assert_eq!(answer.header("x-request-id").map(str::len), Some(36));

    let path = format!("/internal/v1/wallets/{LOW}/receivable");
    ask(rig.running.internal, "GET", &path, &[("X-Forwarded-For", "9.9.9.9")], "").await;
    assert!(low.seen()[1].contains("x-forwarded-for: 9.9.9.9\r\n"), "a cell is believed");
}

#[tokio::test]
async fn a_head_too_large_or_of_too_many_lines_is_refused() {
    let (rig, low, _) = Rig::with_two_cells().await;
    let long = format!("x-long: {}\r\n", "x".repeat(crate::limits::HEAD_MAX_BYTES));
    let many: String = (0..crate::limits::HEADERS_MAX).map(|number| format!("x-{number}: 1\r\n")).collect();
    for (lines, code) in [(long, "head_too_large"), (many, "too_many_headers")] {
        let mut client = Conversation::begin(rig.running.public).await;
        client.send(&head(&lines)).await;
        let answer = client.answer().await.expect("an answer");
        assert_eq!((answer.status, answer.code().as_str()), (431, code));
    }
    assert!(low.seen().is_empty());
}

#[tokio::test]
async fn upgrades_are_refused_but_for_the_one_that_is_only_an_offer() {
    let (rig, low, _) = Rig::with_two_cells().await;
    let path = format!("/api/v1/wallets/{LOW}/deposit");
    let upgrade = [("Connection", "Upgrade"), ("Upgrade", "websocket")];
    assert_eq!(ask(rig.running.public, "POST", &path, &upgrade, "{}").await.code(), "upgrade_refused");
    assert_eq!(ask(rig.running.public, "CONNECT", "x:1", &[], "").await.code(), "upgrade_refused");
    assert!(low.seen().is_empty());
    let offer = [("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", "AAMAAABk")];
    let answer = ask(rig.running.public, "POST", &path, &offer, "{}").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "low"));
    assert!(!low.seen()[0].contains("h2c"));
}

#[tokio::test]
async fn slow_heads_and_slow_bodies_end() {
    let (rig, low, _) = Rig::with_two_cells().await;
    let started = Instant::now();
    let (mut slow_head, mut slow_body) =
        (Conversation::begin(rig.running.public).await, Conversation::begin(rig.running.public).await);
    let mut slow_stream = Conversation::begin(rig.running.public).await;
    slow_head.send("GET /api/v1/wal").await;
    slow_body.send(&format!("{}x", head("content-length: 2\r\n"))).await;
    let large = head_to("transactions:batch", "content-length: 100000\r\nx-deadline-ms: 30000\r\n");
    slow_stream.send(&format!("{large}x")).await;
    for client in [&mut slow_body, &mut slow_stream] {
        let answer = client.answer().await.expect("an answer");
        assert_eq!((answer.status, answer.code().as_str()), (408, "body_timeout"));
    }
    let answer = slow_head.answer().await.expect("an answer");
    assert_eq!((answer.status, answer.code().as_str()), (408, "head_timeout"));
    assert!(slow_head.answer().await.is_none(), "closed");
    let took = started.elapsed();
    let expected = crate::limits::HEAD_TIMEOUT - crate::limits::SWEEP_PERIOD;
    assert!((expected..expected + Duration::from_secs(2)).contains(&took), "{took:?}");
    assert!(low.seen().is_empty());
}

#[tokio::test]
async fn what_is_no_http_is_refused_even_behind_a_sound_request() {
    let (rig, low, _) = Rig::with_two_cells().await;
    let sound = format!("GET /api/v1/wallets/{LOW} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    for (bad, status, code) in [
        ("GET / HTTP/9.9\r\n\r\n".to_owned(), 400, "malformed_request"),
        ("GET / HTTP/1.1\r\nx : y\r\n\r\n".to_owned(), 400, "malformed_request"),
        (format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(crate::limits::HEAD_MAX_BYTES)), 431, "head_too_large"),
    ] {
        for before in ["", &sound] {
            let mut client = Conversation::begin(rig.running.public).await;
            client.send(&format!("{before}{bad}")).await;
            if !before.is_empty() {
                assert_eq!(client.answer().await.expect("an answer").body, "low");
            }
            let answer = client.answer().await.expect("an answer");
            assert_eq!((answer.status, answer.code().as_str()), (status, code), "{bad}");
            assert!(client.answer().await.is_none(), "closed");
        }
    }
    // An answer that says what hyper would say is the cell's, and passes.
    low.will(super::fixture::Deed::Answer(400, "", String::new()));
    let answer = ask(rig.running.public, "GET", &format!("/api/v1/wallets/{LOW}"), &[], "").await;
    assert_eq!((answer.status, answer.body.as_str()), (400, ""));
}

/// What the router's own metrics say of `line`.
async fn counted(rig: &Rig, line: &str) -> f64 {
    let page = ask(rig.running.admin, "GET", "/metrics", &[], "").await.body;
    let found = page.lines().find(|text| text.starts_with(line));
    found.and_then(|text| text.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
}

#[tokio::test]
async fn every_way_to_hide_a_request_in_another_is_refused() {
    let (rig, low, _) = Rig::with_two_cells().await;
    let path = format!("/api/v1/wallets/{LOW}/deposit");
    let hidden = "0\r\n\r\nGET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
    for (what, text) in [
        ("identity", head("transfer-encoding: chunked, identity\r\n")),
        ("twice chunked", head("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n")),
        ("no coding", head("transfer-encoding: xchunked\r\n")),
        ("folded", head("x-folded: a\r\n chunked\r\n")),
        ("folded coding", head("transfer-encoding:\r\n chunked\r\n")),
        ("space before the colon", head("content-length : 5\r\n")),
        ("a signed length", head("content-length: +5\r\n")),
        ("a list of lengths", head("content-length: 5, 5\r\n")),
        ("a zero byte", head("x-zero: a\0b\r\n")),
        ("a bare CR", head("x-cr: a\rtransfer-encoding: chunked\r\n")),
        ("an old version", format!("POST {path} HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n")),
    ] {
        let metrics = ["ambiguous_length", "malformed_request"];
        let metrics = metrics.map(|code| (code, format!("router_problems_total{{code=\"{code}\"}}")));
        let before = [counted(&rig, &metrics[0].1).await, counted(&rig, &metrics[1].1).await];
        let mut client = Conversation::begin(rig.running.public).await;
        client.send(&format!("{text}{hidden}")).await;
        let answer = client.answer().await.expect("an answer");
        assert_eq!(answer.status, 400, "{what}: {answer:?}");
        // Which of the two depends on which side notices first: both close the connection.
        let place = metrics.iter().position(|(code, _)| *code == answer.code());
        let place = place.unwrap_or_else(|| panic!("{what}: {answer:?}"));
        assert!(client.answer().await.is_none(), "{what}: closed");
        // Other tests count in the same process.
        assert!(counted(&rig, &metrics[place].1).await >= before[place] + 1.0, "{what}");
    }
    assert!(low.seen().is_empty(), "{:?}", low.seen());
}

#[tokio::test]
async fn lines_that_end_in_a_bare_lf_mean_the_same_to_the_cell() {
    let (rig, low, _) = Rig::with_two_cells().await;
    let mut client = Conversation::begin(rig.running.public).await;
    client.send(&format!("GET /api/v1/wallets/{LOW} HTTP/1.1\nhost: localhost\nx-a: b\n\n")).await;
    match client.answer().await.expect("an answer") {
        answer if answer.status == 400 => assert!(low.seen().is_empty()),
        // Written again with CRLF: nothing of it is left to be understood in two ways.
        answer => {
            assert_eq!(answer.status, 200);
            let seen = low.seen()[0].clone();
            assert!(!seen.replace("\r\n", "").contains('\n'), "{seen:?}");
        }
    }
}

#[tokio::test]
async fn what_only_we_may_say_is_taken_out_and_counted() {
    let (rig, low, _) = Rig::with_two_cells().await;
    let path = format!("/api/v1/wallets/{LOW}");
    for (name, value) in
        [("x-wallet-actor", "operator:me"), ("x-moved-block", "deadbeef"), ("x-forwarded-for", "6.6.6.6")]
    {
        let metric = format!("router_headers_stripped_total{{header=\"{name}\"}}");
        let before = counted(&rig, &metric).await;
        assert_eq!(ask(rig.running.public, "GET", &path, &[(name, value)], "").await.status, 200);
        assert!(counted(&rig, &metric).await >= before + 1.0, "{name}");
        let seen = low.seen().pop().expect("one request").to_ascii_lowercase();
        assert!(!seen.contains(value), "{name}: {seen}");
    }
}

#[tokio::test]
async fn what_the_router_acted_on_cannot_be_hidden_from_the_cell() {
    let (rig, _, high) = Rig::with_two_cells().await;
    let body = format!("{{\"fromWalletId\":\"{LOW}\",\"toWalletId\":\"{HIGH}\",\"amount\":1}}");
    let headers =
        [("Connection", "close, x-wallet-id, Idempotency-Key"), ("X-Wallet-Id", HIGH), ("Idempotency-Key", "k")];
    assert_eq!(ask(rig.running.public, "POST", "/api/v1/wallets/transfer", &headers, &body).await.status, 200);
    let seen = high.seen()[0].to_ascii_lowercase();
    assert!(seen.contains(&format!("x-wallet-id: {HIGH}\r\n")) && seen.contains("idempotency-key: k\r\n"), "{seen}");
}
