//! What drills do to a Region, and to the cells that have their home there.

use std::time::Duration;

use anyhow::{Result, bail};
use control_api::client::{Client, Credentials};
use control_api::regions::{LostBlock, ReconciledPage};
use load_generator::operation::Customer;
use local_fleet::fleet::FleetCell;
use local_fleet::layout::ROUTERS;
use local_fleet::regions::Side;
use local_fleet::relay::Line;
use local_fleet::socket::Request;
use local_fleet::supervisor::View;
use store::Chains;
use tokio::time::{Instant, sleep};
use topology::{CellId, WalletId};

use crate::check::Check;
use crate::fleet::DrillFleet;
use crate::table::{LOST_REGION, OTHER_REGION};
use crate::victims::Victims;

/// From the moment that a Region is reached again until the processes that served there have stopped.
const STOPPED_MAX: Duration = Duration::from_secs(5);
/// From the end of a failover until all processes of the other Region are ready.
const SERVING_PATIENCE: Duration = Duration::from_secs(10);
/// Until the tables of all standbys hold what the load began with.
const FOLLOW_PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
const PAGES_MAX: usize = 10_000;
/// Of the command that fails cells over.
const ATTEMPTS_MAX: u32 = 5;

pub struct Regions<'a> {
    pub fleet: &'a DrillFleet,
    pub victims: Victims,
    /// Processes that served in the Region, as they were when it was cut off.
    former: Vec<View>,
    pub named: Vec<LostBlock>,
}

impl<'a> Regions<'a> {
    pub fn new(fleet: &'a DrillFleet, victims: Victims) -> Self {
        Self { fleet, victims, former: vec![], named: vec![] }
    }

    pub async fn lose(&self) -> Result<()> {
        let fleet = &self.fleet.fleet;
        let (mut processes, mut databases) = (vec![ROUTERS[0].to_owned()], vec![]);
        for cell in &fleet.cells {
            for side in fleet.sides().iter().filter(|side| fleet.region_of(cell, **side) == LOST_REGION) {
                processes.extend(fleet.members_of(cell, *side).map(|member| member.name));
                databases.push(format!("{}-db", side.set_of(&cell.id)));
            }
        }
        for name in processes.into_iter().chain(databases.iter().cloned()) {
            self.fleet.order(Request::Kill { name, keep_down: true }).await?;
        }
        databases.iter().try_for_each(|name| self.fleet.remove_database(name))
    }

    pub async fn cut(&mut self) -> Result<()> {
        let served = self.names(Side::Home)?;
        let views = self.fleet.order(Request::Status).await?;
        self.former = views.into_iter().filter(|view| served.contains(&view.name)).collect();
        self.line(Line::Silent).await
    }

    pub async fn mend(&self) -> Result<()> {
        self.line(Line::Whole).await
    }

    async fn line(&self, line: Line) -> Result<()> {
        self.fleet.line(Request::Line { names: vec![LOST_REGION.to_owned()], line }).await
    }

    /// As an operator does it: the command is repeated if it ends with an error.
    pub async fn fail_over(&self) -> Result<()> {
        let mut attempts = 1;
        loop {
            let done = self.fleet.ctl(&["cell", "failover", "--all-of", LOST_REGION, "--to", OTHER_REGION]).await;
            match done {
                Err(error) if attempts < ATTEMPTS_MAX => eprintln!("          again: {error:#}"),
                done => return done,
            }
            attempts += 1;
        }
    }

    /// Until every process that served is gone; another one may have started in its place.
    pub async fn await_former(&self) -> Result<()> {
        let began = Instant::now();
        loop {
            let now = self.fleet.order(Request::Status).await?;
            let is_there = |view: &&View| now.iter().any(|now| now.name == view.name && now.pid == view.pid);
            let Some(left) = self.former.iter().find(is_there) else { return Ok(()) };
            if began.elapsed() > STOPPED_MAX {
                bail!("{} runs on after {} s", left.name, STOPPED_MAX.as_secs());
            }
            sleep(POLL).await;
        }
    }

    pub async fn reconcile(&mut self) -> Result<()> {
        let api = Client::new(&self.fleet.control_plane(), &Credentials::default())?;
        for cell in self.victims.cells() {
            let mut after: Option<WalletId> = None;
            for _ in 0..PAGES_MAX {
                let query: Vec<_> = after.iter().map(|wallet| ("after", wallet.to_string())).collect();
                let page: ReconciledPage = api.get_with(&["v1", "cells", cell.as_str(), "reconcile"], &query).await?;
                self.named.extend(page.lost);
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Names and addresses of the processes of the cells on one side.
    fn served_at(&self, side: Side) -> Result<Vec<(String, String)>> {
        let mut all = Vec::new();
        for cell in self.victims.cells() {
            let cell = self.fleet.cell(cell.as_str())?;
            all.extend(self.fleet.fleet.members_of(cell, side).map(|member| (member.name, member.address)));
        }
        Ok(all)
    }

    pub async fn await_serving(&self) -> Result<()> {
        let began = Instant::now();
        while self.serving(Side::Standby).await? != self.names(Side::Standby)? {
            if began.elapsed() > SERVING_PATIENCE {
                bail!("they do not after {} s", SERVING_PATIENCE.as_secs());
            }
            sleep(POLL).await;
        }
        Ok(())
    }

    fn names(&self, side: Side) -> Result<Vec<String>> {
        Ok(self.served_at(side)?.into_iter().map(|(name, _)| name).collect())
    }

    /// The processes of the cells on one side that are ready.
    async fn serving(&self, side: Side) -> Result<Vec<String>> {
        let http = reqwest::Client::builder().no_proxy().timeout(PROBE_TIMEOUT).build()?;
        let mut serve = Vec::new();
        for (name, address) in self.served_at(side)? {
            let answer = http.get(format!("http://{address}/readyz")).send().await;
            serve.extend(answer.is_ok_and(|answer| answer.status().is_success()).then_some(name));
        }
        Ok(serve)
    }

    /// All processes of the other Region have to serve, and none of the former one may.
    pub async fn in_one_region(&self) -> Result<Check> {
        let (former, now) = (self.serving(Side::Home).await?, self.serving(Side::Standby).await?);
        let is_right = former.is_empty() && now == self.names(Side::Standby)?;
        let found = format!("by {}", [former, now].concat().join(", "));
        Ok(Check::expectation("each cell is served in one Region", is_right, found))
    }
}

/// Waits until the tables of the standbys hold the customers of the load, with their first money.
pub async fn await_standbys(fleet: &DrillFleet, customers: &[Customer]) -> Result<()> {
    let began = Instant::now();
    for cell in &fleet.fleet.cells {
        let store = fleet.store(cell, Side::Standby).await;
        for wallet in customers.iter().filter(|one| one.cell.as_ref() == Some(&cell.id)).filter_map(|one| one.wallet) {
            while store.head(wallet).await?.is_none_or(|head| head.number < 1) {
                if began.elapsed() > FOLLOW_PATIENCE {
                    bail!("the standby of {} lacks {wallet} after {} s", cell.id, FOLLOW_PATIENCE.as_secs());
                }
                sleep(POLL).await;
            }
        }
    }
    Ok(())
}

/// Where a cell's tables are after the drill.
pub fn side_of(cell: &FleetCell, victims: &[CellId], is_lost: bool) -> Side {
    if is_lost && victims.contains(&cell.id) { Side::Standby } else { Side::Home }
}
