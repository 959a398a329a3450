//! The simulator's seeds that every change must pass, and the proof that it would find a mistake.

use ledger::store::memory::Mutation;
use tests::simulation::{Size, run};

const SEEDS: u64 = 200;
/// Seeds within which each deliberate mistake must be found.
const SEEDS_FOR_A_MISTAKE: u64 = 50;

#[test]
fn no_seed_breaks_an_invariant() {
    for seed in 0..SEEDS {
        if let Err(violation) = run(seed, Size::default(), Mutation::None) {
            panic!("seed {seed}: {}", violation.0);
        }
    }
}

#[test]
fn a_seed_replays() {
    let size = Size::default();
    assert_eq!(run(7, size, Mutation::None), run(7, size, Mutation::None));
}

fn finds(mistake: Mutation) {
    let found = (0..SEEDS_FOR_A_MISTAKE).find_map(|seed| {
        let run = std::panic::catch_unwind(|| run(seed, Size::default(), mistake));
        // A client that is told what cannot be, or an assertion that fires, is a find as well.
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
    finds(Mutation::NoCondition);
}

#[test]
fn a_forgotten_row_of_a_received_transfer_is_found() {
    finds(Mutation::ForgetInRow);
}

#[test]
fn an_answer_before_the_write_is_found() {
    finds(Mutation::AnswerFirst);
}
