//! Every process of a secure fleet that has done a bit of everything: what it shows is what `docs/metrics.md` says.

use std::collections::{BTreeMap, BTreeSet};

use access::http::Http;
use local_fleet::secrets::MONITOR;
use telemetry::catalogue::{self, Kind, Metric, Values};

use super::exposition::{Family, Page, read};
use crate::access::support::{Secure, ask, secure};
use crate::fleet::{until, wallet_of, within};

const CELLS: u16 = 2;
/// What cells say of themselves on every metric.
const OF_CELLS: [&str; 2] = ["cell", "instance"];

struct Watched<'a> {
    secure: &'a Secure,
    cell: Http,
    control_plane: Http,
}

impl<'a> Watched<'a> {
    fn new(secure: &'a Secure) -> Self {
        let files = secure.secrets.mesh(MONITOR);
        let process = |name| secure.process(&files, name);
        Self { secure, cell: process("cell.wallet.internal"), control_plane: process("control-plane.wallet.internal") }
    }

    /// Every page: the kind of process, its instance, and what it shows.
    async fn pages(&self) -> Vec<(&'static str, String, Page)> {
        let ports = &self.secure.fleet.ports;
        let plain = Http::plain();
        let mut asked = vec![(catalogue::ROUTER, &plain, ports.router_admin())];
        asked.push((catalogue::CONTROL_PLANE, &self.control_plane, secure(&ports.control_plane())));
        asked.extend((1..=CELLS).map(|cell| (catalogue::CELL, &self.cell, secure(&ports.instance(cell, 0)))));
        let mut pages = Vec::new();
        for (process, http, url) in asked {
            let reply = ask(http, &[], "GET", &format!("{url}/metrics"), "").await.expect("a page");
            assert_eq!(reply.status, 200, "{url}: {}", reply.text);
            pages.push((process, url.clone(), read(&format!("{process} {url}"), &reply.text)));
        }
        pages
    }

    /// What the list says that a kind of process exposes, and none does.
    async fn missing(&self) -> Vec<String> {
        let pages = self.pages().await;
        let shown = |process: &str, name: &str| {
            let mut own = pages.iter().filter(|(kind, _, _)| *kind == process);
            own.any(|(_, _, page)| page.get(name).is_some_and(|family| !family.series.is_empty()))
        };
        let of = |metric: &Metric| {
            let missing = metric.processes.iter().filter(|process| !shown(process, metric.name));
            missing.map(|process| format!("{} of {process}", metric.name)).collect::<Vec<_>>()
        };
        // What only a cell with a second Region shows.
        let is_of_regions = |metric: &&Metric| metric.name == "control_plane_standby_current_timestamp_seconds";
        catalogue::all().iter().filter(|metric| !is_of_regions(metric)).flat_map(of).collect()
    }
}

/// A bit of everything, so that what is counted only when it happens has happened.
async fn live(secure: &Secure) {
    let (router, control_plane) = (secure.router(), secure.control_plane());
    let ann = secure.fleet.users_in(1, 1).await.remove(0);
    let bob = secure.fleet.users_in(2, 1).await.remove(0);
    let token = secure.service("wallets:create wallets:read deposit withdraw transfer");
    let post = async |path: &str, body: String| secure.ask(&token, "POST", &format!("{router}{path}"), &body).await;
    for user in [&ann, &bob] {
        let created = post("/api/v1/wallets", format!(r#"{{"userId":"{user}"}}"#)).await;
        assert_eq!(created.status, 201, "{}", created.text);
    }
    let (from, to) = (wallet_of(&ann), wallet_of(&bob));
    assert_eq!(post(&format!("/api/v1/wallets/{from}/deposit"), r#"{"amount":5}"#.into()).await.status, 200);
    let transfer = format!(r#"{{"fromWalletId":"{from}","toWalletId":"{to}","amount":2}}"#);
    assert_eq!(post("/api/v1/wallets/transfer", transfer).await.status, 200);
    assert_eq!(post(&format!("/api/v1/wallets/{from}/withdraw"), r#"{"amount":99}"#.into()).await.status, 400);
    // Turned away at both doors; a header that only we may write; a connection that is none.
    for url in [format!("{router}/api/v1/wallets/{from}"), format!("{control_plane}/v1/cells")] {
        assert_eq!(secure.ask("nonsense", "GET", &url, "").await.status, 401, "{url}");
    }
    let headers = [("x-wallet-actor", "operator:me"), ("x-forwarded-for", "10.0.0.1"), ("x-moved-block", "00")];
    let url = format!("{router}/api/v1/wallets/{from}");
    assert!(secure.ask_with(&headers, "GET", &url, "").await.is_ok());
    let ports = &secure.fleet.ports;
    for url in [ports.router(), ports.instance(1, 0), ports.instance(2, 0), ports.control_plane()] {
        assert!(ask(&Http::plain(), &[], "GET", &format!("{url}/livez"), "").await.is_err(), "{url}");
    }
    secure.fleet.ctl(&["migrate", "--user", &bob, "--to", "cell-1", "--yes"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_metric_is_listed_and_every_listed_one_is_exposed() {
    within(170, "the test", async {
        let second = ["CELL_INTEGRITY_SECONDS", "CELL_CHECKPOINT_SECONDS", "CONTROL_PLANE_WITNESS_SECONDS"];
        let second = second.into_iter().chain(["CONTROL_PLANE_CONSERVATION_SECONDS"]);
        let mut environment: Vec<_> = second.map(|name| (name.to_owned(), "1".to_owned())).collect();
        environment.push(("CTL_CANARIES".to_owned(), "true".to_owned()));
        let secure = Secure::start_with(CELLS, environment).await;
        live(&secure).await;
        let watched = Watched::new(&secure);
        let mut missing = Vec::new();
        until(60, "everything in the list is exposed", async || {
            let now = watched.missing().await;
            if now != missing {
                eprintln!("not exposed yet: {now:?}");
            }
            missing = now;
            missing.is_empty()
        })
        .await;
        let mut values: BTreeMap<(&str, String, String), BTreeSet<String>> = BTreeMap::new();
        let pages = watched.pages().await;
        let list = catalogue::all();
        for (process, url, page) in &pages {
            for (name, family) in page {
                let metric = list.iter().find(|metric| metric.name == name && metric.processes.contains(process));
                let metric = metric.unwrap_or_else(|| panic!("{name} of {process} is not in docs/metrics.md"));
                check(&format!("{name} of {url}"), process, metric, family);
                for (label, value) in family.series.iter().flat_map(|(labels, _)| labels) {
                    values.entry((process, name.clone(), label.clone())).or_default().insert(value.clone());
                }
            }
        }
        let series: usize = pages.iter().flat_map(|(_, _, page)| page.values()).map(|family| family.series.len()).sum();
        eprintln!("{} metrics in the list, {series} series of {} processes", list.len(), pages.len());
        // Of all processes together: a label that each of them keeps short may still grow with their number.
        for ((process, name, label), values) in values {
            let of_cells = process == catalogue::CELL && OF_CELLS.contains(&label.as_str());
            let most = if of_cells { usize::from(CELLS) } else { bound(&list, &name, &label) };
            assert!(values.len() <= most, "{name}: {label} has {} values: {values:?}", values.len());
        }
    })
    .await;
}

fn bound(list: &[Metric], name: &str, label: &str) -> usize {
    let metric = list.iter().find(|metric| metric.name == name).expect("it was looked up before");
    let label = metric.labels.iter().find(|known| known.name == label).expect("it was checked before");
    match &label.values {
        Values::Closed(values) => values.len(),
        Values::AtMost(most) => *most,
    }
}

fn check(who: &str, process: &str, metric: &Metric, family: &Family) {
    let kind = match metric.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    assert_eq!(family.kind, kind, "{who}");
    assert_eq!(family.help, metric.meaning, "{who}");
    for (labels, _) in &family.series {
        for (name, value) in labels {
            if process == catalogue::CELL && OF_CELLS.contains(&name.as_str()) {
                continue;
            }
            let label = metric.labels.iter().find(|label| label.name == name);
            let label = label.unwrap_or_else(|| panic!("{who}: the label {name} is not in docs/metrics.md"));
            if let Values::Closed(values) = &label.values {
                assert!(values.contains(&value.as_str()), "{who}: {name}={value:?} is not in docs/metrics.md");
            }
            assert!(value.parse::<uuid::Uuid>().is_err(), "{who}: {name}={value:?} is an id");
        }
    }
}
