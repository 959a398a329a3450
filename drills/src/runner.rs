//! Runs one drill: a fleet of its own, steady load, the event, healing, settling, and the checks.
//!
//! Whatever a step comes to, the fleet is healed, the books are read, and the fleet is stopped.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use control_api::client::{Client, Credentials};
use load_generator::outcome::Outcome;
use load_generator::{Load, Settings, placement, running};
use local_fleet::regions::Side;
use serde::Serialize;
use tokio::time::{Instant, sleep, sleep_until};

use crate::books::branches::branches;
use crate::books::{Audit, Tables, audit, open_transfers};
use crate::check::Check;
use crate::evacuation::EvacuationReport;
use crate::fleet::{DrillFleet, NAMESPACE, Shape};
use crate::losses::{self, Found, LostOperation};
use crate::regions::{Regions, await_standbys, side_of};
use crate::steps::Executor;
use crate::table::{Drill, LOST_REGION, Network, Step};
use crate::verdict::{AFTER, BEFORE, DURING, always, judge};
use crate::victims::Victims;

/// Of the load, before anything is measured.
const WARM_UP: Duration = Duration::from_secs(1);
/// A customer's patience with one attempt: short, so that an event of seconds shows.
const PATIENCE: Duration = Duration::from_secs(3);
const MIX: &str = "creates:2,deposits:38,withdrawals:20,transfers:20,reads:20";
const CROSS_PERCENT: u8 = 50;
/// From the end of the load until no transfer is in flight.
const SETTLE_PATIENCE: Duration = Duration::from_secs(20);
const SETTLE_POLL: Duration = Duration::from_millis(250);
/// The load goes on while a step takes its time, but not for ever.
const OVERTIME_MAX: Duration = Duration::from_secs(180);

#[derive(Debug, Clone, Copy, Serialize)]
pub struct Size {
    pub rate: u32,
    /// Of the load, warm-up and all phases.
    pub duration_ms: u64,
    pub wallets: usize,
    pub cells: u16,
    pub instances: u16,
    pub seed: u64,
}

/// One thing done, when, and how long it took.
#[derive(Debug, Clone, Serialize)]
pub struct StepTaken {
    pub at_us: u64,
    pub took_ms: u64,
    pub what: String,
}

pub struct Played {
    pub outcome: Outcome,
    pub victims: Victims,
    pub steps: Vec<StepTaken>,
    pub operation: Option<EvacuationReport>,
    pub settled_ms: Option<u64>,
    pub audit: Option<Audit>,
    pub lost: Vec<LostOperation>,
    pub checks: Vec<Check>,
}

pub async fn run(drill: &Drill, size: Size, port: u16, data: &Path, keep: bool) -> Result<Played> {
    let shape = Shape { port, cells: size.cells, instances: size.instances, network: drill.network };
    eprintln!("starting a fleet of {} cells with {} instances each, port {port}", size.cells, size.instances);
    let fleet = DrillFleet::start(data, shape, keep).await?;
    let played = play(drill, size, &fleet).await;
    fleet.stop().await?;
    played
}

async fn play(drill: &Drill, size: Size, fleet: &DrillFleet) -> Result<Played> {
    let placement = placement(&Client::new(&fleet.control_plane(), &Credentials::default())?).await?;
    let duration = Duration::from_millis(size.duration_ms);
    let settings = Settings {
        router: fleet.router(),
        credentials: Credentials::default(),
        rate: size.rate,
        duration: duration + OVERTIME_MAX,
        wallets: size.wallets,
        customers_max: usize::MAX,
        users: vec![],
        customers: None,
        mix: MIX.parse().map_err(anyhow::Error::msg)?,
        cross_percent: Some(CROSS_PERCENT),
        seed: size.seed,
        retry: false,
        patience: PATIENCE,
        placement: Some(placement.clone()),
        namespace: Some(NAMESPACE),
    };
    let load = Load::start(settings.clone()).await?;
    eprintln!("load: {} requests a second, {} customers", size.rate, size.wallets);
    let has_regions = drill.network == Network::Regions;
    if has_regions {
        await_standbys(fleet, &load.customers).await?;
    }
    // Clients in the Region that is cut off, which are those of the other load in another place.
    let mut inside = None;
    if drill.begin.contains(&Step::CutRegion) {
        let customers = Some(load.customers.clone());
        inside = Some(Load::start(Settings { router: fleet.router_of(LOST_REGION), customers, ..settings }).await?);
    }
    let victims = Victims::of(drill, &fleet.fleet);
    let executor = Executor::new(fleet, &placement, victims.clone());
    let mut stage = Stage { load, executor, steps: vec![], checks: vec![] };
    stage.perform(drill, duration).await;
    let Stage { load, executor, steps, mut checks } = stage;
    let (operation, regions) = (executor.done, executor.regions);
    let outcome = load.finish().await?;
    let inside = match inside {
        Some(load) => Some(load.finish().await?),
        None => None,
    };
    let outcomes: Vec<&Outcome> = std::iter::once(&outcome).chain(&inside).collect();
    outcomes.iter().for_each(|outcome| checks.extend(always(outcome)));

    let mut tables = Vec::new();
    for cell in &fleet.fleet.cells {
        let side = side_of(cell, victims.cells(), has_regions);
        tables.push(Tables { cell: cell.id.clone(), store: fleet.store(cell, side).await });
    }
    let settled_ms = settle(&tables, &mut checks).await;
    eprintln!("reading the books");
    let audit = match audit(&tables, &outcomes, has_regions.then_some(&victims)).await {
        Ok(audit) => Some(audit),
        Err(error) => {
            checks.push(Check::books("the books can be read", false, format!("{error:#}")));
            None
        }
    };
    checks.extend(drill.expectations.iter().map(|one| judge(*one, &victims, &outcome, audit.as_ref())));
    checks.extend(audit.iter().flat_map(|audit| audit.checks.clone()));
    if let Some(audit) = audit.as_ref().filter(|_| has_regions) {
        checks.extend([losses::served(&victims, &outcome, &steps), losses::recent(&outcome, audit, &steps)]);
        checks.extend(after_failover(&regions, &tables, &outcomes, audit, inside.is_some()).await?);
    }
    let lost = audit.as_ref().map(|audit| audit.lost.clone()).unwrap_or_default();
    Ok(Played { outcome, victims, steps, operation, settled_ms, audit, lost, checks })
}

/// Which Region serves, and what the other one holds beside that, if it is there.
async fn after_failover(
    regions: &Regions<'_>,
    tables: &[Tables],
    outcomes: &[&Outcome],
    audit: &Audit,
    is_there: bool,
) -> Result<Vec<Check>> {
    let mut checks = vec![regions.in_one_region().await?];
    if is_there {
        let mut found = Found { named: regions.named.clone(), branches: vec![] };
        for home in tables.iter().filter(|tables| regions.victims.have(&tables.cell)) {
            let cell = regions.fleet.cell(home.cell.as_str())?;
            let former = Tables { cell: home.cell.clone(), store: regions.fleet.store(cell, Side::Home).await };
            found.branches.extend(branches(&former, home).await?);
        }
        checks.extend(losses::reconciled(outcomes, audit, &found));
    }
    Ok(checks)
}

/// A drill under way.
struct Stage<'a> {
    load: running::Running,
    executor: Executor<'a>,
    steps: Vec<StepTaken>,
    checks: Vec<Check>,
}

impl Stage<'_> {
    /// Warm-up; a quarter before, a half during, a quarter after the event. Steps that take longer put off what
    /// follows; no phase is cut short by it.
    async fn perform(&mut self, drill: &Drill, duration: Duration) {
        let quarter = duration.saturating_sub(WARM_UP) / 4;
        sleep(WARM_UP).await;
        self.load.mark(BEFORE);
        sleep(quarter).await;
        self.load.mark(DURING);
        let middle = Instant::now() + quarter;
        self.carry_out(drill.begin).await;
        sleep_until(middle).await;
        let end = Instant::now() + quarter;
        self.carry_out(drill.middle).await;
        sleep_until(end).await;
        self.carry_out(drill.heal).await;
        self.load.mark(AFTER);
        sleep(quarter).await;
    }

    /// A step that fails is a failed check; what follows is done all the same.
    async fn carry_out(&mut self, steps: &[Step]) {
        for step in steps {
            let began = self.load.elapsed();
            eprintln!("{:6.2} s  {}", began.as_secs_f64(), step.description());
            let done = self.executor.carry_out(*step).await;
            let took = self.load.elapsed().saturating_sub(began);
            let at_us = u64::try_from(began.as_micros()).unwrap_or(u64::MAX);
            let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            self.steps.push(StepTaken { at_us, took_ms, what: step.description() });
            if let Err(error) = done {
                eprintln!("          {error:#}");
                self.checks.push(Check::drill(&step.description(), false, format!("{error:#}")));
            }
        }
    }
}

/// Waits until no transfer is in flight, twice in a row; how long that took.
async fn settle(tables: &[Tables], checks: &mut Vec<Check>) -> Option<u64> {
    let began = Instant::now();
    let mut still = 0;
    let mut last = String::new();
    while began.elapsed() < SETTLE_PATIENCE {
        match open_transfers(tables).await {
            Ok(0) => still += 1,
            Ok(open) => (still, last) = (0, format!("{open} transfers are in flight")),
            Err(error) => (still, last) = (0, format!("{error:#}")),
        }
        if still == 2 {
            let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            checks.push(Check::drill("everything settled", true, format!("{took_ms} ms after the load's end")));
            return Some(took_ms);
        }
        sleep(SETTLE_POLL).await;
    }
    let patience = SETTLE_PATIENCE.as_secs();
    checks.push(Check::drill("everything settled", false, format!("{last} {patience} s after the load's end")));
    None
}
