//! What the page shows, gathered from the functions that the HTTP API answers with.
//!
//! It must never make the rest wait for a part that does not answer, nor look more often because more people look.

use std::collections::HashMap;
use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;

use control_api::capacity::Capacity;
use control_api::zones::ZoneView;
use control_api::{AuditEntry, Change, DeployAudit, DeployView, OperationView, Status};
use futures_util::future::join_all;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use topology::{CellId, CellState, Version};

use super::limits::{
    AUDIT_SHOWN, CAPACITY_AGE_MAX, CHANGES_SHOWN, DEPLOYS_SHOWN, OPERATIONS_SHOWN, PART_TIMEOUT, SNAPSHOT_AGE_MAX,
    VERSIONS_AGE_MAX,
};
use crate::cells::capacity;
use crate::cells::loads::Load;
use crate::lifecycle::registration;
use crate::service::ControlPlane;
use crate::{deploys, operations, zones};

/// What is known, or why it is not.
pub type Part<T> = Result<T, String>;
/// What instances run, by their ids; none for those that do not say.
pub type Versions = HashMap<String, Version>;

pub struct Snapshot {
    pub status: Part<Status>,
    pub versions: Arc<Versions>,
    pub capacity: Arc<Part<Capacity>>,
    pub loads: HashMap<CellId, Load>,
    pub operations: Part<Vec<OperationView>>,
    pub deploys: Part<Vec<DeployView>>,
    pub zones: Part<Vec<ZoneView>>,
    pub changes: Part<Vec<Change>>,
    pub audit: Part<Vec<Line>>,
    /// In which wave of a deploy each cell gets a new version, from 1.
    pub waves: HashMap<CellId, usize>,
}

/// One line of the audit, of an operation or of a deploy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub at: String,
    pub of: String,
    pub what: String,
    pub after: &'static str,
    pub actor: String,
    pub reason: String,
}

impl From<AuditEntry> for Line {
    fn from(entry: AuditEntry) -> Self {
        let what = format!("{} {}", entry.kind.as_str(), entry.what.replace('_', " "));
        let AuditEntry { at, operation, actor, reason, after, .. } = entry;
        Self { at, of: operation.to_string(), what, after: after.as_str(), actor, reason }
    }
}

impl From<DeployAudit> for Line {
    fn from(entry: DeployAudit) -> Self {
        let what = format!("deploy {}", entry.what.replace('_', " "));
        let DeployAudit { at, deploy, actor, reason, after, .. } = entry;
        Self { at, of: deploy.to_string(), what, after: after.as_str(), actor, reason }
    }
}

/// The last look, shared by all visitors at about the same time.
#[derive(Default)]
pub struct Snapshots(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    last: Option<(Instant, Arc<Snapshot>)>,
    versions: Option<(Instant, Arc<Versions>)>,
    capacity: Option<(Instant, Arc<Part<Capacity>>)>,
}

impl Snapshots {
    pub async fn now(&self, control: &Arc<ControlPlane>) -> Arc<Snapshot> {
        let mut kept = self.0.lock().await;
        if let Some((at, last)) = &kept.last
            && at.elapsed() < SNAPSHOT_AGE_MAX
        {
            return Arc::clone(last);
        }
        let snapshot = Arc::new(Box::pin(gather(control, &mut kept)).await);
        kept.last = Some((Instant::now(), Arc::clone(&snapshot)));
        snapshot
    }
}

async fn gather(control: &Arc<ControlPlane>, kept: &mut Kept) -> Snapshot {
    let changes_shown = i32::try_from(CHANGES_SHOWN).expect("a short list");
    let Kept { versions: old_versions, capacity: old_capacity, .. } = kept;
    let (status, versions, capacity, operations, deploys, zones, changes, audit) = tokio::join!(
        part(registration::status(&control.fleet)),
        versions(control, old_versions),
        capacity_now(control, old_capacity),
        part(operations::list(&control.operations, OPERATIONS_SHOWN)),
        part(deploys::list(&control.deploys, DEPLOYS_SHOWN)),
        part(zones::list(&control.zones)),
        part(control.fleet.placements.history(changes_shown)),
        part(lines(control)),
    );
    let mut loads = HashMap::new();
    if let Ok(status) = &status {
        for cell in &status.cells {
            loads.extend(control.fleet.loads.of(&cell.cell.id).map(|load| (cell.cell.id.clone(), load)));
        }
    }
    Snapshot {
        waves: waves(control, status.as_ref().ok()),
        status,
        versions,
        capacity,
        loads,
        operations,
        deploys,
        zones,
        changes: changes.map(|rows| rows.into_iter().map(|row| row.change).collect()),
        audit,
    }
}

async fn part<T, E: Display>(work: impl Future<Output = Result<T, E>>) -> Part<T> {
    match timeout(PART_TIMEOUT, work).await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} s", PART_TIMEOUT.as_secs())),
    }
}

async fn versions(control: &Arc<ControlPlane>, kept: &mut Option<(Instant, Arc<Versions>)>) -> Arc<Versions> {
    if let Some((at, known)) = kept
        && at.elapsed() < VERSIONS_AGE_MAX
    {
        return Arc::clone(known);
    }
    let placement = control.fleet.placements.known();
    let cells =
        placement.iter().flat_map(|known| known.placement.cells()).filter(|cell| cell.state != CellState::Removed);
    let asked = cells.flat_map(|cell| &cell.instances).map(|instance| async move {
        let running = timeout(PART_TIMEOUT, control.fleet.instances.running(instance)).await;
        running.ok().and_then(Result::ok).map(|running| (instance.id.to_string(), running.version))
    });
    let versions = Arc::new(join_all(asked).await.into_iter().flatten().collect());
    *kept = Some((Instant::now(), Arc::clone(&versions)));
    versions
}

async fn capacity_now(
    control: &Arc<ControlPlane>,
    kept: &mut Option<(Instant, Arc<Part<Capacity>>)>,
) -> Arc<Part<Capacity>> {
    if let Some((at, known)) = kept
        && at.elapsed() < CAPACITY_AGE_MAX
    {
        return Arc::clone(known);
    }
    let capacity_now = Arc::new(part(capacity::capacity(&control.fleet)).await);
    *kept = Some((Instant::now(), Arc::clone(&capacity_now)));
    capacity_now
}

/// Both audits, newest first.
async fn lines(control: &ControlPlane) -> crate::error::Result<Vec<Line>> {
    let (of_operations, of_deploys) = tokio::try_join!(
        control.operations.table.audit(AUDIT_SHOWN, None),
        control.deploys.table.audit(AUDIT_SHOWN, None)
    )?;
    let of_deploys = of_deploys.into_iter().map(Line::from);
    let mut lines: Vec<Line> = of_operations.into_iter().map(Line::from).chain(of_deploys).collect();
    lines.sort_by(|a, b| b.at.cmp(&a.at));
    lines.truncate(AUDIT_SHOWN);
    Ok(lines)
}

fn waves(control: &ControlPlane, status: Option<&Status>) -> HashMap<CellId, usize> {
    let cells = status.into_iter().flat_map(|status| &status.cells).map(|one| &one.cell);
    let taking = cells.filter(|cell| cell.state != CellState::Removed && !cell.instances.is_empty());
    let ids: Vec<CellId> = taking.map(|cell| cell.id.clone()).collect();
    let waves = control.deploys.config.waves(ids, CellId::as_str);
    waves.into_iter().zip(1..).flat_map(|(wave, number)| wave.into_iter().map(move |id| (id, number))).collect()
}
