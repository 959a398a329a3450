//! Marks that are sealed, against a plain map of all of them.

use std::collections::BTreeMap;

use ledger::Timestamp;
use ledger::limits::MARK_BYTES;

use super::*;

const NOW: Timestamp = Timestamp::from_micros(1_760_000_000_000_000);
const SEALING: Sealing = Sealing { marks: 50, forgets: false };
const NOTHING: Known = Known { through: None, latest: None };

fn mark(number: u64) -> Mark {
    let mut bytes = [0; MARK_BYTES];
    bytes[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    Mark(bytes)
}

/// One mark a second, each in a block of its own.
fn made_at(number: u64) -> Timestamp {
    NOW.plus_micros(i64::try_from(number).expect("small") * 1_000_000)
}

/// As a wallet is loaded, and as it goes on from there.
fn seen(loaded: u64, added: u64, sealing: Sealing) -> Seen {
    let mut gathered = Gathered::new(sealing);
    for number in (0..loaded).rev() {
        let (last_at, marks) = (made_at(number), vec![(mark(number), number)]);
        gathered.take(Part { last_at, blocks: number..=number, marks });
    }
    let mut seen = Seen::of(gathered, Timestamp::from_micros(0), false);
    for number in loaded..loaded + added {
        seen.add(made_at(number), mark(number), number);
        seen.seal(sealing);
    }
    seen
}

/// Whether the mark may be in this block, as far as is known.
fn may_be_in(seen: &Seen, mark: Mark, block: u64) -> bool {
    match seen.use_of(mark, Timestamp::from_micros(0), NOTHING) {
        Use::Block(found) => found == block,
        Use::Perhaps(parts) => parts.iter().any(|part| part.contains(&block)),
        Use::Never | Use::Unknown => false,
    }
}

#[test]
fn every_mark_is_held_exactly_or_sealed() {
    for (loaded, added) in [(0, 1_000), (49, 0), (50, 0), (51, 0), (1_000, 0), (777, 333)] {
        let seen = seen(loaded, added, SEALING);
        assert_eq!(seen.marks() as u64, loaded + added);
        for number in 0..loaded + added {
            assert!(may_be_in(&seen, mark(number), number), "{number} of {loaded} and {added}");
        }
        let strangers = (1_000_000..1_010_000)
            .filter(|number| seen.use_of(mark(*number), Timestamp::from_micros(0), NOTHING) != Use::Never);
        assert!(strangers.count() < 30, "a filter is wrong once in 65,536");
    }
}

#[test]
fn the_newest_marks_are_held_exactly() {
    let seen = seen(1_000, 500, SEALING);
    let exact = (0..1_500).filter(|number| seen.use_of(mark(*number), NOW, NOTHING) == Use::Block(*number));
    let exact: Vec<_> = exact.collect();
    assert!(exact.len() >= SEALING.kept() && exact.len() < SEALING.marks + SEALING.kept(), "{}", exact.len());
    assert_eq!(exact.last(), Some(&1_499));
    assert!(exact.windows(2).all(|pair| pair[0] + 1 == pair[1]));
}

#[test]
fn marks_of_one_block_are_sealed_together() {
    let mut seen = Seen::default();
    for number in 0..1_000 {
        seen.add(NOW, mark(number), number / 30);
    }
    seen.seal(SEALING);
    let ends: Vec<_> = seen.sealed.iter().map(|sealed| sealed.blocks.clone()).collect();
    assert!(ends.windows(2).all(|pair| pair[0].end() < pair[1].start()), "{ends:?}");
}

#[test]
fn what_was_looked_up_is_not_looked_up_again() {
    let seen = seen(1_000, 0, SEALING);
    let Use::Perhaps(parts) = seen.use_of(mark(0), NOW, NOTHING) else { panic!("it is sealed") };
    let last = *parts.last().expect("one").end();
    let use_of = |known| seen.use_of(mark(0), NOW, known);
    assert_eq!(use_of(Known::found(last, None)), Use::Never);
    let mut found = Known::found(last, Some(0));
    assert_eq!(use_of(found), Use::Block(0));
    found.discount(0);
    assert_eq!(use_of(found), Use::Never, "it is older than 24 hours");
}

#[test]
fn what_was_discounted_does_not_count_when_it_is_found_again() {
    let mut known = NOTHING;
    known.discount(5);
    known.extend(Known::found(9, Some(5)));
    assert_eq!(known, Known { through: Some(9), latest: None });
    known.extend(Known::found(20, Some(15)));
    known.extend(Known::found(30, None));
    assert_eq!(known, Known { through: Some(30), latest: Some(15) });
}

#[test]
fn a_mark_that_is_made_again_counts_by_its_latest_block() {
    let mut seen = seen(1_000, 0, SEALING);
    let again = 2_000;
    seen.add(made_at(again), mark(0), again);
    assert_eq!(seen.use_of(mark(0), NOW, NOTHING), Use::Block(again));
    let mut known = NOTHING;
    known.discount(again);
    assert_eq!(seen.use_of(mark(0), NOW, known), Use::Never, "all others are older");
}

#[test]
fn a_generation_is_forgotten_when_all_of_it_is_too_old() {
    let mut seen = seen(1_000, 500, SEALING);
    let day = KEY_LIFETIME_MICROS + MARGIN_MICROS;
    let mut bytes = seen.bytes();
    for second in 0..=1_500 {
        let now = made_at(second).plus_micros(day);
        seen.forget_expired(now);
        for number in second..1_500 {
            assert!(may_be_in(&seen, mark(number), number), "{number} at {second}: exactly as old as may be");
        }
        assert!(seen.marks() as u64 <= 1_500 - second + SEALING.marks as u64);
        assert!(seen.bytes() <= bytes);
        bytes = seen.bytes();
    }
    assert_eq!((seen.marks(), seen.sealed.len(), seen.sealed_bytes), (0, 0, 0));
    // A clock that is set back asks for what is not there any more.
    assert_eq!(seen.use_of(mark(0), made_at(0), NOTHING), Use::Unknown);
}

#[test]
fn marks_asked_for_since_a_time_are_not_sought_in_older_generations() {
    let seen = seen(1_000, 0, SEALING);
    assert_eq!(seen.use_of(mark(0), made_at(500), NOTHING), Use::Never);
    assert!(matches!(seen.use_of(mark(500), made_at(500), NOTHING), Use::Perhaps(_)));
}

#[test]
fn equal_marks_are_sealed_too() {
    let mut draft = Draft::default();
    let marks: BTreeMap<u64, Mark> = (0..10).map(|number| (number, mark(number / 5))).collect();
    marks.into_iter().for_each(|(number, mark)| draft.take(NOW, number..=number, [mark]));
    let sealed = draft.seal(SEALING);
    assert!(sealed.may_bear(mark(0)) && sealed.may_bear(mark(1)));
    for count in 0..20 {
        let mut draft = Draft::default();
        draft.take(NOW, 0..=0, (0..count).map(mark));
        let sealed = draft.seal(SEALING);
        assert!((0..count).all(|number| sealed.may_bear(mark(number))), "a small one of {count}");
    }
}

/// The bound that is stated: five million in a day.
#[test]
fn five_million_marks_take_sixteen_megabytes() {
    let limits = crate::sequencer::Limits::default();
    let sealing = limits.sealing;
    let entries = 100;
    let mut gathered = Gathered::new(sealing);
    // Two generations stand for all of them: those of a debug build take a while.
    let loaded = 2 * sealing.marks as u64;
    for block in (0..loaded / entries).rev() {
        let marks = (0..entries).map(|entry| (mark(block * entries + entry), block)).collect();
        gathered.take(Part { last_at: NOW, blocks: block..=block, marks });
    }
    let mut seen = Seen::of(gathered, NOW, false);
    let generation = seen.sealed_bytes as f64 / seen.sealed_marks as f64;
    let mut most = 0;
    for number in loaded..loaded + 2 * sealing.marks as u64 {
        seen.add(NOW, mark(number), number / entries);
        if number % entries == 0 {
            seen.seal(sealing);
        }
        most = most.max(seen.bytes() - seen.sealed_bytes);
    }
    let bytes = generation * limits.marks_per_wallet as f64 + most as f64;
    println!("{generation:.2} bytes a sealed mark, {most} bytes for the newest, {bytes:.0} in all");
    assert!(bytes <= 16e6, "{bytes}");
}

#[test]
fn a_usual_wallet_takes_a_few_hundred_bytes() {
    let mut seen = Seen::default();
    for number in 0..3 {
        seen.add(NOW, mark(number), number);
    }
    println!("{} bytes for 3 marks, and {} of its own", seen.bytes(), size_of::<Seen>());
    assert!(seen.bytes() < 300);
}
