//! What is to be done next for an operation, and what a step's end changes in the placement. Pure.
//!
//! It must never publish a bucket's new owner over a third cell's claim: its owner now is the one
//! that the plan said, or the target already.

use control_api::{OperationState, Piece, Refusal, Step};
use topology::placement::{BucketRun, CellState, Pin};
use topology::{Bucket, CellId, CellIndex, Placement, WalletId};

use crate::error::{Error, Result, unknown_cell};
use crate::placement::placements::Delta;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing, until something is asked for.
    Rest,
    Begin,
    /// Carry out the steps that are not done.
    Carry,
    /// All steps are done.
    Finish,
    /// Everything is whole: paused, or aborted with nothing in progress.
    Settle,
    /// Take back the steps that may have been begun.
    TakeBack,
}

pub fn next(state: OperationState, steps_done: u64, steps: u64) -> Next {
    match state {
        OperationState::Planned => Next::Begin,
        OperationState::Running | OperationState::Pausing if steps_done >= steps => Next::Finish,
        OperationState::Running => Next::Carry,
        OperationState::Pausing => Next::Settle,
        OperationState::Aborting if steps_done < steps => Next::TakeBack,
        OperationState::Aborting => Next::Settle,
        OperationState::Paused | OperationState::Done | OperationState::Failed | OperationState::Aborted => Next::Rest,
    }
}

/// What the placement must become once the wallets of these steps are at their targets, each step with its strays;
/// `None`: it is so already.
pub fn publication<'a>(
    placement: &Placement,
    done: impl IntoIterator<Item = (&'a Step, &'a [(WalletId, CellId)])>,
) -> Result<Option<Delta>> {
    let mut delta = Delta { intended: true, ..Delta::default() };
    let mut cells = placement.cells().to_vec();
    for (step, strays) in done {
        let (buckets, pins) = changes(placement, step, strays)?;
        // A cell that was emptied may be given something back by a reversal.
        let become_active: &[CellState] = match (buckets.is_empty(), pins.is_empty()) {
            (true, true) => continue,
            (true, false) => &[CellState::Empty],
            (false, _) => &[CellState::Joining, CellState::Empty],
        };
        for cell in cells.iter_mut().filter(|cell| cell.id == step.to && become_active.contains(&cell.state)) {
            cell.state = CellState::Active;
        }
        delta.buckets.extend(buckets);
        delta.pins.extend(pins);
    }
    delta.cells = (cells != placement.cells()).then_some(cells);
    Ok((!delta.buckets.is_empty() || !delta.pins.is_empty()).then_some(delta))
}

/// The new owners of one step's buckets, and the pins that change with them.
fn changes(placement: &Placement, step: &Step, strays: &[(WalletId, CellId)]) -> Result<(Vec<BucketRun>, Vec<Pin>)> {
    let index = |id: &CellId| placement.cell_named(id).map(|cell| cell.index).ok_or_else(|| unknown_cell(id));
    let (from, to) = (index(&step.from)?, index(&step.to)?);
    match step.piece {
        Piece::Buckets(range) => {
            let strays: Vec<_> =
                strays.iter().map(|(wallet, cell)| Ok((*wallet, index(cell)?))).collect::<Result<_>>()?;
            let owners = placement.owners()[range.first.index()..=range.last.index()].iter();
            if let Some(third) = owners.clone().find(|&&owner| owner != from && owner != to) {
                return Err(owned_by_third(placement, step, *third));
            }
            let run = BucketRun { first: range.first.0, last: range.last.0, cell: to };
            let runs = if owners.clone().any(|&owner| owner != to) { vec![run] } else { vec![] };
            Ok((runs, group_pins(placement, range.first, range.last, (from, to), &strays)))
        }
        Piece::Wallet { wallet } => {
            let now = placement.cell_of(wallet);
            if now != from && now != to {
                return Err(owned_by_third(placement, step, now));
            }
            let owner = placement.owner_of(wallet.bucket());
            let wanted = (owner != to).then_some(to);
            let differs = placement.pins().get(&wallet).copied() != wanted;
            Ok((vec![], if differs { vec![Pin { wallet, cell: wanted }] } else { vec![] }))
        }
    }
}

/// Strays are pinned where they are. A pin to the new owner says nothing any more; nor does one to
/// the old owner, whose wallet came along, but only while that owner has the buckets: later it is a
/// newer decision.
fn group_pins(
    placement: &Placement,
    first: Bucket,
    last: Bucket,
    (from, to): (CellIndex, CellIndex),
    strays: &[(WalletId, CellIndex)],
) -> Vec<Pin> {
    let inside = placement.pins().iter().filter(|(wallet, _)| (first..=last).contains(&wallet.bucket()));
    let stale =
        |wallet: WalletId, cell: CellIndex| cell == to || (cell == from && placement.owner_of(wallet.bucket()) == from);
    let dropped = inside.filter(|&(&wallet, &cell)| stale(wallet, cell)).map(|(&wallet, _)| wallet);
    let mut pins: Vec<_> = dropped
        .filter(|wallet| !strays.iter().any(|(stray, _)| stray == wallet))
        .map(|wallet| Pin { wallet, cell: None })
        .collect();
    let missing = |&(wallet, cell): &(WalletId, CellIndex)| cell != to && placement.pins().get(&wallet) != Some(&cell);
    let strays = strays.iter().copied().filter(missing);
    pins.extend(strays.map(|(wallet, cell)| Pin { wallet, cell: Some(cell) }));
    pins.sort_by_key(|pin| pin.wallet);
    pins
}

/// Whether the placement says already that the step was done.
pub fn is_published(placement: &Placement, step: &Step) -> bool {
    let Some(to) = placement.cell_named(&step.to).map(|cell| cell.index) else { return false };
    match step.piece {
        Piece::Buckets(range) => (range.first.0..=range.last.0).all(|bucket| placement.owner_of(Bucket(bucket)) == to),
        Piece::Wallet { wallet } => placement.cell_of(wallet) == to,
    }
}

/// The placement's pins of wallets in the step's buckets that live neither at its source nor, by that pin, at its
/// bucket's owner: the mover leaves them where they are.
pub fn pins_elsewhere(placement: &Placement, step: &Step) -> Vec<(WalletId, CellId)> {
    let Piece::Buckets(range) = step.piece else { return vec![] };
    let inside = placement.pins().iter().filter(|(wallet, _)| (range.first..=range.last).contains(&wallet.bucket()));
    let mut pins: Vec<_> = inside
        .filter_map(|(&wallet, &cell)| Some((wallet, placement.cell(cell)?.id.clone())))
        .filter(|(_, cell)| cell != &step.from)
        .collect();
    pins.sort();
    pins
}

/// Wallets of the step's buckets that live at its source by a pin.
pub fn pinned_at_source(placement: &Placement, step: &Step) -> Vec<WalletId> {
    let Piece::Buckets(range) = step.piece else { return vec![] };
    let from = placement.cell_named(&step.from).map(|cell| cell.index);
    let there = placement.pins().iter().filter(|&(_, &cell)| Some(cell) == from).map(|(&wallet, _)| wallet);
    there.filter(|wallet| (range.first..=range.last).contains(&wallet.bucket())).collect()
}

/// The list of cells with the state of `id` changed to `to`; `None` if it is none of `from`.
pub fn with_state(
    placement: &Placement,
    id: &CellId,
    from: &[CellState],
    to: CellState,
) -> Option<Vec<topology::CellEntry>> {
    placement.cell_named(id).filter(|cell| from.contains(&cell.state) && cell.state != to)?;
    let mut cells = placement.cells().to_vec();
    for cell in cells.iter_mut().filter(|cell| &cell.id == id) {
        cell.state = to;
    }
    Some(cells)
}

fn owned_by_third(placement: &Placement, step: &Step, third: CellIndex) -> Error {
    let name = placement.cell(third).map_or_else(|| "another cell".to_owned(), |cell| cell.id.to_string());
    Error::Refused(
        Refusal::PlanStale.detail(format!("{step}: {name} owns a part of it now")).titled("Another cell owns it now"),
    )
}

#[cfg(test)]
mod tests {
    use topology::{CellEntry, PlacementUpdate};
    use uuid::Uuid;

    use super::*;
    use OperationState::*;
    use control_api::BucketRange;

    #[test]
    fn what_comes_next_follows_from_the_state_and_the_steps_done() {
        let cases = [
            (Planned, 0, Next::Begin),
            (Running, 0, Next::Carry),
            (Running, 2, Next::Finish),
            (Pausing, 1, Next::Settle),
            (Pausing, 2, Next::Finish),
            (Paused, 1, Next::Rest),
            (Aborting, 1, Next::TakeBack),
            (Aborting, 2, Next::Settle),
            (Failed, 1, Next::Rest),
            (Done, 2, Next::Rest),
            (Aborted, 1, Next::Rest),
        ];
        for (state, done, expected) in cases {
            assert_eq!(next(state, done, 2), expected, "{state:?} {done}");
        }
    }

    fn id(number: u16) -> CellId {
        CellId::parse(format!("cell-{number}")).expect("sound")
    }

    fn wallet(bucket: u16) -> WalletId {
        WalletId::from_uuid(Uuid::from_u128(u128::from(bucket) << 112))
    }

    /// All buckets are cell 1's; cell 2 is joining.
    fn placement(pins: &[(u16, u16)]) -> Placement {
        let cell =
            |number, state| CellEntry { index: CellIndex(number), id: id(number), state, weight: 1, instances: vec![] };
        Placement::from_full(&PlacementUpdate {
            version: 1,
            base: None,
            intended: true,
            cells: vec![cell(1, CellState::Active), cell(2, CellState::Joining), cell(3, CellState::Active)],
            buckets: vec![BucketRun { first: 0, last: 0xffff, cell: CellIndex(1) }],
            pins: pins.iter().map(|&(w, cell)| Pin { wallet: wallet(w), cell: Some(CellIndex(cell)) }).collect(),
            avoided: vec![],
        })
        .expect("sound")
    }

    fn published(placement: &Placement, step: &Step, strays: &[(WalletId, CellId)]) -> Result<Option<Delta>> {
        publication(placement, [(step, strays)])
    }

    fn apply(placement: &Placement, delta: Delta) -> Placement {
        let update = PlacementUpdate {
            version: placement.version() + 1,
            base: Some(placement.version()),
            intended: delta.intended,
            cells: delta.cells.unwrap_or_else(|| placement.cells().to_vec()),
            buckets: delta.buckets,
            pins: delta.pins,
            avoided: vec![],
        };
        placement.updated(&update).expect("sound")
    }

    fn group() -> Step {
        let range = BucketRange { first: Bucket(0), last: Bucket(9) };
        Step { piece: Piece::Buckets(range), from: id(1), to: id(2) }
    }

    #[test]
    fn a_group_is_published_with_its_pins_once() {
        let before = placement(&[(3, 1), (4, 2), (5, 3), (20, 2)]);
        assert_eq!(pins_elsewhere(&before, &group()), [(wallet(4), id(2)), (wallet(5), id(3))]);
        assert!(!is_published(&before, &group()));
        let strays = [(wallet(7), id(3)), (wallet(8), id(2))];
        let delta = published(&before, &group(), &strays).expect("sound").expect("something to do");
        let after = apply(&before, delta);
        assert!(is_published(&after, &group()));
        assert_eq!(after.cell_named(&id(2)).expect("listed").state, CellState::Active, "it owns buckets now");
        let mut pins: Vec<_> = after.pins().iter().map(|(w, cell)| (w.bucket().0, cell.0)).collect();
        pins.sort_unstable();
        assert_eq!(pins, [(5, 3), (7, 3), (20, 2)]);
        assert!(published(&after, &group(), &strays).expect("sound").is_none(), "a repetition changes nothing");
        let pinned_back = Delta { pins: vec![Pin { wallet: wallet(3), cell: Some(CellIndex(1)) }], ..Delta::default() };
        let later = apply(&after, pinned_back);
        assert!(published(&later, &group(), &strays).expect("sound").is_none(), "a newer pin is left alone");
    }

    #[test]
    fn several_steps_are_published_at_once() {
        let before = placement(&[(3, 1), (4, 2), (0x203, 3)]);
        let range = BucketRange { first: Bucket(0x200), last: Bucket(0x207) };
        let steps = [group(), Step { piece: Piece::Buckets(range), from: id(1), to: id(3) }];
        let delta = publication(&before, steps.iter().map(|step| (step, &[][..]))).expect("sound");
        let after = apply(&before, delta.expect("something to do"));
        assert!(steps.iter().all(|step| is_published(&after, step)) && after.pins().is_empty());
        assert_eq!(after.cell_named(&id(2)).expect("listed").state, CellState::Active);
        let rest = publication(&after, steps.iter().map(|step| (step, &[][..]))).expect("sound");
        assert!(rest.is_none(), "a repetition changes nothing");
    }

    #[test]
    fn nothing_is_published_over_a_third_owner() {
        let before = placement(&[]);
        let run = BucketRun { first: 4, last: 4, cell: CellIndex(3) };
        let other = apply(&before, Delta { buckets: vec![run], ..Delta::default() });
        assert!(published(&other, &group(), &[]).is_err());
        let single = Step { piece: Piece::Wallet { wallet: wallet(4) }, ..group() };
        assert!(published(&other, &single, &[]).is_err());
    }

    #[test]
    fn a_wallet_gets_a_pin_or_loses_it_when_it_comes_home() {
        let before = placement(&[]);
        let away = Step { piece: Piece::Wallet { wallet: wallet(4) }, from: id(1), to: id(2) };
        let after = apply(&before, published(&before, &away, &[]).expect("sound").expect("a pin"));
        assert_eq!(after.pins().get(&wallet(4)), Some(&CellIndex(2)));
        assert!(published(&after, &away, &[]).expect("sound").is_none());
        let home = Step { from: id(2), to: id(1), ..away };
        let again = apply(&after, published(&after, &home, &[]).expect("sound").expect("no pin"));
        assert!(again.pins().is_empty() && is_published(&again, &home));
        assert!(published(&again, &home, &[]).expect("sound").is_none());
    }
}
