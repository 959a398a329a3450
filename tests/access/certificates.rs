//! Certificates between the processes: which process is let in where, and what happens when they
//! are replaced.

use std::time::{Duration, Instant};

use access::limits::{HANDSHAKE_TIMEOUT, PEER_HANDSHAKES_MAX};
use access::tls::MeshFiles;
use local_fleet::secrets::{CONTROL_PLANE, MONITOR, ROUTER, Secrets};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use topology::CellId;

use super::support::{Secure, ask, secure as https};
use crate::fleet::{until, wallet_of};

const NOT_AFTER: &str = "access_certificate_not_after_timestamp_seconds{what=\"internal\"";
/// How long certificates last that are about to end: long beside the time in which a process notices new ones.
const SHORT_LIFE: Duration = Duration::from_secs(20);
/// More than a listener makes handshakes at once.
const SILENT: usize = 400;

/// Connections that say nothing must give way: no caller waits until their time is over.
async fn silent_connections_keep_no_caller_out(secure: &Secure) {
    let ports = secure.fleet.ports;
    let (token, user) = (secure.operator("viewer"), "ann");
    let wallet = format!("{}/api/v1/wallets?userId={user}", secure.router());
    let status = format!("{}/v1/status", secure.control_plane());
    for (url, question, of_peer) in
        [(ports.control_plane(), status, Some(PEER_HANDSHAKES_MAX)), (ports.router(), wallet, None)]
    {
        let mut silent = Vec::new();
        for _ in 0..SILENT {
            silent.push(TcpStream::connect(url.trim_start_matches("http://")).await.expect("it listens"));
        }
        let began = Instant::now();
        let answer = secure.fresh().ask(&token, "GET", &question, "").await;
        assert!(matches!(answer.status, 200 | 404), "{url}: {} {}", answer.status, answer.text);
        assert!(began.elapsed() < HANDSHAKE_TIMEOUT / 2, "{url}: it waited {:?}", began.elapsed());
        // Long before its time is over, the youngest of those ends that one peer may not have.
        if let Some(most) = of_peer {
            let ended = tokio::time::timeout(HANDSHAKE_TIMEOUT / 2, silent[SILENT - most - 1].read_u8()).await;
            assert!(matches!(ended, Ok(Err(_))), "{url}: {ended:?}");
        }
    }
}

#[tokio::test]
async fn each_port_admits_only_certificates_of_its_roles() {
    let secure = Secure::start(2).await;
    let elsewhere = tempdir("foreign");
    let foreign = Secrets::of(&elsewhere);
    foreign.prepare(&[CellId::parse("cell-1").expect("sound")]).expect("another authority");
    let (own, ports) = (&secure.secrets, secure.fleet.ports);
    own.issue("stray", &["stray.wallet.internal"]).expect("issued");
    own.issue("prefix", &["router.wallet.internal.example.org"]).expect("issued");
    // It believes us; the question is whether we believe it.
    let stolen = |name: &str| MeshFiles { authority: own.authority(), ..foreign.mesh(name) };
    let wallet = wallet_of(&secure.fleet.users_in(1, 1).await[0]);
    let cell = https(&ports.instance(1, 0));
    let internal = https(&ports.router_internal());
    let hold = format!("/internal/v1/wallets/{wallet}/hold");
    let receivable = format!("/internal/v1/wallets/{wallet}/receivable");
    let show = format!("/api/v1/wallets/{wallet}");
    let (cell_1, router) = ("cell-1.cell.wallet.internal", "router.wallet.internal");
    // An expected status, or None: the connection is of no use.
    for (who, files, url, path, name, expected) in [
        ("the router", own.mesh(ROUTER), &cell, "/readyz", cell_1, Some(200)),
        ("the router", own.mesh(ROUTER), &cell, &*show, cell_1, Some(404)),
        ("the router", own.mesh(ROUTER), &cell, &*hold, cell_1, Some(403)),
        ("the control plane", own.mesh(CONTROL_PLANE), &cell, &*hold, cell_1, Some(204)),
        ("a monitor", own.mesh(MONITOR), &cell, "/metrics", cell_1, Some(200)),
        ("a monitor", own.mesh(MONITOR), &cell, &*show, cell_1, Some(403)),
        ("another cell", own.mesh("cell-2"), &cell, "/readyz", cell_1, None),
        ("a stranger of ours", own.mesh("stray"), &cell, "/readyz", cell_1, None),
        ("a name that begins alike", own.mesh("prefix"), &cell, "/readyz", cell_1, None),
        ("another deployment's router", stolen(ROUTER), &cell, "/readyz", cell_1, None),
        ("the router, looking for cell-2", own.mesh(ROUTER), &cell, "/readyz", "cell-2.cell.wallet.internal", None),
        ("a cell", own.mesh("cell-1"), &internal, &*receivable, router, Some(404)),
        ("a cell", own.mesh("cell-1"), &internal, &*hold, router, Some(403)),
        ("a monitor", own.mesh(MONITOR), &internal, &*receivable, router, None),
        ("another deployment's cell", stolen("cell-1"), &internal, &*receivable, router, None),
    ] {
        let method = if path == hold { "POST" } else { "GET" };
        let answer = ask(&secure.process(&files, name), &[], method, &format!("{url}{path}"), "").await;
        let text = answer.as_ref().map_or_else(ToString::to_string, |answer| answer.text.clone());
        assert_eq!(answer.ok().map(|answer| answer.status), expected, "{who}: {method} {url}{path}: {text}");
    }
    // A credit comes from the payer's home, and only from cells.
    let payee = wallet_of(&secure.fleet.users_in(2, 1).await[0]);
    let credit = json!({ "transferId": wallet, "fromWalletId": wallet, "toWalletId": payee, "amountMinor": 1, "leftAtMicros": 1, "reference": "",
        "requestId": "r", "actor": "" });
    let credits = format!("/internal/v1/wallets/{payee}/credits");
    for (who, url, name, status) in [
        ("cell-1", &internal, router, 404),
        ("cell-2", &internal, router, 403),
        (CONTROL_PLANE, &internal, router, 403),
        (CONTROL_PLANE, &https(&ports.instance(2, 0)), "cell-2.cell.wallet.internal", 403),
    ] {
        let (process, url) = (secure.process(&own.mesh(who), name), format!("{url}{credits}"));
        let headers = [("content-type", "application/json")];
        let answer = ask(&process, &headers, "POST", &url, &credit.to_string()).await.expect("an answer");
        assert_eq!(answer.status, status, "{who}: {}", answer.text);
    }
    // Without any certificate, and without TLS.
    for (path, status) in [("/livez", 200), ("/readyz", 403), ("/metrics", 403), (&*show, 403)] {
        // As kubelet asks, which has no certificate.
        let answer = ask(&secure.without_certificate(cell_1), &[], "GET", &format!("{cell}{path}"), "")
            .await
            .expect("an answer");
        assert_eq!(answer.status, status, "{path}: {}", answer.text);
    }
    assert!(secure.ask_with(&[], "GET", &format!("{internal}{receivable}"), "").await.is_err());
    for url in [ports.router(), ports.router_internal(), ports.control_plane(), ports.instance(1, 0)] {
        let mut plain = TcpStream::connect(url.trim_start_matches("http://")).await.expect("it listens");
        plain.write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("written");
        let mut answer = Vec::new();
        // It may be reset.
        let _ = plain.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP/"), "{url}: {}", String::from_utf8_lossy(&answer));
    }
    silent_connections_keep_no_caller_out(&secure).await;
    // A handshake that does not get on.
    for url in [ports.router(), ports.control_plane(), ports.instance(1, 0)] {
        let mut slow = TcpStream::connect(url.trim_start_matches("http://")).await.expect("it listens");
        slow.write_all(&[0x16, 0x03, 0x01]).await.expect("written");
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(2 * HANDSHAKE_TIMEOUT, slow.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "{url} waits for ever");
    }
    assert!(secure.router_counted("access_handshakes_failed_total{listener=\"public\"").await >= 2.0);
    assert!(secure.router_counted("access_handshakes_failed_total{listener=\"internal\"").await >= 3.0);
    let monitor = secure.process(&own.mesh(MONITOR), cell_1);
    let page = ask(&monitor, &[], "GET", &format!("{cell}/metrics"), "").await.expect("metrics").text;
    for reason in ["role", "certificate", "not_tls"] {
        assert!(page.contains(&format!("reason=\"{reason}\"")), "{reason}");
    }
    let _ = std::fs::remove_dir_all(elsewhere);
}

#[tokio::test]
async fn certificates_are_replaced_without_a_failed_request() {
    let secure = Secure::start(2).await;
    let (ann, bob) = (wallet_of("ann"), wallet_of("bob"));
    let all = secure.service("wallets:create wallets:read deposit transfer");
    let router = secure.router();
    for user in ["ann", "bob"] {
        let body = json!({ "userId": user }).to_string();
        assert_eq!(secure.ask(&all, "POST", &format!("{router}/api/v1/wallets"), &body).await.status, 201);
    }
    let deposit = json!({ "amount": 1 }).to_string();
    let transfer = json!({ "fromWalletId": ann, "toWalletId": bob, "amount": 1 }).to_string();
    let paths = [
        (format!("{router}/api/v1/wallets/{ann}/deposit"), deposit),
        (format!("{router}/api/v1/wallets/transfer"), transfer),
    ];
    let monitor = secure.process(&secure.secrets.mesh(MONITOR), "cell.wallet.internal");
    let cells = [1, 2].map(|cell| format!("{}/metrics", https(&secure.fleet.ports.instance(cell, 0))));
    let renewed = async || {
        let mut least = f64::MAX;
        for what in ["public", "internal", "mesh_client"] {
            let start = format!("access_reloads_total{{what=\"{what}\",outcome=\"done\"}}");
            least = least.min(secure.router_counted(&start).await);
        }
        for url in &cells {
            let page = ask(&monitor, &[], "GET", url, "").await.expect("metrics").text;
            let line = page.lines().find(|line| line.contains("what=\"cell\"") && line.contains("outcome=\"done\""));
            least = least.min(line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0));
        }
        least
    };
    for round in 1..=3 {
        secure.fleet.ctl(&["local", "renew-certificates"]).await;
        let mut sent = 0;
        until(30, "every process has read its new certificate", async || {
            for (url, body) in &paths {
                // A caller of its own: every request makes a new handshake.
                let answer = secure.fresh().ask(&all, "POST", url, body).await;
                assert!(matches!(answer.status, 200 | 202), "{}: {}", answer.status, answer.text);
                let answer = secure.ask(&all, "POST", url, body).await;
                assert!(matches!(answer.status, 200 | 202), "{}: {}", answer.status, answer.text);
                sent += 2;
            }
            renewed().await >= f64::from(round)
        })
        .await;
        assert!(sent > 0);
    }
    // While their issuer is away, certificates come close to their end: all of them are replaced with half of their time left.
    let cells = [1, 2].map(|cell| CellId::parse(format!("cell-{cell}")).expect("sound"));
    for _ in 0..3 {
        secure.secrets.renew(&cells, SHORT_LIFE).expect("issued");
        let issued = Instant::now();
        while issued.elapsed() < SHORT_LIFE / 2 {
            for (url, body) in &paths {
                for answer in
                    [secure.fresh().ask(&all, "POST", url, body).await, secure.ask(&all, "POST", url, body).await]
                {
                    assert!(matches!(answer.status, 200 | 202), "{}: {}", answer.status, answer.text);
                }
            }
        }
    }
    secure.fleet.ctl(&["local", "renew-certificates"]).await;
    let far = (time::OffsetDateTime::now_utc() + time::Duration::days(300)).unix_timestamp() as f64;
    until(20, "a certificate that lasts was read", async || secure.router_counted(NOT_AFTER).await > far).await;
    // A process that starts afterwards meets only new certificates, and is met with them.
    secure.fleet.kill("cell-1-a").await;
    secure.fleet.until_all_ready(&[]).await;
    // A certificate that is none changes nothing.
    std::fs::write(secure.secrets.certificate("public"), "no certificate").expect("written");
    until(20, "the broken certificate was met", async || {
        secure.router_counted("access_reloads_total{what=\"public\",outcome=\"failed\"}").await >= 1.0
    })
    .await;
    // Nor does one that has ended, or another process's.
    let (now, day) = (time::OffsetDateTime::now_utc(), time::Duration::DAY);
    let ends = secure.router_counted(NOT_AFTER).await;
    for (names, times) in [
        (["router.wallet.internal"], (now - time::Duration::days(2), now - day)),
        (["control-plane.wallet.internal"], (now - day, now + day)),
    ] {
        let failed = "access_reloads_total{what=\"internal\",outcome=\"failed\"}";
        let before = secure.router_counted(failed).await;
        secure.secrets.issue_for(ROUTER, &names, times).expect("issued");
        until(20, "the unusable certificate was met", async || secure.router_counted(failed).await > before + 1.0)
            .await;
        for (url, body) in &paths {
            let answer = secure.fresh().ask(&all, "POST", url, body).await;
            assert_eq!(answer.status, 200, "{names:?}: {}", answer.text);
        }
    }
    assert_eq!(secure.router_counted(NOT_AFTER).await, ends);
}

fn tempdir(name: &str) -> std::path::PathBuf {
    let path = std::env::temp_dir().join(format!("wallet-access-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    path
}
