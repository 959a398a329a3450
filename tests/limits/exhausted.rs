//! What a process does while it may open no file and write none, and that it is as before once it may again: no process
//! ends, and payments go on.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::fleet::alone::{Alone, Kind, Start, address, limit};
use crate::fleet::{Call, Client, Fleet, client, until, within};

const PROCESSES: [&str; 3] = ["router", "cell-1-a", "control-plane"];
/// Connections that come while there is no descriptor for them: a listener's queue has room for them.
const COME: usize = 20;

/// Whether the process says that it lives.
async fn lives(stream: &mut TcpStream) -> bool {
    let asked = stream.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    let mut answer = Vec::new();
    while !answer.ends_with(b"ok\n") {
        match stream.read_u8().await {
            Ok(byte) => answer.push(byte),
            Err(_) => return false,
        }
    }
    asked.is_ok() && answer.starts_with(b"HTTP/1.1 200")
}

async fn without_descriptors(fleet: &Fleet, name: &str, url: String) {
    let (pid, address) = (fleet.pid(name).await, address(url));
    let mut known = TcpStream::connect(&address).await.expect("it listens");
    assert!(lives(&mut known).await, "{name}");
    // No further one: those that it has stay open.
    limit(pid, "--nofile=3:");
    let mut come = Vec::new();
    for _ in 0..COME {
        come.push(TcpStream::connect(&address).await.expect("the kernel takes it"));
    }
    let mut first = TcpStream::connect(&address).await.expect("the kernel takes it");
    let unanswered = timeout(Duration::from_millis(500), lives(&mut first)).await;
    assert!(unanswered.is_err(), "{name} had descriptors left");
    assert!(lives(&mut known).await, "{name} serves the connections that it has");
    limit(pid, "--nofile=4096:");
    for stream in &mut come {
        let lives = timeout(Duration::from_secs(5), lives(stream)).await;
        assert_eq!(lives, Ok(true), "{name} accepts again");
    }
    assert_eq!(fleet.pid(name).await, pid, "{name} did not end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_without_descriptors_accepts_again_later() {
    within(90, "the test", async {
        let fleet = Fleet::start(1, 1).await;
        let (ports, client) = (fleet.ports, fleet.client());
        let wallet = client.create("ann").await;
        for (name, url) in
            PROCESSES.into_iter().zip([ports.router_admin(), ports.instance(1, 0), ports.control_plane()])
        {
            without_descriptors(&fleet, name, url).await;
            client.insist(&Call::deposit(wallet, "1").key(format!("after-{name}"))).await.expect(200);
        }
        assert_eq!(client.balance(wallet).await, "3.00");
    })
    .await;
}

/// The version that a router has.
async fn version(http: &reqwest::Client, admin: &str) -> u64 {
    let answer = http.get(format!("{admin}/v1/placement")).send().await.expect("the router answers");
    let view: serde_json::Value = answer.json().await.expect("JSON");
    view["version"].as_u64().unwrap_or(0)
}

/// Publishes a version, and waits until the fleet's router has it.
async fn published(fleet: &Fleet, weight: &str) -> u64 {
    let http = client::http();
    let before = version(&http, &fleet.ports.router_admin()).await;
    fleet.ctl(&["cell", "set", "cell-1", "--weight", weight]).await;
    until(10, "the router has it", async || version(&http, &fleet.ports.router_admin()).await > before).await;
    version(&http, &fleet.ports.router_admin()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_cannot_write_files_serves_on() {
    within(120, "the test", async {
        let fleet = Fleet::start(1, 1).await;
        let client = fleet.client();
        let wallet = client.create("ann").await;
        let mut pids = Vec::new();
        for name in PROCESSES {
            let pid = fleet.pid(name).await;
            limit(pid, "--fsize=0:");
            pids.push(pid);
        }
        // Now every line of a log, and every placement that is stored, is a write that fails.
        for process in [&["--control-plane"][..], &["--router"], &["--cell", "cell-1"]] {
            fleet.ctl(&[&["log", "set", "debug"], process].concat()).await;
        }
        for weight in ["2", "3"] {
            published(&fleet, weight).await;
            client.send(&Call::deposit(wallet, "1").key(weight)).await.expect(200);
        }
        for (name, pid) in PROCESSES.into_iter().zip(pids) {
            assert_eq!(fleet.pid(name).await, pid, "{name} did not end");
            limit(pid, "--fsize=unlimited:");
        }
        // With room again, what comes is stored again, without a restart, and survives one.
        let newest = published(&fleet, "4").await;
        fleet.stop("control-plane").await;
        fleet.kill("router").await;
        fleet.until_all_ready(&["router"]).await;
        assert_eq!(version(&client::http(), &fleet.ports.router_admin()).await, newest);
        client.insist(&Call::deposit(wallet, "1").key("after")).await.expect(200);
        assert_eq!(client.balance(wallet).await, "3.00");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_starts_on_a_full_disk() {
    within(90, "the test", async {
        let fleet = Fleet::start(1, 1).await;
        let wallet = fleet.client().create("ann").await;
        let newest = published(&fleet, "2").await;
        let is_served = async |router: &Alone| {
            Client::new(client::http(), router.url()).send(&Call::show(wallet)).await.expect(200);
            assert_eq!(version(&client::http(), &router.admin()).await, newest);
        };
        let full = || Start { first: "ulimit -S -f 0", ..Start::default() };
        let mut router = Alone::start(&fleet, Kind::Router, full());
        router.until_ready().await;
        is_served(&router).await;
        assert_eq!(router.stop().await.0, 0);

        // With what another one stored, and no control plane: it waits for its disk, and moves nothing aside.
        let stored = fleet.data().join("copied");
        let copied = std::process::Command::new("cp").arg("-r").arg(fleet.data().join("router")).arg(&stored).status();
        assert!(copied.expect("cp runs").success());
        let nowhere = Some("http://127.0.0.1:9".to_owned());
        let start = Start { data: Some(stored), control_plane: nowhere, ..full() };
        let mut router = Alone::start(&fleet, Kind::Router, start);
        let live = format!("{}/livez", router.admin());
        until(10, "it lives", async || client::http().get(&live).send().await.is_ok()).await;
        limit(router.child.id().cast_signed(), "--fsize=unlimited:");
        router.until_ready().await;
        is_served(&router).await;
    })
    .await;
}
