//! What slow, greedy and foreign callers cannot do to the others: against one cell, past the router, which would hold most
//! of it back.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use topology::WalletId;

use crate::fleet::{Call, Client, Fleet, Shape, until, within};

/// More than a cell has places for requests that move money, and for bodies of batches.
const SLOW_SENDERS: usize = 300;
/// Followers that one caller may have at an instance.
const FOLLOWERS_OF_EACH: usize = 4;
/// A cell's notice to routers, and room: its patience with what does not end is seven seconds longer.
const STOPPED_WITHIN: Duration = Duration::from_secs(4);

fn address(url: &str) -> SocketAddr {
    url.strip_prefix("http://").and_then(|rest| rest.parse().ok()).expect("host:port")
}

/// A connection on which these bytes were sent.
async fn sent(address: SocketAddr, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream.write_all(text.as_bytes()).await.expect("it reads");
    stream
}

/// The status of the answer on a connection.
async fn status(stream: &mut TcpStream) -> String {
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.expect("an answer");
    String::from_utf8_lossy(&head[9..]).into_owned()
}

async fn slow_senders_keep_no_withdrawal_out(cell: SocketAddr, client: &Client, wallet: WalletId) {
    let mut slow = Vec::new();
    for path in ["deposit", "transactions:batch"] {
        let head = format!("POST /api/v1/wallets/{wallet}/{path} HTTP/1.1\r\nhost: localhost\r\n");
        let begun = format!("{head}content-type: application/json\r\ncontent-length: 1000\r\n\r\n{{");
        for _ in 0..SLOW_SENDERS {
            slow.push(sent(cell, &begun).await);
        }
    }
    let last = slow.last_mut().expect("many");
    let status = timeout(Duration::from_secs(5), status(last)).await;
    assert_eq!(status.as_deref(), Ok("503"), "so many large bodies are not read at once");
    for number in 0..20 {
        client.send(&Call::withdraw(wallet, "0.01").key(format!("slow-{number}"))).await.expect(200);
    }
}

fn follow(caller: &str) -> String {
    let line = "GET /api/v1/events?cell=cell-1&follow=true HTTP/1.1\r\nhost: localhost\r\n";
    format!("{line}x-forwarded-for: {caller}\r\n\r\n")
}

async fn one_caller_leaves_followers_to_others(cell: SocketAddr) {
    let mut open = Vec::new();
    for _ in 0..FOLLOWERS_OF_EACH {
        let mut stream = sent(cell, &follow("10.0.0.1")).await;
        assert_eq!(status(&mut stream).await, "200");
        open.push(stream);
    }
    assert_eq!(status(&mut sent(cell, &follow("10.0.0.1")).await).await, "503", "its share is taken");
    assert_eq!(status(&mut sent(cell, &follow("10.0.0.2")).await).await, "200", "another caller's is not");
}

/// The cursor of the last answer, and how many blocks it had.
async fn events(client: &Client, last: Option<&str>) -> (String, usize) {
    let mut call = Call::get("/api/v1/events?cell=cell-1").header("accept", "text/event-stream");
    if let Some(last) = last {
        call = call.header("last-event-id", last);
    }
    let text = client.send(&call).await.expect(200).text;
    let cursor = text.lines().rev().find_map(|line| line.strip_prefix("id: ")).expect("a cursor").to_owned();
    (cursor, text.matches("event: block").count())
}

async fn a_stream_goes_on_after_its_last_event(client: &Client) {
    until(20, "blocks are committed to", async || events(client, None).await.1 > 0).await;
    let (cursor, first) = events(client, None).await;
    let (_, again) = events(client, Some(&cursor)).await;
    assert!(again < first, "{again} of {first} blocks came again");
    let wrong = Call::get("/api/v1/events?cell=cell-1").header("last-event-id", "nonsense");
    assert_eq!(client.send(&wrong).await.expect(400).code(), "invalid_cursor");
}

async fn no_other_site_gets_in(fleet: &Fleet, wallet: WalletId) {
    let (cell, plane) =
        (fleet.instance_client(1, 0), Client::new(crate::fleet::client::http(), fleet.ports.control_plane()));
    let freeze = Call::post(format!("/internal/v1/wallets/{wallet}/freeze"), "");
    let drain = Call::post("/v1/cells/cell-1/drain", r#"{"actor":"eve","reason":"because"}"#);
    for (client, call) in [(&cell, freeze), (&plane, drain)] {
        let foreign = call.clone().header("origin", "http://evil.example");
        assert!(client.send(&foreign).await.expect(403).text.contains("cross_site"), "{call:?}");
        let foreign = call.clone().header("sec-fetch-site", "cross-site");
        assert!(client.send(&foreign).await.expect(403).text.contains("cross_site"), "{call:?}");
        let rebound = call.clone().header("host", "evil.example");
        assert!(client.send(&rebound).await.expect(403).text.contains("foreign_host"), "{call:?}");
    }
    let plain = Call::post("/v1/cells/cell-1/drain", r#"{"actor":"eve","reason":"because"}"#);
    let plain = plain.header("content-type", "text/plain");
    assert!(plane.send(&plain).await.expect(415).text.contains("unsupported_media_type"));
    let untyped = Call::deposit(wallet, "1").without("content-type");
    assert_eq!(cell.send(&untyped).await.expect(415).code(), "unsupported_media_type");
}

async fn a_cell_that_stops_ends_a_stream_between_two_events(fleet: &Fleet, cell: SocketAddr) {
    let mut stream = sent(cell, &follow("10.0.0.3")).await;
    assert_eq!(status(&mut stream).await, "200");
    let began = Instant::now();
    fleet.stop("cell-1-a").await;
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.expect("the end, and no reset");
    assert!(rest.ends_with(b"\r\n0\r\n\r\n"), "{}", String::from_utf8_lossy(&rest));
    assert!(began.elapsed() < STOPPED_WITHIN, "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_greedy_and_foreign_callers_harm_nobody_else() {
    within(60, "the test", async {
        let every_second = vec![("CELL_CHECKPOINT_SECONDS".to_owned(), "1".to_owned())];
        let fleet = Fleet::of(Shape { cells: 1, environment: every_second, ..Shape::default() }).await;
        let (client, cell) = (fleet.client(), address(&fleet.ports.instance(1, 0)));
        let wallet = client.create("customer").await;
        client.send(&Call::deposit(wallet, "100").key("first")).await.expect(200);
        slow_senders_keep_no_withdrawal_out(cell, &client, wallet).await;
        one_caller_leaves_followers_to_others(cell).await;
        a_stream_goes_on_after_its_last_event(&client).await;
        no_other_site_gets_in(&fleet, wallet).await;
        a_cell_that_stops_ends_a_stream_between_two_events(&fleet, cell).await;
    })
    .await;
}
