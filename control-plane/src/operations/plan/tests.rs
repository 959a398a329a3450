//! Plans follow from the placement: fewest moves, nothing to a cell that takes nothing, pins left
//! alone.

use topology::placement::{BucketRun, CellState, Pin};
use topology::{BUCKETS, Bucket, CellEntry, CellId, CellIndex, Placement, PlacementUpdate, WalletId};
use uuid::Uuid;

use super::*;
use crate::error::Error;

fn id(number: u16) -> CellId {
    CellId::parse(format!("cell-{number}")).expect("sound")
}

/// Cells 1, 2, … with state, weight and number of buckets, in runs one after the other; then pins.
fn placement(cells: &[(CellState, u32, usize)], pins: &[(WalletId, u16)]) -> Placement {
    let entry = |(number, &(state, weight, _)): (u16, &(CellState, u32, usize))| CellEntry {
        index: CellIndex(number),
        id: id(number),
        state,
        weight,
        instances: vec![],
    };
    let (mut first, mut buckets) = (0, vec![]);
    for (number, &(_, _, owned)) in (1..).zip(cells) {
        if owned > 0 {
            let bounds = (u16::try_from(first).expect("small"), u16::try_from(first + owned - 1).expect("small"));
            buckets.push(BucketRun { first: bounds.0, last: bounds.1, cell: CellIndex(number) });
            first += owned;
        }
    }
    let pin = |&(wallet, cell)| Pin { wallet, cell: Some(CellIndex(cell)) };
    let cells = (1..).zip(cells).map(entry).collect();
    let pins = pins.iter().map(pin).collect();
    Placement::from_full(&PlacementUpdate {
        version: 7,
        base: None,
        intended: true,
        cells,
        buckets,
        pins,
        avoided: vec![],
    })
    .expect("sound")
}

fn wallet(bucket: u16) -> WalletId {
    WalletId::from_uuid(Uuid::from_u128(u128::from(bucket) << 112))
}

fn moved(plan: &Plan) -> Vec<(String, String, usize, usize)> {
    plan.moves.iter().map(|m| (m.from.to_string(), m.to.to_string(), m.buckets, m.wallets)).collect()
}

fn code(result: Result<Plan>) -> String {
    match result {
        Err(Error::Refused(refused)) => refused.refusal.code().into(),
        other => format!("{other:?}"),
    }
}

fn rooms(free: &[(u16, u64, Option<u64>)]) -> Rooms {
    free.iter().map(|&(cell, max_customers, customers)| (id(cell), Room { max_customers, customers })).collect()
}

const QUARTER: usize = BUCKETS / 4;
use CellState::{Active, Draining, Empty, Evacuating, Joining};

#[test]
fn a_rebalance_moves_only_what_it_takes() {
    type Case = (Vec<(CellState, u32, usize)>, Option<usize>, Vec<(u16, u16, usize)>);
    let cases: Vec<Case> = vec![
        (vec![(Active, 1, 2 * QUARTER), (Active, 1, 2 * QUARTER)], None, vec![]),
        (vec![(Active, 1, 4 * QUARTER), (Joining, 1, 0)], None, vec![(1, 2, 2 * QUARTER)]),
        (vec![(Active, 1, 4 * QUARTER), (Joining, 1, 0)], Some(100), vec![(1, 2, 100)]),
        (vec![(Active, 1, 4 * QUARTER), (Active, 3, 0)], None, vec![(1, 2, 3 * QUARTER)]),
        // A drained cell keeps its quarter; the other three are shared.
        (vec![(Draining, 1, QUARTER), (Active, 1, 3 * QUARTER), (Active, 2, 0)], None, vec![(2, 3, 2 * QUARTER)]),
        (vec![(Evacuating, 1, QUARTER), (Active, 1, 3 * QUARTER)], None, vec![(1, 2, QUARTER)]),
        (vec![(Active, 1, 4 * QUARTER), (Empty, 1, 0), (Active, 0, 0)], None, vec![]),
    ];
    for (cells, max_moves, expected) in cases {
        let plan = rebalance(&placement(&cells, &[]), &Regions::default(), max_moves).expect("planned");
        let expected: Vec<_> =
            expected.into_iter().map(|(from, to, n)| (id(from).to_string(), id(to).to_string(), n, 0)).collect();
        assert_eq!(moved(&plan), expected, "{cells:?}");
        assert!(plan.steps.iter().all(|step| sizes([step]).0 <= GROUP_BUCKETS));
        assert_eq!(sizes(&plan.steps).0, expected.iter().map(|step| step.2).sum::<usize>());
    }
    assert_eq!(
        code(rebalance(&placement(&[(Draining, 1, BUCKETS), (Active, 0, 0)], &[]), &Regions::default(), None)),
        "no_weight"
    );
}

#[test]
fn a_rebalance_says_why_and_leaves_pins_alone() {
    let cells = [(Active, 1, 4 * QUARTER), (Joining, 1, 0)];
    let plan = rebalance(&placement(&cells, &[(wallet(5), 2), (wallet(0xffff), 1)]), &Regions::default(), None)
        .expect("planned");
    assert_eq!(plan.moves[0].why, "cell-1 owns 65536 of its share of 32768; cell-2 owns 0 of its share of 32768");
    assert!(plan.steps.iter().all(|step| matches!(step.piece, Piece::Buckets(_))));
}

#[test]
fn an_evacuation_spreads_buckets_and_sends_pins_home() {
    let cells = [(Active, 1, 2 * QUARTER), (Active, 1, QUARTER), (Active, 5, QUARTER), (Draining, 1, 0)];
    // One wallet of cell 2's buckets, one of the evacuated cell's own, and one of its own that lives elsewhere.
    let pins = [(wallet(0x8001), 1), (wallet(1), 1), (wallet(2), 3)];
    let rooms = rooms(&[(1, 100, Some(40)), (2, 100, Some(70)), (3, 100, Some(90)), (4, 100, Some(0))]);
    let plan = evacuate(&placement(&cells, &pins), &rooms, &Regions::default(), &id(1), false).expect("planned");
    let expected = [(2, 3 * QUARTER / 2, 1), (3, QUARTER / 2, 0)];
    let expected = expected.map(|(to, buckets, wallets)| ("cell-1".to_owned(), id(to).to_string(), buckets, wallets));
    assert_eq!(moved(&plan), expected);
    assert_eq!(plan.moves[0].why, "cell-1 is to be empty; cell-2 has room for 30 customers");
}

#[test]
fn an_evacuation_without_room_is_refused_unless_it_is_forced() {
    let cells = placement(&[(Active, 1, 2 * QUARTER), (Active, 1, QUARTER), (Active, 3, QUARTER)], &[]);
    let cases = [
        rooms(&[(1, 100, Some(41)), (2, 100, Some(70)), (3, 100, Some(90))]),
        rooms(&[(1, 100, None), (2, 100, Some(0)), (3, 100, Some(0))]),
        rooms(&[(1, 100, Some(1)), (2, 100, None), (3, 100, None)]),
        rooms(&[(1, 100, Some(0)), (2, 100, Some(100)), (3, 100, Some(100))]),
    ];
    for rooms in cases {
        assert_eq!(code(evacuate(&cells, &rooms, &Regions::default(), &id(1), false)), "headroom_lacking", "{rooms:?}");
        let forced = evacuate(&cells, &rooms, &Regions::default(), &id(1), true).expect("forced");
        assert_eq!(moved(&forced).iter().map(|m| m.2).collect::<Vec<_>>(), [QUARTER / 2, 3 * QUARTER / 2]);
    }
    let alone = placement(&[(Active, 1, BUCKETS), (Active, 0, 0), (Joining, 1, 0)], &[]);
    assert_eq!(code(evacuate(&alone, &rooms(&[]), &Regions::default(), &id(1), true)), "no_receiver");
}

#[test]
fn no_customer_leaves_its_region_by_itself() {
    let cells = [(Active, 1, 2 * QUARTER), (Active, 1, QUARTER), (Joining, 2, 0), (Active, 1, QUARTER), (Active, 1, 0)];
    let in_regions = |names: [&str; 5]| Regions((1..).zip(names).map(|(cell, name)| (id(cell), name.into())).collect());
    let regions = in_regions(["north", "south", "north", "south", "south"]);
    // A wallet of the south, pinned to the north.
    let placement = placement(&cells, &[(wallet(0x9000), 1)]);
    let is_inside = |plan: &Plan| {
        let region = |cell: &CellId| regions.0[cell].clone();
        plan.steps.iter().all(|step| region(&step.from) == region(&step.to))
    };
    let plan = rebalance(&placement, &regions, None).expect("planned");
    assert!(is_inside(&plan));
    let to_third: usize = moved(&plan).iter().filter(|part| part.1 == "cell-3").map(|part| part.2).sum();
    assert_eq!(to_third, 2 * QUARTER * 2 / 3, "two thirds of what the north has");

    let free = rooms(&[(1, 100, Some(40)), (2, 100, Some(1)), (3, 100, Some(1)), (4, 100, Some(1)), (5, 100, Some(1))]);
    assert_eq!(
        code(evacuate(&placement, &free, &regions, &id(1), true)),
        "no_receiver",
        "a joining cell takes nothing"
    );
    let plan = evacuate(&placement, &free, &in_regions(["north", "south", "south", "north", "south"]), &id(1), false);
    let plan = plan.expect("planned");
    assert_eq!(moved(&plan), [("cell-1".into(), "cell-4".into(), 2 * QUARTER, 1)], "the pinned wallet, too");
}

#[test]
fn a_migration_takes_bounded_steps_and_skips_what_is_there() {
    let cells = placement(&[(Active, 1, 100), (Active, 1, BUCKETS - 100), (Empty, 1, 0)], &[]);
    let range = |first, last| BucketRange { first: Bucket(first), last: Bucket(last) };
    let plan = migrate_buckets(&cells, range(0, 300), &id(2)).expect("planned");
    let pieces: Vec<_> = plan.steps.iter().map(|step| step.to_string()).collect();
    assert_eq!(pieces, ["buckets 0000..003f from cell-1 to cell-2", "buckets 0040..0063 from cell-1 to cell-2"]);
    assert!(migrate_wallet(&cells, wallet(5), &id(1)).expect("planned").steps.is_empty());
    assert_eq!(code(migrate_buckets(&cells, range(2, 1), &id(2))), "bad_range");
    assert_eq!(code(migrate_buckets(&cells, range(0, 1), &id(3))), "cell_not_accepting");
    assert_eq!(code(migrate_wallet(&cells, wallet(5), &id(9))), "unknown_cell");
}

#[test]
fn a_reversal_is_the_opposite_and_a_plan_can_be_stale() {
    let before = placement(&[(Active, 1, 100), (Active, 1, BUCKETS - 100)], &[]);
    let after = placement(&[(Draining, 1, 0), (Active, 1, BUCKETS)], &[]);
    let range = BucketRange { first: Bucket(0), last: Bucket(99) };
    let plan = migrate_buckets(&before, range, &id(2)).expect("planned");
    assert!(check_agreed(&plan, Some(&plan.hash)).is_ok());
    let others = migrate_buckets(&before, BucketRange { first: Bucket(0), last: Bucket(98) }, &id(2)).expect("planned");
    assert_eq!(code(check_agreed(&others, Some(&plan.hash)).map(|()| others)), "plan_stale");
    let back = reverse(&after, &plan.steps).expect("planned");
    let pieces: Vec<_> = back.steps.iter().map(|step| step.to_string()).collect();
    assert_eq!(pieces, ["buckets 0040..0063 from cell-2 to cell-1", "buckets 0000..003f from cell-2 to cell-1"]);
    assert_eq!(code(reverse(&before, &plan.steps)), "plan_stale");
}
