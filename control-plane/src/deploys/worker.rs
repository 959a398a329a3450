//! Carries on with the deploy that is under way, from what the tables say. Woken by a timer and by changes.
//!
//! Everything it does may be done again by another one, or by two at once: an instance that runs a version is not replaced
//! by it again, and progress is a compare-and-set. It must never be needed for anything but progress.

mod steps;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use control_api::{DeployState, PartId, Program};
use topology::{InstanceEntry, InstanceId, Version};

use super::parts::{Part, alike};
use super::record::Deploy;
use super::replacer::{Order, Replacer, Trouble};
use super::state::Event;
use super::watch::Watch;
use crate::deploys::service::Deploys;
use crate::error::{Error, Result};
use crate::jobs::lease::Holder;
use crate::jobs::transition;
use crate::jobs::worker::{Advanced, Watched, by_itself, caught};

/// How late a deploy of another control plane, or one whose worker died, is noticed.
const LOOK_EVERY: Duration = Duration::from_millis(300);
const TROUBLE_PAUSE: Duration = Duration::from_secs(1);
/// The lease is renewed so often while something takes its time.
const RENEW_EVERY: Duration = Duration::from_secs(1);
/// From the start of a process until it is ready and tells its version.
const READY_PATIENCE: Duration = Duration::from_secs(60);
const READY_POLL: Duration = Duration::from_millis(50);

pub struct Worker {
    deploys: Arc<Deploys>,
    holder: Holder,
    replacer: Arc<dyn Replacer>,
}

/// What a worker remembers from one advance to the next; none of it matters.
#[derive(Default)]
pub struct Memory {
    watch: Option<Watch>,
    /// Since when something has not worked, and how often it was tried.
    trouble: Option<(Instant, u32)>,
}

/// Where nothing can replace instances, deploys are carried on by the control planes that can.
pub async fn keep_deploying(deploys: &Arc<Deploys>) {
    let Some(replacer) = deploys.replacer.clone() else { return std::future::pending().await };
    let worker = Worker::new(Arc::clone(deploys), replacer);
    let mut memory = Memory::default();
    loop {
        match worker.advance_active(&mut memory).await {
            Ok(Advanced::Again) => {}
            // Its own writes would wake it at once.
            Ok(Advanced::After(pause)) => tokio::time::sleep(pause).await,
            Ok(Advanced::Rest) => {
                let _ = tokio::time::timeout(LOOK_EVERY, deploys.table.changed.notified()).await;
            }
            Err(error) => {
                tracing::warn!(%error, "the deploy is left for a moment");
                tokio::time::sleep(TROUBLE_PAUSE).await;
            }
        }
    }
}

impl Worker {
    pub fn new(deploys: Arc<Deploys>, replacer: Arc<dyn Replacer>) -> Self {
        Self { deploys, holder: Holder::default(), replacer }
    }

    async fn advance_active(&self, memory: &mut Memory) -> Result<Advanced> {
        let active = self.deploys.table.active().await?;
        metrics::gauge!("control_plane_deploys_running").set(if active.is_some() { 1.0 } else { 0.0 });
        match active {
            Some(number) => self.advance(number, memory).await,
            None => Ok(Advanced::Rest),
        }
    }

    /// Does the one thing that comes next. After a panic the deploy waits for an operator; a rollback has failed.
    pub async fn advance(&self, number: u64, memory: &mut Memory) -> Result<Advanced> {
        match caught(Box::pin(self.advance_once(number, memory))).await {
            Ok(advanced) => advanced,
            Err(why) => match self.mine(number).await? {
                Some(deploy) => {
                    let is_last = deploy.state == DeployState::RollingBack;
                    self.happen(deploy, if is_last { Event::Fail } else { Event::Pause }, Some(why)).await
                }
                None => Ok(Advanced::Rest),
            },
        }
    }

    async fn mine(&self, number: u64) -> Result<Option<Deploy>> {
        self.holder.mine(&self.deploys.table, number).await
    }

    async fn advance_once(&self, number: u64, memory: &mut Memory) -> Result<Advanced> {
        let Some(deploy) = self.deploys.table.get(number).await? else { return Ok(Advanced::Rest) };
        if deploy.state.is_at_rest() || self.holder.is_anothers(&deploy) {
            return Ok(Advanced::Rest);
        }
        let Some(deploy) = self.deploys.table.save(&self.holder.leased(deploy)).await? else {
            return Ok(Advanced::Again);
        };
        match deploy.state {
            DeployState::Planned => self.happen(deploy, Event::Begin, None).await,
            DeployState::Observing => self.observe(deploy).await,
            DeployState::Rolling => self.roll(deploy, memory).await,
            DeployState::Baking => self.bake(deploy, memory).await,
            DeployState::RollingBack => Box::pin(self.put_back(deploy, memory)).await,
            _ => Ok(Advanced::Rest),
        }
    }

    /// Writes down what happened, and why.
    async fn happen(&self, deploy: Deploy, event: Event, why: Option<String>) -> Result<Advanced> {
        let because = by_itself(why.unwrap_or_else(|| deploy.because.reason.clone()));
        let Some(change) = transition(&deploy, event, &because) else { return Ok(Advanced::Again) };
        match event {
            Event::Worse => {
                metrics::counter!("control_plane_deploys_taken_back_total").increment(1);
                tracing::warn!(deploy = %deploy.id(), why = because.reason, "the version is taken back");
            }
            Event::Fail => {
                tracing::error!(deploy = %deploy.id(), why = because.reason, "what ran before cannot be put back")
            }
            _ => {}
        }
        self.deploys.table.happen(&change).await?;
        Ok(Advanced::Again)
    }

    /// Drives `work` to its end and keeps up the lease meanwhile. A change of the deploy meanwhile
    /// takes effect afterwards.
    async fn keeping<T>(&self, number: u64, work: impl Future<Output = T>) -> T {
        let mut work = Watched::new(work, RENEW_EVERY);
        loop {
            match work.done_or_tick().await {
                Some(done) => return done,
                None => self.renew(number).await,
            }
        }
    }

    /// Waits, but not for what is not the same any more.
    async fn wait(&self, deploy: &Deploy, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            tokio::time::sleep(RENEW_EVERY.min(until.saturating_duration_since(Instant::now()))).await;
            let newest = self.deploys.table.get(deploy.number).await?;
            if newest.is_none_or(|newest| newest.state != deploy.state) {
                break;
            }
            self.renew(deploy.number).await;
        }
        Ok(())
    }

    async fn renew(&self, number: u64) {
        let renewed = async {
            if let Some(deploy) = self.mine(number).await? {
                self.deploys.table.save(&self.holder.leased(deploy)).await?;
            }
            Ok::<_, Error>(())
        };
        if let Err(error) = renewed.await {
            tracing::warn!(deploy = number, %error, "lease not renewed");
        }
    }

    /// Has the instance run that version, and waits until it says that it does.
    async fn run(
        &self,
        deploy: &Deploy,
        part: &PartId,
        instance: &InstanceId,
        version: &Version,
    ) -> std::result::Result<(), Trouble> {
        let later = |error: Error| Trouble::Later(error.to_string());
        let parts = self.deploys.parts(deploy.of).await.map_err(later)?;
        let own = parts.iter().find(|one| &one.id == part).into_iter().flat_map(|one| &one.instances);
        let entry = own.into_iter().find(|entry| &entry.id == instance);
        let entry = entry.ok_or_else(|| Trouble::Fatal(format!("{instance} is not registered any more")))?;
        self.others_are_ready(deploy.of, &parts, part, entry).await?;
        let order = ordered(deploy, part, entry, version);
        tracing::info!(deploy = %deploy.id(), %instance, %version, "replacing");
        self.replacer.replace(&order).await?;
        let deadline = Instant::now() + READY_PATIENCE;
        loop {
            let why = match self.deploys.page(deploy.of, entry).await {
                Ok(page) if &page.version == version => match self.deploys.health(deploy.of, entry).await {
                    health if health.ready => return Ok(()),
                    health => health.why.unwrap_or_else(|| "not ready".to_owned()),
                },
                Ok(page) => format!("it says that it runs {}", page.version),
                Err(why) => why,
            };
            if Instant::now() > deadline {
                let waited = READY_PATIENCE.as_secs();
                return Err(Trouble::Fatal(format!("{instance} is not ready as {version} after {waited} s: {why}")));
            }
            tokio::time::sleep(READY_POLL).await;
        }
    }

    /// Before an instance is drained, another one that does the same has to be ready; where there is
    /// only one, it has no other.
    async fn others_are_ready(
        &self,
        of: Program,
        parts: &[Part],
        part: &PartId,
        entry: &InstanceEntry,
    ) -> std::result::Result<(), Trouble> {
        let others: Vec<_> = alike(of, parts, part, entry).collect();
        for other in &others {
            if self.deploys.health(of, other).await.ready {
                return Ok(());
            }
        }
        let Some(first) = others.first() else { return Ok(()) };
        Err(Trouble::Later(format!("no other instance is ready, {} for one: {} stays", first.id, entry.id)))
    }
}

/// What is asked of the replacer for this instance, as the placement has it now.
pub fn ordered(deploy: &Deploy, part: &PartId, entry: &InstanceEntry, version: &Version) -> Order {
    Order {
        deploy: deploy.id().to_string(),
        of: deploy.of,
        part: part.clone(),
        instance: entry.id.clone(),
        zone: entry.zone.clone(),
        role: entry.role,
        version: version.clone(),
        number: deploy.order(),
    }
}
