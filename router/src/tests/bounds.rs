//! How much the router takes on at once, for how long, and on how many threads.

use std::time::{Duration, Instant};

use super::fixture::{Deed, LOW, Rig, eventually};
use super::http_client::{Conversation, ask};
use crate::config::Bounds;
use crate::limits::SWEEP_PERIOD;

fn path() -> String {
    format!("/api/v1/wallets/{LOW}")
}

fn request() -> String {
    format!("GET {} HTTP/1.1\r\nhost: localhost\r\n\r\n", path())
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_one_in_use_is_not() {
    let timeout = Duration::from_secs(1);
    let (rig, cell) = Rig::with_one_cell(1, Bounds { keep_alive_timeout: timeout, ..Bounds::default() }).await;
    let (mut idle, mut busy) =
        (Conversation::begin(rig.running.public).await, Conversation::begin(rig.running.public).await);
    idle.send(&request()).await;
    assert_eq!(idle.answer().await.expect("an answer").status, 200);
    let started = Instant::now();
    cell.will(Deed::Hang);
    busy.send(&format!("GET {} HTTP/1.1\r\nhost: localhost\r\nx-deadline-ms: 3000\r\n\r\n", path())).await;
    assert!(idle.answer().await.is_none(), "closed");
    assert!(started.elapsed() + 2 * SWEEP_PERIOD >= timeout, "{:?}", started.elapsed());
    assert_eq!(busy.answer().await.expect("an answer").code(), "deadline_exceeded");
}

#[tokio::test]
async fn what_is_too_much_at_once_is_shed_and_taken_again_later() {
    let (rig, cell) = Rig::with_one_cell(1, Bounds { in_flight_max: 2, ..Bounds::default() }).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        cell.will(Deed::Hang);
        let mut client = Conversation::begin(rig.running.public).await;
        client.send(&format!("GET {} HTTP/1.1\r\nhost: localhost\r\nx-deadline-ms: 1000\r\n\r\n", path())).await;
        held.push(client);
    }
    eventually(async || cell.seen().len() == 2).await;
    let answer = ask(rig.running.public, "POST", &format!("{}/deposit", path()), &[], "{}").await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "overloaded"));
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(cell.seen().len(), 2, "nothing was done");
    for mut client in held {
        assert_eq!(client.answer().await.expect("an answer").status, 504);
    }
    assert_eq!(ask(rig.running.public, "GET", &path(), &[], "").await.status, 200);
}

#[tokio::test]
async fn a_slow_body_holds_no_place_among_the_requests_in_flight() {
    let (rig, cell) = Rig::with_one_cell(1, Bounds { in_flight_max: 1, ..Bounds::default() }).await;
    let mut slow = Conversation::begin(rig.running.public).await;
    let head = format!("POST {}/transactions:batch HTTP/1.1\r\nhost: localhost\r\n", path());
    slow.send(&format!("{head}content-type: application/json\r\ncontent-length: 3\r\n\r\n{{")).await;
    for _ in 0..3 {
        assert_eq!(ask(rig.running.public, "GET", &path(), &[], "").await.status, 200);
    }
    slow.send(" }").await;
    assert_eq!(slow.answer().await.expect("an answer").body, "only");
    assert_eq!(cell.seen().len(), 4);
}

#[tokio::test]
async fn one_peer_gets_its_share_and_its_longest_idle_connection_goes() {
    let (rig, _cell) = Rig::with_one_cell(1, Bounds { peer_connections_max: 2, ..Bounds::default() }).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        // The sweep's clock tells them apart.
        tokio::time::sleep(2 * SWEEP_PERIOD).await;
        let mut client = Conversation::begin(rig.running.public).await;
        client.send(&request()).await;
        assert_eq!(client.answer().await.expect("an answer").status, 200);
        clients.push(client);
    }
    assert!(clients[0].answer().await.is_none(), "closed");
    for client in &mut clients[1..] {
        client.send(&request()).await;
        assert_eq!(client.answer().await.expect("an answer").status, 200);
    }
}

#[tokio::test]
async fn connections_that_say_nothing_do_not_keep_others_out() {
    let (rig, _cell) = Rig::with_one_cell(1, Bounds { connections_max: 4, ..Bounds::default() }).await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(Conversation::begin(rig.running.public).await);
    }
    assert_eq!(ask(rig.running.public, "GET", &path(), &[], "").await.status, 200);
}

#[tokio::test]
async fn a_stopping_router_ends_a_stream_between_two_events() {
    for (media, event) in [("text/event-stream", "id: 1\ndata: {}\n\n"), ("application/x-ndjson", "{}\n")] {
        let (rig, cell) = Rig::with_one_cell(1, Bounds::default()).await;
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {media}\r\ntransfer-encoding: chunked\r\n\r\n");
        let chunk = format!("{:x}\r\n{event}\r\n", event.len());
        cell.will(Deed::Stall(format!("{head}{chunk}").leak()));
        let mut client = Conversation::begin(rig.running.public).await;
        client.send("GET /api/v1/events?cell=cell-0&follow=true HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        client.until(event).await;
        let began = Instant::now();
        rig.running.stop().await.expect("in time");
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        assert!(client.rest().await.ends_with("\r\n0\r\n\r\n"), "the stream is whole");
    }
}

#[tokio::test]
async fn all_threads_take_connections_and_all_of_them_stop() {
    let (rig, cell) = Rig::with_one_cell(3, Bounds::default()).await;
    let mut clients = Vec::new();
    for _ in 0..64 {
        clients.push(Conversation::begin(rig.running.public).await);
    }
    // One after the other: a single thread would use a single connection to the cell for all of them.
    for client in &mut clients {
        client.send(&request()).await;
        assert_eq!(client.answer().await.expect("an answer").body, "only");
    }
    assert_eq!(cell.connections(), 3);
    rig.running.stop().await.expect("nothing is in flight");
    for client in &mut clients {
        assert!(client.answer().await.is_none(), "closed");
    }
}

#[tokio::test]
async fn a_client_that_has_said_its_all_gets_its_answer_and_the_end() {
    let (rig, _cell) = Rig::with_one_cell(1, Bounds::default()).await;
    let mut client = Conversation::begin(rig.running.public).await;
    client.send(&request()).await;
    client.end().await;
    assert_eq!(client.answer().await.expect("an answer").body, "only");
    assert!(client.answer().await.is_none(), "closed");
    let mut silent = Conversation::begin(rig.running.public).await;
    silent.end().await;
    assert!(silent.answer().await.is_none(), "closed");
}

#[tokio::test]
async fn a_request_goes_on_when_its_client_is_gone() {
    let (rig, cell) = Rig::with_one_cell(1, Bounds { in_flight_max: 1, ..Bounds::default() }).await;
    cell.will(Deed::Hang);
    let mut client = Conversation::begin(rig.running.public).await;
    client.send(&request()).await;
    eventually(async || cell.seen().len() == 1).await;
    drop(client);
    let answer = ask(rig.running.public, "GET", &path(), &[], "").await;
    assert_eq!(answer.code(), "overloaded", "the first request is still in flight");
}
