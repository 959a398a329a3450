//! The simulator's seeds that every change must pass, and the proof that it would find a mistake.

use cell::sequencer;
use simulation::{Mistake, Size, run};
use store::memory::Mutation;

/// A few: `simulate` runs many.
const SEEDS: u64 = 20;
/// Seeds within which each deliberate mistake must be found.
const SEEDS_FOR_A_MISTAKE: u64 = 200;

#[test]
fn no_seed_breaks_an_invariant() {
    for seed in 0..SEEDS {
        if let Err(violation) = run(seed, Size::default(), Mistake::None) {
            panic!("seed {seed}: {}", violation.0);
        }
    }
}

#[test]
fn a_seed_replays() {
    let size = Size::default();
    // One without archives; with them, one with packs, and one in which a cell is refilled from its archive.
    for seed in [7, 5, 12] {
        assert_eq!(run(seed, size, Mistake::None), run(seed, size, Mistake::None));
    }
}

fn finds(mistake: Mistake) {
    finds_in(Size::default(), mistake);
}

fn finds_in(size: Size, mistake: Mistake) {
    let found = (0..SEEDS_FOR_A_MISTAKE).find_map(|seed| {
        let run = std::panic::catch_unwind(|| run(seed, size, mistake));
        // A client that gets an impossible answer, or an assertion that fires, is a find as well.
        match run {
            Ok(Ok(_)) => None,
            Ok(Err(violation)) => Some((seed, violation.0)),
            Err(_) => Some((seed, "an assertion fired".to_owned())),
        }
    });
    let (seed, words) = found.unwrap_or_else(|| panic!("{mistake:?} was not found in {SEEDS_FOR_A_MISTAKE} seeds"));
    println!("{mistake:?} found by seed {seed}: {words}");
}

#[test]
fn an_append_without_its_condition_is_found() {
    finds(Mistake::Store(Mutation::NoCondition));
}

#[test]
fn an_answer_before_the_write_is_found() {
    finds(Mistake::Store(Mutation::AnswerFirst));
}

#[test]
fn a_cutover_without_its_condition_is_found() {
    finds(Mistake::Movers(Mutation::NoCondition));
}

#[test]
fn purging_before_late_writes_are_void_is_found() {
    finds(Mistake::NoFence);
}

#[test]
fn a_write_decided_on_an_old_head_is_found() {
    // A process that is killed while it is stopped sends nothing.
    finds_in(Size { kills: 4, ..Size::default() }, Mistake::Store(Mutation::NoSignBy));
}

#[test]
fn a_write_by_a_clock_an_hour_off_is_found() {
    finds(Mistake::ClockUnchecked);
}

#[test]
fn a_rewound_cell_that_asks_no_other_cell_is_found() {
    finds(Mistake::RestoredAlone);
}

#[test]
fn a_credit_that_is_answered_before_it_is_received_is_found() {
    finds(Mistake::CreditAnsweredFirst);
}

#[test]
fn a_refusal_that_is_not_recorded_is_found() {
    finds(Mistake::RefusalUnrecorded);
}

#[test]
fn a_transfer_that_is_settled_twice_is_found() {
    finds(Mistake::Sequencers(sequencer::Mutation::SettledTwice));
}

#[test]
fn a_credit_of_a_wallet_that_has_moved_is_found() {
    finds(Mistake::Sequencers(sequencer::Mutation::HomeIgnored));
}

#[test]
fn a_copy_that_is_served_before_all_of_it_is_there_is_found() {
    finds(Mistake::Movers(Mutation::AnswerFirst));
}

#[test]
fn a_pack_that_is_lost_is_found() {
    finds_in(LONG, Mistake::PackLost);
}

#[test]
fn a_newest_block_that_is_packed_is_found() {
    finds_in(LONG, Mistake::NewestPacked);
}

#[test]
fn an_archiver_that_is_behind_its_position_is_found() {
    finds(Mistake::Archivers(Mutation::PositionAhead));
}

#[test]
fn an_entry_of_a_log_that_is_replaced_is_found() {
    finds(Mistake::EntryReplaced);
}

#[test]
fn an_owner_that_stays_in_an_archive_is_found() {
    finds(Mistake::OwnersKept);
}

#[test]
fn a_filter_that_forgets_is_found() {
    finds(Mistake::FilterForgets);
}

/// Long chains, so that repetitions come when there are full runs.
const LONG: Size = Size { wallets: 2, operations_per_client: 120, kills: 40, clients: 8, planners: 2 };

#[test]
fn deciding_without_the_marks_of_recorded_runs_is_found() {
    finds_in(LONG, Mistake::Store(Mutation::EmptyRuns));
}

#[test]
fn a_run_that_counts_as_recorded_too_early_is_found() {
    finds_in(LONG, Mistake::Store(Mutation::EarlyRuns));
}
