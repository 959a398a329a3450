//! An attacker at every listener of a secure fleet, beside a customer that withdraws money all the
//! time: no process takes more memory than is stated, no request of the customer fails, and none
//! waits much longer than before.
//!
//! Small in every test run; `WALLET_ATTACK=full` (scripts/nightly) is the size of a real one, and is judged for time.

mod connections;
mod requests;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::access::support::Secure;
use crate::fleet::{wallet_of, within};

/// What any process of the fleet but a database may have had in RAM at once: twice what a router had at full size when
/// this was written (73 MiB).
const MEMORY_MAX_MIB: u64 = 160;
/// How much slower the customer may be served, by the slowest of a hundred.
const SLOWER_MAX: f64 = 3.0;
/// At the small size the machine runs other tests too: only what hangs is noticed.
const SMALL_SLOWEST: Duration = Duration::from_secs(5);
/// Below this, three times as much is no harm.
const FLOOR: Duration = Duration::from_millis(20);

/// How much of everything.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    pub slow_readers: usize,
    pub slow_senders: usize,
    pub silent: usize,
    pub keys: usize,
    pub withdrawals: usize,
    is_judged: bool,
}

fn size() -> Size {
    match std::env::var("WALLET_ATTACK").as_deref() {
        Ok("full") => Size {
            slow_readers: 400,
            slow_senders: 256,
            silent: 1_200,
            keys: 20_000,
            withdrawals: 2_000,
            is_judged: true,
        },
        _ => Size { slow_readers: 40, slow_senders: 40, silent: 80, keys: 200, withdrawals: 100, is_judged: false },
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attacker_costs_a_customer_neither_time_nor_memory() {
    within(600, "the test", async {
        let size = size();
        let secure = Secure::start(1).await;
        let customer = Customer::new(&secure).await;
        let before = customer.withdraw(size.withdrawals).await;
        let held = connections::open(&secure, size).await;
        let (during, ()) = tokio::join!(customer.withdraw(size.withdrawals), requests::all(&secure, size));
        let memory = peaks(&secure).await;
        eprintln!("{size:?}: p99 {before:?} before, {during:?} during; peaks in MiB {memory:?}");
        drop(held);
        for (process, mebibytes) in &memory {
            assert!(*mebibytes <= MEMORY_MAX_MIB, "{process} had {mebibytes} MiB in RAM");
        }
        if size.is_judged {
            assert!(
                during <= before.max(FLOOR).mul_f64(SLOWER_MAX),
                "the customer waited {during:?}, {before:?} before"
            );
        }
        let after = customer.withdraw(size.withdrawals / 10).await;
        assert!(after <= SMALL_SLOWEST, "{after:?} once it is over");
    })
    .await;
}

struct Customer<'a> {
    secure: &'a Secure,
    token: String,
    url: String,
}

impl<'a> Customer<'a> {
    /// One with money.
    async fn new(secure: &'a Secure) -> Self {
        let (user, service) = ("ann", secure.service("wallets:create deposit"));
        let wallets = format!("{}/api/v1/wallets", secure.router());
        let created = secure.ask(&service, "POST", &wallets, &json!({ "userId": user }).to_string()).await;
        assert_eq!(created.status, 201, "{}", created.text);
        let wallet = format!("{wallets}/{}", wallet_of(user));
        let paid = secure.ask(&service, "POST", &format!("{wallet}/deposit"), r#"{"amount":1000000}"#).await;
        assert_eq!(paid.status, 200, "{}", paid.text);
        Self { secure, token: secure.customer(user), url: format!("{wallet}/withdraw") }
    }

    /// One after the other; how long the slowest of a hundred took.
    async fn withdraw(&self, count: usize) -> Duration {
        let mut took = Vec::with_capacity(count);
        for _ in 0..count {
            let began = Instant::now();
            let answer = self.secure.ask(&self.token, "POST", &self.url, r#"{"amount":0.01}"#).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            took.push(began.elapsed());
        }
        took.sort_unstable();
        let slowest = took[(count * 99 / 100).min(count - 1)];
        assert!(slowest <= SMALL_SLOWEST, "a withdrawal took {slowest:?}");
        slowest
    }
}

/// The most that each process but the databases has had in RAM, in MiB.
async fn peaks(secure: &Secure) -> BTreeMap<String, u64> {
    let views = secure.fleet.ctl(&["local", "status"]).await;
    let views = views.as_array().expect("a list of processes").clone();
    let peak = |view: serde_json::Value| {
        let name = view["name"].as_str().filter(|name| !name.ends_with("-db"))?.to_owned();
        let status = std::fs::read_to_string(format!("/proc/{}/status", view["pid"])).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
        let kibibytes: u64 = line.split_whitespace().next()?.parse().expect("a number");
        Some((name, kibibytes / 1_024))
    };
    let peaks: BTreeMap<_, _> = views.into_iter().filter_map(peak).collect();
    assert_eq!(peaks.len(), 3, "router, control plane and one instance: {peaks:?}");
    peaks
}
