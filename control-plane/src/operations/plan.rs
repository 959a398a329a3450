//! What an operation would do, as steps: decided from the placement and the cells' room alone. Pure.
//!
//! It must never plan a move of a pinned wallet but where that wallet or its cell is what the operation is about.

mod evacuate;
mod rebalance;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use control_api::{BucketRange, MoveSummary, Piece, Plan, Refusal, Step};
use mover::GROUP_BUCKETS;
use sha2::{Digest, Sha256};
use topology::placement::CellState;
use topology::{Bucket, CellEntry, CellId, CellIndex, Placement, WalletId};

use crate::error::{Error, Result, refused, unknown_cell};
pub use evacuate::evacuate;
pub use rebalance::rebalance;

/// Wallets that are moved one by one by a single operation: an evacuation's pins.
pub const SINGLE_WALLETS_MAX: usize = 10_000;

/// What is known of a cell's size beside its place in the placement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    pub max_customers: u64,
    /// `None`: not counted.
    pub customers: Option<u64>,
}

impl Room {
    /// `None`: not known.
    pub fn free(self) -> Option<u64> {
        self.customers.map(|customers| self.max_customers.saturating_sub(customers))
    }
}

pub type Rooms = HashMap<CellId, Room>;

/// The Region that each cell's customers belong to. What chooses cells by itself moves no customer out of it.
#[derive(Debug, Default)]
pub struct Regions(pub HashMap<CellId, String>);

impl Regions {
    fn of(&self, cell: &CellEntry) -> &str {
        self.0.get(&cell.id).map_or("", String::as_str)
    }
}

/// One wallet to another cell.
pub fn migrate_wallet(placement: &Placement, wallet: WalletId, to: &CellId) -> Result<Plan> {
    let target = receiver(placement, to)?;
    let from = placement.cell_of(wallet);
    let steps = match from == target.index {
        true => vec![],
        false => vec![Step { piece: Piece::Wallet { wallet }, from: name(placement, from)?, to: to.clone() }],
    };
    Ok(plan_of(placement, steps, |_, _| "asked for".to_owned()))
}

/// All buckets of the range that are not the target's yet; wallets pinned elsewhere stay there.
pub fn migrate_buckets(placement: &Placement, range: BucketRange, to: &CellId) -> Result<Plan> {
    let target = receiver(placement, to)?;
    if range.first > range.last {
        let detail = format!("{} comes after {}: name the lower bucket first", range.first, range.last);
        return Err(refused(Refusal::BadRange, detail));
    }
    let moves = (range.first.0..=range.last.0).map(Bucket).map(|bucket| (bucket, target.index));
    let steps = bucket_steps(placement, moves)?;
    Ok(plan_of(placement, steps, |_, _| "asked for".to_owned()))
}

/// The opposite of steps that were completed, last one first.
pub fn reverse(placement: &Placement, completed: &[Step]) -> Result<Plan> {
    let back =
        completed.iter().rev().map(|step| Step { piece: step.piece, from: step.to.clone(), to: step.from.clone() });
    let steps: Vec<_> = back.collect();
    for step in &steps {
        let target = placement.cell_named(&step.to).ok_or_else(|| unknown_cell(&step.to))?;
        if target.state == CellState::Removed {
            let detail = format!("{} was removed since", step.to);
            return Err(Error::Refused(Refusal::CellNotAccepting.detail(detail).titled("The cell takes nothing back")));
        }
    }
    if let Some(stale) = stale_step(placement, &steps) {
        return Err(plan_stale(placement, stale));
    }
    Ok(plan_of(placement, steps, |_, _| "taken back".to_owned()))
}

/// The completed steps again, whose sources are to forget; refused if one has come back there since.
pub fn forget(placement: &Placement, completed: Vec<Step>) -> Result<Plan> {
    for step in &completed {
        let from = placement.cell_named(&step.from).map(|cell| cell.index);
        let returned = match step.piece {
            Piece::Buckets(range) => {
                (range.first.0..=range.last.0).any(|bucket| Some(placement.owner_of(Bucket(bucket))) == from)
            }
            Piece::Wallet { wallet } => Some(placement.cell_of(wallet)) == from,
        };
        if returned {
            let detail = format!("{step}: {} has a part of it again", step.from);
            return Err(Error::Refused(Refusal::PlanStale.detail(detail).titled("What was moved has come back")));
        }
    }
    Ok(plan_of(placement, completed, |_, _| "moved away for good".to_owned()))
}

/// The first step whose source no longer owns what it is to give.
pub fn stale_step<'a>(placement: &Placement, steps: &'a [Step]) -> Option<&'a Step> {
    steps.iter().find(|step| {
        let Some(from) = placement.cell_named(&step.from).map(|cell| cell.index) else { return true };
        match step.piece {
            Piece::Buckets(range) => {
                (range.first.0..=range.last.0).any(|bucket| placement.owner_of(Bucket(bucket)) != from)
            }
            Piece::Wallet { wallet } => placement.cell_of(wallet) != from,
        }
    })
}

pub fn plan_stale(placement: &Placement, step: &Step) -> Error {
    let now = match step.piece {
        Piece::Buckets(range) => placement.owner_of(range.first),
        Piece::Wallet { wallet } => placement.cell_of(wallet),
    };
    let now = placement.cell(now).map_or_else(String::new, |cell| format!("; {} begins at {} now", step, cell.id));
    let detail = format!("{} does not own all of it at placement version {}{now}", step.from, placement.version());
    Error::Refused(
        Refusal::PlanStale.detail(format!("{detail}: plan again")).titled("The plan was made for another placement"),
    )
}

/// Refuses a plan that is not the one its operator agreed to.
pub fn check_agreed(plan: &Plan, agreed: Option<&str>) -> Result<()> {
    if agreed.is_none_or(|hash| hash == plan.hash) {
        return Ok(());
    }
    let detail =
        format!("the plan at placement version {} is not the one agreed to: plan again", plan.placement_version);
    Err(refused(Refusal::PlanStale, detail))
}

/// Names a plan by what it does.
pub fn hash_of(steps: &[Step]) -> String {
    let mut hash = Sha256::new();
    for step in steps {
        hash.update(step.to_string());
        hash.update(b"\n");
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The cell as one that may be given wallets by an operator's word.
fn receiver<'a>(placement: &'a Placement, id: &CellId) -> Result<&'a CellEntry> {
    let cell = placement.cell_named(id).ok_or_else(|| unknown_cell(id))?;
    match cell.state {
        CellState::Active | CellState::Joining => Ok(cell),
        state => {
            let detail = format!("{id} is {}: `ctl cell undrain {id}` makes it active", state_name(state));
            Err(Error::Refused(Refusal::CellNotAccepting.detail(detail).titled("The cell takes no wallets")))
        }
    }
}

pub fn state_name(state: CellState) -> &'static str {
    match state {
        CellState::Joining => "joining",
        CellState::Active => "active",
        CellState::Draining => "draining",
        CellState::Evacuating => "evacuating",
        CellState::Empty => "empty",
        CellState::Removed => "removed",
    }
}

fn name(placement: &Placement, index: CellIndex) -> Result<CellId> {
    let cell = placement.cell(index).ok_or_else(|| Error::Unsound(format!("cell {index:?} is not listed")))?;
    Ok(cell.id.clone())
}

/// Moves as runs of neighbours with the same source and target, in bucket order, none longer than a mover takes.
fn bucket_steps(placement: &Placement, moves: impl IntoIterator<Item = (Bucket, CellIndex)>) -> Result<Vec<Step>> {
    let mut moves: Vec<_> = moves.into_iter().map(|(bucket, to)| (bucket, placement.owner_of(bucket), to)).collect();
    moves.retain(|&(_, from, to)| from != to);
    moves.sort_by_key(|&(bucket, ..)| bucket);
    let mut runs: Vec<(BucketRange, CellIndex, CellIndex)> = Vec::new();
    for (bucket, from, to) in moves {
        match runs.last_mut() {
            Some((range, last_from, last_to))
                if (*last_from, *last_to) == (from, to)
                    && usize::from(range.last.0) + 1 == bucket.index()
                    && usize::from(bucket.0 - range.first.0) < GROUP_BUCKETS =>
            {
                range.last = bucket;
            }
            _ => runs.push((BucketRange { first: bucket, last: bucket }, from, to)),
        }
    }
    let step = |(range, from, to)| {
        Ok(Step { piece: Piece::Buckets(range), from: name(placement, from)?, to: name(placement, to)? })
    };
    runs.into_iter().map(step).collect()
}

/// Buckets and single wallets in `steps`.
pub fn sizes<'a>(steps: impl IntoIterator<Item = &'a Step>) -> (usize, usize) {
    steps.into_iter().fold((0, 0), |(buckets, wallets), step| match step.piece {
        Piece::Buckets(range) => (buckets + usize::from(range.last.0 - range.first.0) + 1, wallets),
        Piece::Wallet { .. } => (buckets, wallets + 1),
    })
}

fn plan_of(placement: &Placement, steps: Vec<Step>, why: impl Fn(&CellId, &CellId) -> String) -> Plan {
    let mut moves: Vec<MoveSummary> = Vec::new();
    let mut place: HashMap<(&CellId, &CellId), usize> = HashMap::new();
    for step in &steps {
        let at = *place.entry((&step.from, &step.to)).or_insert_with(|| {
            let (from, to) = (step.from.clone(), step.to.clone());
            moves.push(MoveSummary { why: why(&from, &to), from, to, buckets: 0, wallets: 0 });
            moves.len() - 1
        });
        let (buckets, wallets) = sizes([step]);
        moves[at].buckets += buckets;
        moves[at].wallets += wallets;
    }
    let hash = hash_of(&steps);
    Plan { placement_version: placement.version(), hash, steps, moves, wallets: None, bytes: None, headroom: vec![] }
}
