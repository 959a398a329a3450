//! What is derived from blocks: runs of marks, snapshots.

use ledger::limits::RUN_BLOCKS;
use ledger::marks::{Mark, MarkRun, last_of};
use ledger::snapshots::Snapshot;
use ledger::{Money, Timestamp};
use store::{RunPage, Store};

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
    let none = RunPage { runs: vec![], more: false };
    assert_eq!(subject.store.mark_runs(wallet, 0..=u64::MAX).await, Ok(none));
    // Over the boundary of a digit, in no order, and one of them twice.
    for number in [9, 2, 10, 11, 100, 9] {
        let run = run(number);
        subject.store.put_run(wallet, &run).await.expect("it answers");
        subject.store.put_snapshots(wallet, &[snapshot(&run)]).await.expect("it answers");
    }
    for (asked, expected) in [
        (0..=u64::MAX, vec![100, 11, 10, 9, 2]),
        (3..=100, vec![100, 11, 10, 9]),
        (9..=99, vec![11, 10, 9]),
        (10..=10, vec![10]),
        (12..=99, vec![]),
    ] {
        let expected = RunPage { runs: expected.into_iter().map(run).collect(), more: false };
        assert_eq!(subject.store.mark_runs(wallet, asked).await, Ok(expected));
    }
}

pub async fn runs_that_fill_a_page_come_with_more<S: Store>(subject: &Subject<S>) {
    let wallet = wallet_in(0..0x8000);
    let marks: Vec<_> = (0..30_000).map(|i| (Mark([7; 11]), i % RUN_BLOCKS)).collect();
    let runs = 10;
    for run in 0..runs {
        let marks = marks.iter().map(|(mark, place)| (*mark, run * RUN_BLOCKS + place)).collect();
        subject.store.put_run(wallet, &MarkRun { run, last_at: START, marks }).await.expect("it answers");
    }
    let (mut next, mut pages) = (Some(runs - 1), 0);
    while let Some(last) = next {
        let page = subject.store.mark_runs(wallet, 0..=last).await.expect("it answers");
        for run in &page.runs {
            assert_eq!((Some(run.run), run.marks.len()), (next, marks.len()), "none is left out");
            next = run.run.checked_sub(1);
        }
        assert!(page.more || next.is_none(), "{page:?}");
        pages += 1;
    }
    assert!(pages <= runs, "{pages} pages");
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
