//! Deploys as an operator starts them, and customers meanwhile.

use std::path::PathBuf;
use std::time::Duration;

use control_api::client::{Client, Credentials};
use load_generator::operation::Operation;
use load_generator::outcome::Outcome;
use load_generator::running::Running;
use load_generator::{Load, Settings, placement};
use serde_json::Value;

use crate::fleet::{Fleet, Shape, programs};

/// Longest deploy of these tests.
pub const DEPLOY_MAX_S: u64 = 120;

/// A fleet with canaries that ask often, so that a wave is soon judged.
pub async fn fleet(cells: u16, instances: u16, further: &[(&str, &str)]) -> Fleet {
    let environment = [&[("CONTROL_PLANE_CANARY_PAUSE_MS", "100")], further].concat();
    let environment = environment.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    Fleet::of(Shape { cells, instances, environment, flags: vec!["--canaries"], ..Shape::default() }).await
}

/// The program under test, under the name of whatever version.
pub fn same_build() -> String {
    program("cell")
}

pub fn program(name: &str) -> String {
    programs::program(name).display().to_string()
}

/// A build of a program that scripts/test or a script of its own has left in `target/<name>`; `None`: it was not built.
pub fn other_build(name: &str, program: &str) -> Option<PathBuf> {
    let usual = programs::program(program);
    let profile = usual.parent()?.file_name()?;
    let path = usual.parent()?.parent()?.join(name).join(profile).join(program);
    path.is_file().then_some(path)
}

/// Customers of all cells, at so many requests a second.
pub async fn customers(fleet: &Fleet, rate: u32, mix: &str) -> Running {
    customers_at(fleet, fleet.ports.router(), rate, mix, false).await
}

/// The same, at one of several routers; `retry`: they repeat what failed, under the same key.
pub async fn customers_at(fleet: &Fleet, router: String, rate: u32, mix: &str, retry: bool) -> Running {
    let api = Client::new(&fleet.ports.control_plane(), &Credentials::default()).expect("an address");
    let settings = Settings {
        router,
        credentials: Credentials::default(),
        rate,
        duration: Duration::from_secs(600),
        wallets: 60,
        customers_max: usize::MAX,
        users: vec![],
        customers: None,
        mix: mix.parse().expect("a mix"),
        cross_percent: None,
        seed: 1,
        retry,
        patience: Duration::from_secs(10),
        placement: Some(placement(&api).await.expect("published")),
        namespace: None,
    };
    Load::start(settings).await.expect("the fleet serves")
}

/// `ctl deploy start`, followed to its end, whatever that is; the deploy as it is then.
pub async fn deploy(fleet: &Fleet, version: &str, binary: &str, limits: &[&str]) -> Value {
    deploy_of("cells", fleet, version, binary, limits).await
}

/// The same, of cells or of routers.
pub async fn deploy_of(of: &str, fleet: &Fleet, version: &str, binary: &str, limits: &[&str]) -> Value {
    let words = ["deploy", "start", "--of", of, "--version", version, "--binary", binary, "--yes", "--reason", "new"];
    let said = fleet.ctl_within(DEPLOY_MAX_S, &[&words[..], limits].concat()).await;
    let status = fleet.ctl(&["deploy", "status"]).await;
    assert_eq!(status["version"], version, "{said:?}");
    status
}

/// What all instances say that they run, each as often as there are instances that do.
pub async fn versions(fleet: &Fleet) -> Vec<String> {
    let mut versions = vec![];
    for cell in 1..=fleet.shape.cells {
        for instance in 0..fleet.shape.instances {
            let answer = fleet.instance_client(cell, instance).send(&crate::fleet::Call::get("/version")).await;
            versions.push(answer.expect(200).string("version"));
        }
    }
    versions
}

/// Operations of customers, and to payees, in cells for which it holds.
pub fn in_cells<'a>(
    outcome: &'a Outcome,
    holds: impl Fn(&str) -> bool + 'a,
) -> impl Iterator<Item = &'a Operation> + 'a {
    let cell = |position: usize| outcome.customers[position].cell.as_ref().map_or("", |cell| cell.as_str());
    outcome.operations.iter().filter(move |operation| {
        holds(cell(operation.customer)) && operation.payee.is_none_or(|payee| holds(cell(payee)))
    })
}

/// What customers complain of.
pub fn complaints<'a>(operations: impl Iterator<Item = &'a Operation>) -> Vec<String> {
    operations.filter(|operation| operation.first.is_error()).map(|operation| format!("{operation:?}")).collect()
}

/// The `percent`th of the times that requests took.
pub fn took<'a>(operations: impl Iterator<Item = &'a Operation>, percent: usize) -> Duration {
    let mut micros: Vec<u64> = operations.map(Operation::latency_us).collect();
    micros.sort_unstable();
    let place = (micros.len() * percent).div_ceil(100).clamp(1, micros.len().max(1)) - 1;
    Duration::from_micros(micros.get(place).copied().unwrap_or_default())
}
