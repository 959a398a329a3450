//! Everything off one cell, spread over the others in proportion to their room. Pure.
//!
//! In proportion to room no cell is overfilled as long as there is room for all. It must never send anything to a
//! cell that is drained, emptied or of weight 0.

use control_api::{Piece, Plan, Refusal, Step};
use topology::placement::CellState;
use topology::shares::fair_shares_of;
use topology::{Bucket, CellEntry, CellId, CellIndex, Placement, WalletId};

use super::{Regions, Rooms, SINGLE_WALLETS_MAX, bucket_steps, name, plan_of};
use crate::error::{Result, refused, unknown_cell};

pub fn evacuate(placement: &Placement, rooms: &Rooms, regions: &Regions, cell: &CellId, force: bool) -> Result<Plan> {
    let source = placement.cell_named(cell).ok_or_else(|| unknown_cell(cell))?;
    if source.state == CellState::Removed {
        return Err(refused(Refusal::CellRemoved, format!("{cell} owns nothing")));
    }
    let region = regions.of(source);
    let is_other = |other: &&CellEntry| other.index != source.index && regions.of(other) == region;
    let others = placement.cells().iter().filter(is_other);
    let receivers: Vec<_> = others.filter(|other| other.state == CellState::Active && other.weight > 0).collect();
    let buckets: Vec<Bucket> = Bucket::all().filter(|&bucket| placement.owner_of(bucket) == source.index).collect();
    let pinned = pinned_to(placement, source.index);
    if pinned.len() > SINGLE_WALLETS_MAX {
        let detail = format!("{} wallets are pinned to {cell}; at most {SINGLE_WALLETS_MAX} at once", pinned.len());
        return Err(refused(Refusal::TooManyPins, detail));
    }
    if buckets.is_empty() && pinned.is_empty() {
        return Ok(plan_of(placement, vec![], |_, _| String::new()));
    }
    let weights = weights(&receivers, rooms, source, region, force)?;
    let moves = spread(&buckets, &weights);
    let mut steps = bucket_steps(placement, moves)?;
    let best = weights.iter().max_by_key(|&&(_, weight)| weight).expect("a cell has room").0;
    for wallet in pinned {
        // Home to its bucket's owner, where it needs no pin any more.
        let home = placement.owner_of(wallet.bucket());
        let to = if weights.iter().any(|&(index, weight)| index == home && weight > 0) { home } else { best };
        steps.push(Step { piece: Piece::Wallet { wallet }, from: cell.clone(), to: name(placement, to)? });
    }
    let free = |id: &CellId| rooms.get(id).and_then(|room| room.free());
    let why = |_: &CellId, to: &CellId| match free(to) {
        Some(free) => format!("{cell} is to be empty; {to} has room for {free} customers"),
        None => format!("{cell} is to be empty; the room of {to} is not known"),
    };
    Ok(plan_of(placement, steps, why))
}

/// In wallet order. A pin to the owner of its own bucket moves with the bucket.
fn pinned_to(placement: &Placement, cell: CellIndex) -> Vec<WalletId> {
    let pins = placement.pins().iter().filter(|&(_, &to)| to == cell).map(|(&wallet, _)| wallet);
    let mut wallets: Vec<_> = pins.filter(|wallet| placement.owner_of(wallet.bucket()) != cell).collect();
    wallets.sort();
    wallets
}

/// Each receiver with its room; if that is too little and it is meant anyway, with its weight.
fn weights(
    receivers: &[&CellEntry],
    rooms: &Rooms,
    source: &CellEntry,
    region: &str,
    force: bool,
) -> Result<Vec<(CellIndex, u32)>> {
    let cell = &source.id;
    if receivers.is_empty() {
        let there = if region.is_empty() { String::new() } else { format!(" of {region}") };
        let detail = format!("no other active cell{there} has a weight above 0: add one before {cell} is evacuated");
        return Err(refused(Refusal::NoReceiver, detail));
    }
    let free = |other: &CellEntry| rooms.get(&other.id).and_then(|room| room.free());
    let total: u64 = receivers.iter().filter_map(|other| free(other)).sum();
    let needed = rooms.get(cell).and_then(|room| room.customers);
    if needed.is_some_and(|needed| needed <= total) && total > 0 {
        // Halving all keeps their proportion.
        let halvings = (0..64).find(|shift| total >> shift <= u64::from(u32::MAX)).expect("64 halvings leave 0");
        let weight = |room: u64| u32::try_from(room >> halvings).expect("no part is larger than the whole");
        return Ok(receivers.iter().map(|other| (other.index, weight(free(other).unwrap_or(0)))).collect());
    }
    if force {
        return Ok(receivers.iter().map(|other| (other.index, other.weight)).collect());
    }
    let counted = |count: Option<u64>| count.map_or_else(|| "not counted".to_owned(), |count| count.to_string());
    let list: Vec<_> = receivers.iter().map(|other| format!("{}: {}", other.id, counted(free(other)))).collect();
    let detail = format!(
        "customers of {cell}: {}; room of the others: {}. Add a cell, or use --force with a --reason",
        counted(needed),
        list.join(", ")
    );
    Err(refused(Refusal::HeadroomLacking, detail))
}

/// Runs of neighbours stay together: each receiver gets one after the other.
fn spread(buckets: &[Bucket], weights: &[(CellIndex, u32)]) -> Vec<(Bucket, CellIndex)> {
    let shares = fair_shares_of(buckets.len(), weights, |_| 0);
    let targets = shares.into_iter().flat_map(|(cell, share)| std::iter::repeat_n(cell, share));
    buckets.iter().copied().zip(targets).collect()
}
