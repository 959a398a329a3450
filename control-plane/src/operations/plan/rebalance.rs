//! Exact shares by weight with the fewest moves. Pure.
//!
//! It must never give a bucket to a cell that takes no new customers, nor take one from a cell that is drained: a
//! drained cell keeps what it has.

use std::collections::{BTreeSet, HashMap};

use control_api::{Plan, Refusal};
use topology::placement::CellState;
use topology::shares::{fair_shares_of, moves_to_shares};
use topology::{CellEntry, CellIndex, Placement};

use super::{Regions, bucket_steps, plan_of};
use crate::error::{Error, Result};

/// `max_moves`: most buckets moved by this run; the rest is another run's. Each Region keeps the buckets that it has.
pub fn rebalance(placement: &Placement, regions: &Regions, max_moves: Option<usize>) -> Result<Plan> {
    let mut owned: HashMap<CellIndex, usize> = HashMap::new();
    for &owner in placement.owners() {
        *owned.entry(owner).or_default() += 1;
    }
    let owned_by = |cell| owned.get(&cell).copied().unwrap_or(0);
    let cells = placement.cells();
    let takes = |cell: &CellEntry| matches!(cell.state, CellState::Active | CellState::Joining);
    if cells.iter().all(|cell| !takes(cell) || cell.weight == 0) {
        let todo = "no active cell has a weight above 0";
        return Err(Error::Refused(
            Refusal::NoWeight.detail(todo).titled("There is no cell to share the buckets among"),
        ));
    }
    let (mut moves, mut share_of) = (Vec::new(), HashMap::new());
    for region in cells.iter().map(|cell| regions.of(cell)).collect::<BTreeSet<_>>() {
        let is_here = |cell: &&CellEntry| regions.of(cell) == region && cell.state != CellState::Draining;
        let weights: Vec<_> =
            cells.iter().filter(is_here).filter(|cell| takes(cell)).map(|cell| (cell.index, cell.weight)).collect();
        if weights.iter().all(|&(_, weight)| weight == 0) {
            continue;
        }
        let pool = cells.iter().filter(is_here).map(|cell| owned_by(cell.index)).sum();
        let mut shares = fair_shares_of(pool, &weights, owned_by);
        share_of.extend(shares.iter().copied());
        let others = cells.iter().filter(|cell| !is_here(cell));
        shares.extend(others.map(|cell| (cell.index, owned_by(cell.index))));
        moves.extend(moves_to_shares(placement.owners(), &shares));
    }
    moves.truncate(max_moves.unwrap_or(usize::MAX));
    let steps = bucket_steps(placement, moves.into_iter().map(|step| (step.bucket, step.to)))?;
    let stands = |id: &topology::CellId| {
        let index = placement.cell_named(id).map_or(CellIndex::NONE, |cell| cell.index);
        format!("{id} owns {} of its share of {}", owned_by(index), share_of.get(&index).copied().unwrap_or(0))
    };
    Ok(plan_of(placement, steps, |from, to| format!("{}; {}", stands(from), stands(to))))
}
