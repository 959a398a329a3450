//! What a plan would mean, counted at the cells: wallets to be moved, and the room at the targets before and after.
//!
//! It must never take long, nor fail: what cannot be counted in time is left open.

use std::collections::BTreeMap;
use std::time::Duration;

use control_api::{Headroom, Piece, Plan, Step};
use mover::{Group, Mover, Order, Pace, wall_clock};
use store::dynamodb::DynamoStore;
use tokio::time::{Instant, timeout_at};
use topology::{CellId, Placement, WalletId};

use super::hands::route;
use super::rooms::rooms;
use crate::cells::fleet::Fleet;
use crate::cells::holds::InstanceHolds;

/// All counting of one plan together.
const COUNT_TIME_MAX: Duration = Duration::from_secs(4);
/// Pages of wallets of one step.
const PAGES_MAX: usize = 1_000;
/// Wallets whose size is looked at, to tell from it what all of them come to.
const SAMPLE_MAX: u64 = 32;

/// The wallets looked at, and the bytes of their chains.
#[derive(Default)]
struct Sample {
    wallets: u64,
    bytes: u64,
}

impl Sample {
    async fn take(&mut self, mover: &Mover<'_, DynamoStore, InstanceHolds>, wallets: &[WalletId]) -> Option<()> {
        for &wallet in wallets.iter().take(usize::try_from(SAMPLE_MAX - self.wallets).ok()?) {
            self.bytes += mover.size_at_source(wallet).await.ok()?;
            self.wallets += 1;
        }
        Some(())
    }

    fn of(&self, wallets: u64) -> Option<u64> {
        let bytes = u128::from(self.bytes) * u128::from(wallets);
        bytes.checked_div(u128::from(self.wallets)).and_then(|bytes| u64::try_from(bytes).ok())
    }
}

pub async fn estimate(fleet: &Fleet, placement: &Placement, plan: &mut Plan) {
    let deadline = Instant::now() + COUNT_TIME_MAX;
    let mut arriving: BTreeMap<CellId, Option<u64>> = BTreeMap::new();
    let mut sample = Sample::default();
    for step in &plan.steps {
        let counted = match timeout_at(deadline, count(fleet, placement, step, &mut sample)).await {
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
    plan.bytes = plan.wallets.and_then(|wallets| sample.of(wallets));
    let rooms = rooms(fleet, placement).await.unwrap_or_default();
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
async fn count(fleet: &Fleet, placement: &Placement, step: &Step, sample: &mut Sample) -> Option<u64> {
    let route = route(fleet, step).await.ok()?;
    let looking = Looking::new(fleet);
    let mover = looking.mover(&route);
    let group = match step.piece {
        Piece::Buckets(range) => Group { first: range.first, last: range.last },
        Piece::Wallet { wallet } => {
            sample.take(&mover, &[wallet]).await?;
            return Some(1);
        }
    };
    let from = placement.cell_named(&step.from)?.index;
    let (mut after, mut counted) = (None, 0);
    for _ in 0..PAGES_MAX {
        let page = mover.wallets_at_source(group, after).await.ok()?;
        let Some(&last) = page.last() else { return Some(counted) };
        let here: Vec<WalletId> = page.into_iter().filter(|&wallet| placement.cell_of(wallet) == from).collect();
        sample.take(&mover, &here).await?;
        counted += here.len() as u64;
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
    pub fn new(fleet: &Fleet) -> Self {
        let order = Order { operation: "look".to_owned(), epoch: 0 };
        let holds = InstanceHolds::new(fleet.instances.http(), &[]);
        // A receiver keeps its last value when the sender is gone.
        let (_, stop) = tokio::sync::watch::channel(false);
        Self { order, pace: Pace::new(1, None), holds, stop }
    }

    pub fn mover<'a>(&'a self, route: &'a mover::Route<DynamoStore>) -> Mover<'a, DynamoStore, InstanceHolds> {
        Mover {
            route,
            order: &self.order,
            pace: &self.pace,
            holds: &self.holds,
            stop: self.stop.clone(),
            clock: &wall_clock,
            head_lifetime: ledger::fence::HEAD_LIFETIME,
        }
    }
}
