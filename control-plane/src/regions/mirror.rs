//! Keeps the tables of each cell's second Region up with the cell's archive, so that a failover has little left to do.
//!
//! The same code restores a lost cell; here it never comes to an end. Of two control planes, one makes progress and goes on;
//! the other one watches. It must never write into tables that hold anything else than what it wrote there.

use std::collections::HashMap;
use std::future::{Future, pending};
use std::time::Duration;

use control_api::{Because, CellSpec, Refusal, Standby, now_rfc3339};
use futures_util::stream::{FuturesUnordered, StreamExt};
use metrics::gauge;
use restoration::around::Around;
use restoration::refill::{self, Refill};
use store::Homes;
use store::dynamodb::DynamoStore;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use topology::config::Replication;
use topology::restoring::Restoring;
use topology::{Bucket, CellId};
use tracing::{info, warn};

use super::{briefly, say};
use crate::cells::fleet::Fleet;
use crate::clock::{self, now_s};
use crate::error::{Result, no_placement, refused, unknown_cell};
use crate::restore::archived::Refills;
use crate::restore::{put_stand, stand};

const EVERY: Duration = Duration::from_secs(1);
/// How long a cell is followed before its record is looked at again.
const TURN: Duration = Duration::from_secs(5);
/// A control plane that finds the progress of another one goes on when it has watched that unchanged for so long.
const LEASE: Duration = Duration::from_secs(15);
/// Between two attempts at tables that cannot be followed into.
const REST: Duration = Duration::from_secs(10);

/// When the second Region last had all of a cell's archive, in seconds since 1970; 0 until it has.
const CURRENT: &str = "control_plane_standby_current_timestamp_seconds";

/// What this process knows of one cell's second Region.
struct Mirror {
    /// Of this epoch of the cell.
    epoch: u64,
    refill: Option<Refill>,
    rests_until: Instant,
    /// The progress of another process, and since when it has been that.
    watched: Option<(Option<u64>, Instant)>,
    /// Whether the tables that the cell has left say so.
    is_fenced: bool,
}

/// For ever.
pub async fn keep_following(fleet: &Fleet, refills: &Refills) {
    let registered = || async { Ok(fleet.registry.all().await?.into_values().map(|record| record.spec).collect()) };
    side_by_side(registered, |changes| follow_one(fleet, refills, changes)).await;
}

/// For ever, all cells with a second Region side by side: a Region that does not answer holds up the cells that follow into
/// it, and no other.
async fn side_by_side<R, F>(registered: impl Fn() -> R, follow: impl Fn(watch::Receiver<CellSpec>) -> F)
where
    R: Future<Output = Result<Vec<CellSpec>>>,
    F: Future<Output = ()>,
{
    let mut specs: HashMap<CellId, watch::Sender<CellSpec>> = HashMap::new();
    let mut following = FuturesUnordered::new();
    loop {
        match registered().await {
            Ok(all) => {
                let all = all.into_iter().filter(|spec| spec.standby.is_some());
                let mut now: HashMap<CellId, CellSpec> = all.map(|spec| (spec.id.clone(), spec)).collect();
                specs.retain(|cell, known| now.remove(cell).is_some_and(|spec| known.send(spec).is_ok()));
                for (cell, spec) in now {
                    let (known, changes) = watch::channel(spec);
                    specs.insert(cell, known);
                    following.push(follow(changes));
                }
            }
            Err(error) => warn!(%error, "the registry does not answer; new second Regions are not followed"),
        }
        let until_changed = async {
            while following.next().await.is_some() {}
            pending::<()>().await;
        };
        let _ = timeout(EVERY, until_changed).await;
    }
}

/// Until the cell has no second Region any more.
async fn follow_one(fleet: &Fleet, refills: &Refills, mut changes: watch::Receiver<CellSpec>) {
    let mut mirror = Mirror::of(&changes.borrow());
    while changes.has_changed().is_ok() {
        let spec = changes.borrow_and_update().clone();
        if mirror.epoch != spec.region_epoch {
            mirror = Mirror::of(&spec);
        }
        mirror.turn(fleet, refills, &spec).await;
        sleep(EVERY).await;
    }
}

impl Mirror {
    fn of(spec: &CellSpec) -> Self {
        let epoch = spec.region_epoch;
        gauge!(CURRENT, "cell" => spec.id.to_string()).set(0.0);
        Self { epoch, refill: None, rests_until: Instant::now(), watched: None, is_fenced: epoch == 0 }
    }

    async fn turn(&mut self, fleet: &Fleet, refills: &Refills, spec: &CellSpec) {
        let Some(standby) = &spec.standby else { return };
        if !self.is_fenced {
            let because = by_itself("the cell has left this Region");
            let said = say(fleet, &standby.dynamodb, &spec.dynamodb.region, spec.region_epoch, &because);
            self.is_fenced = briefly(said).await.is_some();
        }
        if standby.replication == Replication::GlobalTable || self.rests_until > Instant::now() {
            return;
        }
        if let Err(error) = self.follow(fleet, refills, spec, standby).await {
            info!(cell = %spec.id, region = standby.dynamodb.region, %error, "the second Region is not followed into");
            (self.refill, self.rests_until) = (None, Instant::now() + REST);
        }
    }

    async fn follow(&mut self, fleet: &Fleet, refills: &Refills, spec: &CellSpec, standby: &Standby) -> Result<()> {
        let store = fleet.store(&standby.dynamodb).await;
        let restoring = begun(fleet, &store, spec, standby).await?;
        let archive = refills.archive(&spec.id)?;
        let refill = match &mut self.refill {
            Some(refill) => refill,
            None => {
                let progress = refill::progress(&store).await?;
                let (seen, since) = *self.watched.get_or_insert((progress, Instant::now()));
                if seen != progress {
                    self.watched = Some((progress, Instant::now()));
                    return Ok(());
                }
                if progress.is_some() && since.elapsed() < LEASE {
                    return Ok(());
                }
                self.watched = None;
                self.refill.insert(Refill::resume(archive.clone(), &store, &restoring).await?)
            }
        };
        let now = fleet.placements.refresh().await?.ok_or_else(no_placement)?;
        let entry = now.placement.cell_named(&spec.id).ok_or_else(|| unknown_cell(&spec.id))?;
        let around =
            Around { placement: &now.placement, entry, store: &store, others: &[], clock: &clock::beside(&store) };
        if !Box::pin(refill.follow(&around, Instant::now() + TURN)).await? {
            gauge!(CURRENT, "cell" => spec.id.to_string()).set(now_s() as f64);
        }
        Ok(())
    }
}

/// The state that says that these tables follow an archive: begun now, if they are empty.
async fn begun(fleet: &Fleet, store: &DynamoStore, spec: &CellSpec, standby: &Standby) -> Result<Restoring> {
    let cell = &spec.id;
    match stand(store).await? {
        Some((_, state)) if state.mirror && !state.done => Ok(state),
        None if store.members((Bucket(0), Bucket(u16::MAX)), None, 1).await?.is_empty()
            && store.genesis().await?.is_none() =>
        {
            let because = by_itself("the tables of the second Region follow the archive");
            // A process over these tables that was started as that of a home waits, too.
            say(fleet, &standby.dynamodb, &spec.dynamodb.region, spec.region_epoch, &because).await?;
            let state = Restoring {
                done: false,
                again: false,
                incomplete: false,
                mirror: true,
                in_place: false,
                since: now_rfc3339(),
                actor: because.actor,
                reason: because.reason,
            };
            put_stand(store, None, &state).await?;
            Ok(state)
        }
        _ => {
            let todo = format!(
                "the tables hold what {cell} left there: compare it with `ctl cell reconcile {cell}`, then replace the tables"
            );
            Err(refused(Refusal::NotEmpty, todo))
        }
    }
}

fn by_itself(reason: &str) -> Because {
    Because { actor: "control-plane".into(), reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use control_api::CellTables;
    use tokio::sync::mpsc;

    use super::*;
    use crate::tests::fixture::cell_id;

    /// A cell with or without a second Region.
    fn spec(number: usize, has_standby: bool) -> CellSpec {
        let tables = |region: &str| CellTables {
            endpoint: None,
            region: region.into(),
            table_prefix: format!("cell-{number}-"),
            role: None,
        };
        let (dynamodb, instances, replication) = (tables("there"), vec![], Replication::Archive);
        CellSpec {
            id: cell_id(number),
            weight: 1,
            max_tps: 1,
            max_customers: 1,
            instances: vec![],
            dynamodb: tables("here"),
            standby: has_standby.then_some(Standby { dynamodb, instances, replication }),
            region_epoch: 0,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_region_that_does_not_answer_holds_up_no_other() {
        let (sender, mut turns) = mpsc::unbounded_channel();
        let registered = || async { Ok(vec![spec(1, true), spec(2, true), spec(3, true), spec(4, false)]) };
        let follow = |changes: watch::Receiver<CellSpec>| {
            let sender = sender.clone();
            async move {
                let cell = changes.borrow().id.clone();
                loop {
                    let _ = sender.send(cell.clone());
                    // The second Region of the first one never answers.
                    let answer = if cell == cell_id(1) { Duration::MAX } else { EVERY };
                    sleep(answer).await;
                }
            }
        };
        let _ = timeout(TURN, side_by_side(registered, follow)).await;
        let turns: Vec<CellId> = std::iter::from_fn(|| turns.try_recv().ok()).collect();
        let of = |number| turns.iter().filter(|turn| **turn == cell_id(number)).count();
        assert_eq!((of(1), of(4)), (1, 0));
        assert!(of(2) >= 4 && of(3) >= 4, "{turns:?}");
    }
}
