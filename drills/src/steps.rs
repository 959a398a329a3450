//! Carries out what a drill does to its fleet.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use local_fleet::layout::{CONTROL_PLANE, CONTROL_PLANE_DB};
use local_fleet::regions::Side;
use local_fleet::relay::Line;
use local_fleet::socket::Request;
use serde_json::{Value, json};
use store::dynamodb::{TABLES, create_tables};
use tokio::task::JoinSet;
use topology::Placement;

use crate::evacuation::{EvacuationReport, evacuate, migrate};
use crate::fleet::DrillFleet;
use crate::regions::Regions;
use crate::table::{REFUGE, Step, VICTIM};
use crate::victims::Victims;

const FAULTS_TIMEOUT: Duration = Duration::from_secs(5);
/// So that a run's lost answers are the same as those of the run before.
const FAULTS_SEED: u64 = 1;

/// What carries out the steps of a drill, and the operation it has begun.
pub struct Executor<'a> {
    fleet: &'a DrillFleet,
    placement: &'a Placement,
    operation: JoinSet<Result<EvacuationReport>>,
    pub done: Option<EvacuationReport>,
    pub regions: Regions<'a>,
}

impl<'a> Executor<'a> {
    pub fn new(fleet: &'a DrillFleet, placement: &'a Placement, victims: Victims) -> Self {
        Self { fleet, placement, operation: JoinSet::new(), done: None, regions: Regions::new(fleet, victims) }
    }

    pub async fn carry_out(&mut self, step: Step) -> Result<()> {
        let fleet = self.fleet;
        match step {
            Step::KillInstance => self.kill(fleet.instances(VICTIM)?.into_iter().take(1)).await,
            Step::KillCell => self.kill(fleet.instances(VICTIM)?.into_iter()).await,
            Step::StartCell => self.start(fleet.instances(VICTIM)?).await,
            Step::StopControlPlane => {
                for name in [CONTROL_PLANE, CONTROL_PLANE_DB] {
                    fleet.order(Request::Stop { name: name.into() }).await?;
                }
                Ok(())
            }
            Step::StartControlPlane => self.start(vec![CONTROL_PLANE_DB.into(), CONTROL_PLANE.into()]).await,
            Step::SlowDatabase { latency_ms } => self.faults(Some(json!({ "latency_ms": latency_ms }))).await,
            Step::LoseAnswers { percent } => {
                let operations = ["PutItem", "TransactWriteItems"];
                let plan = json!({ "lost_answer_percent": percent, "operations": operations, "seed": FAULTS_SEED });
                self.faults(Some(plan)).await
            }
            Step::HealDatabase => self.faults(None).await,
            Step::SilenceNetwork => self.line(Line::Silent).await,
            Step::RefuseNetwork => self.line(Line::Refusing).await,
            Step::MendNetwork => self.line(Line::Whole).await,
            Step::PauseInstance => fleet.order(Request::Pause { name: format!("{VICTIM}-a") }).await.map(drop),
            Step::ResumeInstance => fleet.order(Request::Resume { name: format!("{VICTIM}-a") }).await.map(drop),
            Step::StartEvacuation => {
                let server = fleet.control_plane();
                self.operation.spawn(async move { evacuate(&server, VICTIM, "drill").await });
                Ok(())
            }
            Step::StartMigration => {
                let (first, last) = self.quarter_of_victim()?;
                let server = fleet.control_plane();
                self.operation.spawn(async move { migrate(&server, &first, &last, REFUGE, "drill").await });
                Ok(())
            }
            Step::StartReturn => {
                let (first, last) = self.quarter_of_victim()?;
                let server = fleet.control_plane();
                self.operation.spawn(async move { migrate(&server, &first, &last, VICTIM, "drill").await });
                Ok(())
            }
            Step::ExportCell => fleet.ctl(&["cell", "export", VICTIM, "--to", &fleet.export()]).await,
            Step::LoseTables => self.lose_tables().await,
            Step::RestoreCell => fleet.ctl(&["cell", "restore", VICTIM, "--from", &fleet.export()]).await,
            Step::LoseRegion => self.regions.lose().await,
            Step::CutRegion => self.regions.cut().await,
            Step::MendRegion => self.regions.mend().await,
            Step::FailOver => self.regions.fail_over().await,
            Step::AwaitServing => self.regions.await_serving().await,
            Step::AwaitFormer => self.regions.await_former().await,
            Step::Reconcile => self.regions.reconcile().await,
            Step::AwaitOperation => {
                let ended = self.operation.join_next().await.context("no operation was begun")?;
                self.done = Some(ended.context("the operation's watcher broke")??);
                Ok(())
            }
        }
    }

    async fn kill(&self, names: impl Iterator<Item = String>) -> Result<()> {
        for name in names {
            self.fleet.order(Request::Kill { name, keep_down: true }).await?;
        }
        Ok(())
    }

    /// Returns when they are ready.
    async fn start(&self, names: Vec<String>) -> Result<()> {
        for name in names {
            let views = self.fleet.order(Request::Start { name: name.clone() }).await?;
            if !views.iter().all(|view| view.ready) {
                bail!("{name} was started and did not become ready");
            }
        }
        Ok(())
    }

    async fn line(&self, line: Line) -> Result<()> {
        self.fleet.line(Request::Line { names: self.fleet.instances(VICTIM)?, line }).await
    }

    /// Sets or clears the faults of the victim's database.
    async fn faults(&self, plan: Option<Value>) -> Result<()> {
        let http = reqwest::Client::builder().no_proxy().timeout(FAULTS_TIMEOUT).build()?;
        let url = format!("{}/_faults", self.fleet.cell_db(self.fleet.cell(VICTIM)?));
        let request = match plan {
            Some(plan) => http.put(url).json(&plan),
            None => http.delete(url),
        };
        request.send().await?.error_for_status().context("the database did not take the faults")?;
        Ok(())
    }

    async fn lose_tables(&self) -> Result<()> {
        let store = self.fleet.store(self.fleet.cell(VICTIM)?, Side::Home).await;
        let prefix = format!("{VICTIM}-");
        for table in TABLES {
            let name = format!("{prefix}{table}");
            store.client().delete_table().table_name(&name).send().await.with_context(|| format!("deleting {name}"))?;
        }
        Ok(create_tables(store.client(), &prefix).await?)
    }

    /// The first quarter of the victim's longest run of buckets.
    fn quarter_of_victim(&self) -> Result<(String, String)> {
        let victim = self.placement.cells().iter().find(|cell| cell.id.as_str() == VICTIM);
        let index = victim.context("the victim is not in the placement")?.index;
        let runs = self.placement.runs().into_iter().filter(|run| run.cell == index);
        let run = runs.max_by_key(|run| run.last.wrapping_sub(run.first)).context("the victim owns nothing")?;
        let (first, last) = (run.first, run.last);
        Ok((format!("{first:04x}"), format!("{:04x}", first + (last - first) / 4)))
    }
}
