//! What a plan would mean, counted at the cells: wallets to be moved, and the room at the targets before and after.
//!
//! It must never take long, nor fail: what cannot be counted in time is left open.

use std::collections::BTreeMap;
use std::time::Duration;

use ledger::store::dynamodb::DynamoStore;
use tokio::time::{Instant, timeout_at};
use topology::{CellId, Placement};

use super::hands::route;
use super::start::rooms;
use crate::mover::{Group, InstanceHolds, Mover, Order, Pace, wall_clock};
use crate::state::ControlPlane;
use crate::wire::{Headroom, Piece, Plan, Step};

/// All counting of one plan together.
const COUNT_TIME_MAX: Duration = Duration::from_secs(4);
/// Pages of wallets of one step.
const PAGES_MAX: usize = 1_000;

pub async fn estimate(control: &ControlPlane, placement: &Placement, plan: &mut Plan) {
    let deadline = Instant::now() + COUNT_TIME_MAX;
    let mut arriving: BTreeMap<CellId, Option<u64>> = BTreeMap::new();
    for step in &plan.steps {
        let counted = match timeout_at(deadline, count(control, placement, step)).await {
            Ok(Some(counted)) => Some(counted),
            _ => None,
        };
        let target = arriving.entry(step.to.clone()).or_insert(Some(0));
        *target = target.zip(counted).map(|(sum, counted)| sum + counted);
        if counted.is_none() && Instant::now() >= deadline {
            // The rest is not counted either.
            arriving.extend(plan.steps.iter().map(|step| (step.to.clone(), None)));
            break;
        }
    }
    plan.wallets = arriving.values().copied().sum();
    let rooms = rooms(control, placement).await.unwrap_or_default();
    let headroom = |(cell, arriving): (CellId, Option<u64>)| {
        let room = rooms.get(&cell);
        let before = room.and_then(|room| room.free());
        let stays = room.and_then(|room| Some((room.max_customers, room.customers?)));
        let after = stays.zip(arriving).and_then(|((most, customers), arriving)| {
            Some(i64::try_from(most).ok()? - i64::try_from(customers.checked_add(arriving)?).ok()?)
        });
        Headroom { cell, before, after }
    };
    plan.headroom = arriving.into_iter().map(headroom).collect();
}

/// Wallets of the step at its source, but those that live there or elsewhere by a pin; `None`: it did not answer.
async fn count(control: &ControlPlane, placement: &Placement, step: &Step) -> Option<u64> {
    let Piece::Buckets(range) = step.piece else { return Some(1) };
    let route = route(control, step).await.ok()?;
    let looking = Looking::new(control);
    let (mover, group) = (looking.mover(&route), Group { first: range.first, last: range.last });
    let from = placement.cell_named(&step.from)?.index;
    let (mut after, mut counted) = (None, 0);
    for _ in 0..PAGES_MAX {
        let page = mover.wallets_at_source(group, after).await.ok()?;
        let Some(&last) = page.last() else { return Some(counted) };
        counted += page.iter().filter(|&&wallet| placement.cell_of(wallet) == from).count() as u64;
        after = Some(last);
    }
    None
}

/// What a mover that only looks is made of.
pub struct Looking {
    order: Order,
    pace: Pace,
    holds: InstanceHolds,
    stop: tokio::sync::watch::Receiver<bool>,
}

impl Looking {
    pub fn new(control: &ControlPlane) -> Self {
        let order = Order { operation: "look".to_owned(), actor: "control-plane".to_owned(), epoch: 0 };
        let holds = InstanceHolds::new(control.instances.http(), &[]);
        // A receiver keeps its last value when the sender is gone.
        let (_, stop) = tokio::sync::watch::channel(false);
        Self { order, pace: Pace::new(1, None), holds, stop }
    }

    pub fn mover<'a>(&'a self, route: &'a crate::mover::Route<DynamoStore>) -> Mover<'a, DynamoStore, InstanceHolds> {
        Mover {
            route,
            order: &self.order,
            pace: &self.pace,
            holds: &self.holds,
            stop: self.stop.clone(),
            clock: &wall_clock,
        }
    }
}
