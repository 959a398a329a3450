//! Clients that close half of a connection, that vanish, and that read nothing of a stream when its process has to stop.

use std::net::Shutdown;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use topology::WalletId;

use crate::fleet::alone::{Alone, Kind, Start, address};
use crate::fleet::{Call, Client, Fleet, client, until, within};

/// Clients that vanish in the middle of a request.
const VANISH: usize = 200;
/// Followers of one caller at an instance.
const FOLLOWERS: usize = 4;
/// Of a follower that reads nothing: more than sockets hold.
const BATCHES: usize = 40;
const IN_A_BATCH: usize = 500;
/// `ctl up` ends a process by force after 12 s, an orchestrator after 30.
const STOPPED_WITHIN: Duration = Duration::from_secs(11);

fn post(path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

async fn sent(to: &str, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(to).await.expect("it listens");
    stream.write_all(text.as_bytes()).await.expect("it reads");
    stream
}

/// Its client has nothing more to say, and waits.
async fn half_closed(to: &str, text: &str) -> String {
    let stream = sent(to, text).await.into_std().expect("a socket");
    stream.shutdown(Shutdown::Write).expect("half of it is closed");
    let mut answer = String::new();
    TcpStream::from_std(stream).expect("a socket").read_to_string(&mut answer).await.expect("an answer, then the end");
    answer
}

/// A metric of the router without labels.
async fn gauge(fleet: &Fleet, name: &str) -> f64 {
    let answer = client::http().get(format!("{}/metrics", fleet.ports.router_admin())).send().await;
    let page = answer.expect("the router answers").text().await.expect("a page");
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{name} is not on the page"))
}

const FOLLOW: &str = "GET /api/v1/events?cell=cell-1&follow=true HTTP/1.1\r\nhost: localhost\r\n\r\n";

async fn is_followed(to: &str) -> bool {
    let mut stream = sent(to, FOLLOW).await;
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.expect("an answer");
    &head[9..] == b"200"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_connection_gets_its_answer_and_a_lost_one_leaves_nothing() {
    within(90, "the test", async {
        let fleet = Fleet::start(1, 1).await;
        let client = fleet.client();
        let wallet = client.create("ann").await;
        let (router, path) = (address(fleet.ports.router()), format!("/api/v1/wallets/{wallet}/deposit"));
        let deposit = post(&path, r#"{"amount":1}"#);
        let answer = half_closed(&router, &deposit).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        for _ in 0..FOLLOWERS {
            assert!(is_followed(&router).await, "each of them vanishes at once");
        }
        for number in 0..VANISH {
            // Half of a request, a request, and a request of a client that has the connection reset.
            let text = if number % 3 == 0 { &deposit[..deposit.len() - 3] } else { &deposit };
            let stream = sent(&router, text).await;
            if number % 3 == 2 {
                stream.set_zero_linger().expect("a socket");
            }
        }
        until(40, "nothing of them is left", async || {
            gauge(&fleet, "router_client_connections").await <= 2.0
                && gauge(&fleet, "router_requests_in_flight").await == 0.0
        })
        .await;
        until(20, "their places are free", async || is_followed(&router).await).await;
        client.send(&Call::deposit(wallet, "1").key("after")).await.expect(200);
    })
    .await;
}

/// Blocks with more events than sockets take.
async fn filled(client: &Client, wallet: WalletId) {
    let operations = vec![serde_json::json!({ "type": "deposit", "amount": "1.00" }); IN_A_BATCH];
    for number in 0..BATCHES {
        let body = serde_json::json!({ "mode": "atomic", "operations": operations }).to_string();
        let call = Call::post(format!("/api/v1/wallets/{wallet}/transactions:batch"), body);
        client.insist(&call.key(format!("batch-{number}"))).await.expect(200);
    }
}

/// Followers that read nothing.
async fn slow(to: &str, text: &str) -> Vec<TcpStream> {
    let mut open = Vec::new();
    for _ in 0..FOLLOWERS {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4 * 1_024).expect("a socket");
        let mut stream = socket.connect(to.parse().expect("an address")).await.expect("it listens");
        stream.write_all(text.as_bytes()).await.expect("it reads");
        // The first of it says that the stream has begun.
        stream.read_exact(&mut [0; 12]).await.expect("an answer");
        open.push(stream);
    }
    open
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_that_read_nothing_hold_up_no_end() {
    within(120, "the test", async {
        let fleet = Fleet::start(1, 1).await;
        let client = fleet.client();
        let wallet = client.create("ann").await;
        filled(&client, wallet).await;
        let events = async || client.send(&Call::get("/api/v1/events?cell=cell-1")).await.expect(200).text;
        let is_block = |line: &str| serde_json::from_str::<Value>(line).is_ok_and(|line| line["walletId"].is_string());
        until(20, "the blocks are events", async || {
            events().await.lines().filter(|line| is_block(line)).count() > BATCHES
        })
        .await;
        for (kind, text) in [
            (Kind::Router, FOLLOW),
            (Kind::Cell, FOLLOW),
            (Kind::ControlPlane, "GET /page/events HTTP/1.1\r\nhost: localhost\r\n\r\n"),
        ] {
            let mut process = Alone::start(&fleet, kind, Start::default());
            process.until_ready().await;
            let open = slow(&address(process.url()), text).await;
            tokio::time::sleep(Duration::from_millis(500)).await;
            let (code, took) = process.stop().await;
            assert!(code == 0 && took < STOPPED_WITHIN, "{kind:?}: exit code {code} after {took:?}");
            drop(open);
        }
    })
    .await;
}
