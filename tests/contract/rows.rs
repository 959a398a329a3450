//! What is derived from blocks: runs of marks, snapshots.

use ledger::limits::RUN_BLOCKS;
use ledger::marks::{Mark, MarkRun, last_of};
use ledger::snapshots::Snapshot;
use ledger::{Money, Timestamp};
use store::{RecordedRuns, Store};

use super::{START, Subject, wallet_in};

pub async fn runs_of_marks_come_newest_first<S: Store>(subject: &Subject<S>) {
    let wallet = wallet_in(0..0x8000);
    let run = |number: u64| MarkRun {
        run: number,
        last_at: START.plus_micros(i64::try_from(number).expect("small") * 1_000),
        marks: (0..RUN_BLOCKS)
            .map(|i| (Mark([u8::try_from(i).expect("a run is shorter"); 11]), number * RUN_BLOCKS + i))
            .collect(),
    };
    let snapshot = |run: &MarkRun| Snapshot {
        at: run.last_at,
        block: last_of(run.run),
        next: last_of(run.run + 1),
        balance: Money::from_minor(run.run),
        hash: ledger::Hash([7; 32]),
    };
    let none = RecordedRuns { runs: vec![], is_all: true };
    assert_eq!(subject.store.mark_runs(wallet, START, 100).await, Ok(none));
    // Over the boundary of a digit, in no order, and one of them twice.
    for number in [9, 2, 10, 11, 100, 9] {
        let run = run(number);
        subject.store.put_run(wallet, &run).await.expect("it answers");
        subject.store.put_snapshots(wallet, &[snapshot(&run)]).await.expect("it answers");
    }
    let since = |number: u64| run(number).last_at;
    let of_each = RUN_BLOCKS as usize;
    for (since, most, expected, is_all) in [
        (Timestamp::from_micros(i64::MIN), usize::MAX, vec![100, 11, 10, 9, 2], true),
        (since(2), 5 * of_each, vec![100, 11, 10, 9, 2], true),
        (since(2).plus_micros(1), 1_000, vec![100, 11, 10, 9], true),
        (since(10), 1_000, vec![100, 11, 10], true),
        (since(100).plus_micros(1), 1_000, vec![], true),
        // Until there are enough marks.
        (since(2), 2 * of_each, vec![100, 11], false),
        (since(2), 2 * of_each + 1, vec![100, 11, 10], false),
        (since(10), 3 * of_each, vec![100, 11, 10], true),
    ] {
        let expected = RecordedRuns { runs: expected.into_iter().map(run).collect(), is_all };
        assert_eq!(subject.store.mark_runs(wallet, since, most).await, Ok(expected));
    }
}

pub async fn the_latest_snapshot_before_a_time_is_found<S: Store>(subject: &Subject<S>) {
    let wallet = wallet_in(0..0x8000);
    let snapshot = |seconds: i64, block: u64| Snapshot {
        at: START.plus_micros(seconds * 1_000_000),
        block,
        next: block + 64,
        balance: Money::from_minor(block),
        hash: ledger::Hash([9; 32]),
    };
    // Two blocks may bear the same time: the later one counts.
    let all = [snapshot(10, 63), snapshot(20, 127), snapshot(20, 191), snapshot(30, 255)];
    subject.store.put_snapshots(wallet, &all).await.expect("it answers");
    let moment = |seconds: i64| START.plus_micros(seconds * 1_000_000);
    for (at, expected) in [
        (Timestamp::from_micros(0), None),
        (moment(10).plus_micros(-1), None),
        (moment(10), Some(all[0])),
        (moment(20).plus_micros(-1), Some(all[0])),
        (moment(20), Some(all[2])),
        (moment(29), Some(all[2])),
        (moment(30), Some(all[3])),
        (moment(1_000_000), Some(all[3])),
    ] {
        assert_eq!(subject.store.snapshot_before(wallet, at).await, Ok(expected), "{at}");
    }
    assert_eq!(subject.store.snapshot_before(wallet_in(0..1), moment(30)).await, Ok(None));
}
