//! Zones: routers ask instances of their own zone first; a zone that is left gets nothing, also where the control plane is
//! gone, and is taken again by itself; Route 53 follows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use aws_sdk_route53::Client as Route53;
use aws_sdk_route53::types::{HealthCheckConfig, HealthCheckType};
use store::dynamodb::{Connection, shared_config};
use topology::WalletId;

use crate::fleet::stand_in::{self, StandIn};
use crate::fleet::{Call, Fleet, Shape, until, within};

const ZONES: [&str; 2] = ["z-a", "z-b"];
const PAYERS: usize = 4;

/// The health checks of both zones, in an emulator of Route 53.
struct Dns {
    client: Route53,
    endpoint: String,
    checks: Vec<String>,
    _process: StandIn,
}

impl Dns {
    /// `None` where the emulator cannot be had.
    async fn start() -> Option<Self> {
        let (process, endpoint) = stand_in::aws("Route 53").await?;
        let connection = Connection { endpoint: Some(endpoint.clone()), region: "us-east-1".into(), role: None };
        let client = Route53::new(&shared_config(&connection).await);
        let mut checks = Vec::new();
        for zone in ZONES {
            let config = HealthCheckConfig::builder().r#type(HealthCheckType::Calculated).health_threshold(0);
            let create = client.create_health_check().caller_reference(zone);
            let created = create.health_check_config(config.build().expect("it has a type")).send().await;
            checks.push(created.expect("created").health_check.expect("one").id);
        }
        Some(Self { client, endpoint, checks, _process: process })
    }

    fn environment(&self) -> Vec<(String, String)> {
        let named: Vec<String> = ZONES.iter().zip(&self.checks).map(|(zone, id)| format!("{zone}={id}")).collect();
        vec![
            ("CONTROL_PLANE_ROUTE53_ENDPOINT".to_owned(), self.endpoint.clone()),
            ("CONTROL_PLANE_ROUTE53_HEALTH_CHECKS".to_owned(), named.join(",")),
        ]
    }

    /// Whether Route 53 must not answer with the zone, for each.
    async fn left(&self) -> Vec<bool> {
        let mut all = Vec::new();
        for id in &self.checks {
            let got = self.client.get_health_check().health_check_id(id).send().await.expect("it is there");
            let config = got.health_check.and_then(|check| check.health_check_config).expect("configured");
            all.push(config.inverted.unwrap_or(false));
        }
        all
    }
}

/// Pays into wallets without pause until it has to stop.
struct Payers {
    stop: Arc<AtomicBool>,
    paid: Arc<AtomicU64>,
    tasks: tokio::task::JoinSet<Vec<String>>,
}

impl Payers {
    fn start(fleet: &Fleet, wallets: &[WalletId]) -> Self {
        let (stop, paid) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut tasks = tokio::task::JoinSet::new();
        for wallet in wallets.iter().copied() {
            let (client, stop, paid) = (fleet.client(), Arc::clone(&stop), Arc::clone(&paid));
            tasks.spawn(async move {
                let mut failed = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    match client.try_send(&Call::deposit(wallet, "1")).await {
                        Ok(answer) if answer.status == 200 => drop(paid.fetch_add(1, Ordering::Relaxed)),
                        other => failed.push(format!("{other:?}")),
                    }
                }
                failed
            });
        }
        Self { stop, paid, tasks }
    }

    /// Waits until so many more were paid.
    async fn more(&self, count: u64) {
        let goal = self.paid.load(Ordering::Relaxed) + count;
        until(20, "deposits go on", async || self.paid.load(Ordering::Relaxed) >= goal).await;
    }

    async fn end(self) -> (u64, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let failed = self.tasks.join_all().await.into_iter().flatten().collect();
        (self.paid.load(Ordering::Relaxed), failed)
    }
}

/// Deposits that instances of each zone have answered, all cells together.
async fn answered(fleet: &Fleet) -> [u64; 2] {
    let mut all = [0; 2];
    for cell in 1..=fleet.shape.cells {
        for (instance, sum) in (0..).zip(&mut all) {
            let answer = fleet.instance_client(cell, instance).send(&Call::get("/metrics")).await.expect(200);
            let counted = answer.text.lines().filter(|line| line.starts_with("cell_requests_total{"));
            let deposits = counted.filter(|line| line.contains("/deposit\""));
            *sum += deposits.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum::<u64>();
        }
    }
    all
}

/// Pays a while and says which zones answered meanwhile.
async fn who_answers(fleet: &Fleet, payers: &Payers) -> [bool; 2] {
    // Requests that were on their way when the zones changed are let through.
    payers.more(2 * PAYERS as u64).await;
    let before = answered(fleet).await;
    payers.more(60).await;
    let after = answered(fleet).await;
    [0, 1].map(|zone| after[zone] > before[zone])
}

async fn until_answered_by(fleet: &Fleet, payers: &Payers, expected: [bool; 2], when: &str) {
    until(20, when, async || who_answers(fleet, payers).await == expected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zone_that_is_left_gets_no_request_until_it_is_restored() {
    within(150, "the test", async {
        let dns = Dns::start().await;
        let environment = dns.as_ref().map(Dns::environment).unwrap_or_default();
        let flags = vec!["--router-zone", ZONES[0]];
        let shape = Shape { cells: 2, instances: 2, environment, flags, zones: ZONES.to_vec(), ..Shape::default() };
        let fleet = Fleet::of(shape).await;
        let mut wallets = Vec::new();
        for cell in 1..=2 {
            for user in fleet.users_in(cell, PAYERS / 2).await {
                wallets.push(fleet.client().create(&user).await);
            }
        }
        let payers = Payers::start(&fleet, &wallets);
        until_answered_by(&fleet, &payers, [true, false], "the router's own zone answers").await;

        let zones = fleet.ctl(&["--reason", "power", "zone", "evacuate", ZONES[0], "--for", "10m"]).await;
        assert!(zones[0]["leftUntil"].is_string(), "{zones}");
        until_answered_by(&fleet, &payers, [false, true], "the other zone answers").await;
        if let Some(dns) = &dns {
            until(20, "Route 53 has it", async || dns.left().await == [true, false]).await;
            until(20, "and it is shown", async || fleet.ctl(&["zone", "list"]).await[0]["dns"]["state"] == "left")
                .await;
        }
        // A second zone on top of it leaves no instance to serve.
        let refused = fleet.try_ctl(&["zone", "evacuate", ZONES[1]]).await.expect_err("nothing would stay");
        assert!(refused.contains("zone_capacity") && refused.contains("no ready process"), "{refused}");
        let unknown = fleet.try_ctl(&["zone", "evacuate", "z-c"]).await.expect_err("there is no such zone");
        assert!(unknown.contains("unknown_zone"), "{unknown}");
        let forever = fleet.try_ctl(&["zone", "evacuate", ZONES[0], "--for", "25h"]).await.expect_err("a day at most");
        assert!(forever.contains("bad_seconds"), "{forever}");

        fleet.ctl(&["--reason", "power is back", "zone", "restore", ZONES[0]]).await;
        until_answered_by(&fleet, &payers, [true, false], "the own zone answers again").await;
        if let Some(dns) = &dns {
            until(20, "Route 53 has it", async || dns.left().await == [false, false]).await;
        }
        let changes = fleet.ctl(&["placement", "history"]).await.to_string();
        assert!(changes.contains("zone_evacuated") && changes.contains("power is back"), "{changes}");

        // It ends by itself, at a router that no control plane can reach.
        fleet.ctl(&["zone", "evacuate", ZONES[0], "--for", "6s"]).await;
        fleet.stop("control-plane").await;
        until_answered_by(&fleet, &payers, [false, true], "the other zone answers").await;
        until_answered_by(&fleet, &payers, [true, false], "the time is over").await;
        let (paid, failed) = payers.end().await;
        assert!(failed.is_empty(), "{} of {paid} failed: {:?}", failed.len(), failed.first());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zone_is_left_only_if_what_stays_is_ready_or_by_force() {
    within(90, "the test", async {
        let flags = vec!["--router-zone", ZONES[0]];
        let shape = Shape { cells: 1, instances: 2, flags, zones: ZONES.to_vec(), ..Shape::default() };
        let fleet = Fleet::of(shape).await;
        fleet.kill_for_good("cell-1-b").await;
        let refused = fleet.try_ctl(&["zone", "evacuate", ZONES[0]]).await.expect_err("nothing ready would stay");
        assert!(refused.contains("zone_capacity"), "{refused}");
        let unreasoned = fleet.try_ctl(&["zone", "evacuate", ZONES[0], "--force"]).await;
        assert!(unreasoned.is_err_and(|said| said.contains("reason_needed")));
        fleet.ctl(&["--reason", "it burns", "zone", "evacuate", ZONES[0], "--force"]).await;
        // Nothing else is there, so the zone that was left serves on.
        let user = fleet.users_in(1, 1).await.remove(0);
        let wallet = fleet.client().create(&user).await;
        fleet.client().send(&Call::deposit(wallet, "1")).await.expect(200);
    })
    .await;
}
