//! Requests that must not be served: floods of keys, pages of other sites, forged plans, certificates of others. Each is
//! answered, and nothing of it is done.

use access::http::Http;
use access::tls::MeshFiles;
use local_fleet::secrets::{MONITOR, ROUTER, Secrets};
use serde_json::json;
use topology::CellId;

use super::Size;
use crate::access::support::{Secure, ask, secure as https};
use crate::fleet::wallet_of;

pub async fn all(secure: &Secure, size: Size) {
    tokio::join!(flood_of_keys(secure, size), other_sites(secure), forged_plans(secure), certificates(secure));
    let cells =
        secure.ask(&secure.operator("viewer"), "GET", &format!("{}/v1/cells", secure.control_plane()), "").await;
    assert!(cells.text.contains("\"state\":\"active\""), "nothing was changed: {}", cells.text);
}

/// A service that makes up a key for each deposit into one wallet.
async fn flood_of_keys(secure: &Secure, size: Size) {
    let token = secure.service("deposit");
    let url = format!("{}/api/v1/wallets/{}/deposit", secure.router(), wallet_of("ann"));
    let bearer = format!("Bearer {token}");
    let parts = (0..8).map(async |part| {
        for number in 0..size.keys / 8 {
            let key = format!("flood-{part}-{number}");
            let headers =
                [("content-type", "application/json"), ("authorization", &*bearer), ("idempotency-key", &*key)];
            let answer = secure.ask_with(&headers, "POST", &url, r#"{"amount":0.01}"#).await.expect("an answer");
            assert!(matches!(answer.status, 200 | 429 | 503), "{}: {}", answer.status, answer.text);
        }
    });
    futures_util::future::join_all(parts).await;
}

/// What a page that a customer or an operator visits may make the browser send.
async fn other_sites(secure: &Secure) {
    let operator = format!("Bearer {}", secure.operator("admin"));
    let drain = format!("{}/v1/cells/cell-1/drain", secure.control_plane());
    let withdraw = format!("{}/api/v1/wallets/{}/withdraw", secure.router(), wallet_of("ann"));
    let (because, amount) = (json!({ "actor": "x", "reason": "y" }).to_string(), r#"{"amount":1}"#.to_owned());
    for (url, body) in [(drain, because), (withdraw, amount)] {
        for headers in [
            // No header of its own: no token goes along.
            vec![("content-type", "text/plain"), ("origin", "https://evil.example")],
            vec![("content-type", "text/plain"), ("authorization", &*operator)],
            vec![
                ("content-type", "application/json"),
                ("authorization", &*operator),
                ("origin", "https://evil.example"),
            ],
            vec![("content-type", "application/json"), ("authorization", &*operator), ("sec-fetch-site", "cross-site")],
        ] {
            let answer = secure.ask_with(&headers, "POST", &url, &body).await.expect("an answer");
            let names: Vec<_> = headers.iter().map(|(name, _)| *name).collect();
            assert!((400..500).contains(&answer.status), "{url} {names:?}: {} {}", answer.status, answer.text);
        }
    }
}

/// A plan of one's own, and texts that write to the terminal of an operator that lists operations.
async fn forged_plans(secure: &Secure) {
    let token = secure.operator("operator");
    let url = format!("{}/v1/operations", secure.control_plane());
    let wanted = |more: serde_json::Value| {
        let mut body = json!({ "kind": "evacuate", "cell": "cell-1", "actor": "x", "reason": "y" });
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        body.to_string()
    };
    for (body, code) in [
        (wanted(json!({ "plan": { "placementVersion": 1, "steps": [] } })), "unknown_field"),
        (wanted(json!({ "reason": "\u{1b}[2J" })), "bad_text"),
        (wanted(json!({ "force": true })), "forbidden"),
        (wanted(json!({ "planHash": "0".repeat(64) })), "no_receiver"),
    ] {
        let answer = secure.ask(&token, "POST", &url, &body).await;
        assert_eq!(answer.code(), code, "{body}: {}", answer.text);
    }
}

/// Another deployment's certificates, and ours at the wrong listener.
async fn certificates(secure: &Secure) {
    let elsewhere = std::env::temp_dir().join(format!("wallet-attack-{}", std::process::id()));
    let foreign = Secrets::of(&elsewhere);
    foreign.prepare(&[CellId::parse("cell-1").expect("sound")]).expect("another authority");
    let (own, ports) = (&secure.secrets, &secure.fleet.ports);
    let stolen = MeshFiles { authority: own.authority(), ..foreign.mesh(ROUTER) };
    let (cell, internal) = (https(&ports.instance(1, 0)), https(&ports.router_internal()));
    let path = format!("/internal/v1/wallets/{}/freeze", wallet_of("ann"));
    for (files, name, url, expected) in [
        (&stolen, "cell-1.cell.wallet.internal", &cell, None),
        (&own.mesh(MONITOR), "cell-1.cell.wallet.internal", &cell, Some(403)),
        (&own.mesh(MONITOR), "router.wallet.internal", &internal, None),
        (&own.mesh("cell-1"), "router.wallet.internal", &internal, Some(403)),
    ] {
        let process: Http = secure.process(files, name);
        let answer = ask(&process, &[("content-type", "application/json")], "POST", &format!("{url}{path}"), "").await;
        assert_eq!(answer.ok().map(|answer| answer.status), expected, "{name} {url}");
    }
    let _ = std::fs::remove_dir_all(elsewhere);
}
