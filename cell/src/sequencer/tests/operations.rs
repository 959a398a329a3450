//! Holds, reversals and batches: what they share a block with, and what they answer.

use ledger::limits::MAX_BATCH_OPERATIONS;
use ledger::{ItemOutcome, Note};

use super::*;
use crate::sequencer::{Batch, BatchItem};

fn hold(amount: u64, lasts_micros: i64) -> Work {
    let expires_at = NOW.plus_micros(lasts_micros);
    Work::Alone(Intent::Hold { amount: Money::from_minor(amount), expires_at })
}

fn batch(is_atomic: bool, works: &[Work]) -> Work {
    let item = |work: &Work| match work {
        Work::Alone(intent) => BatchItem {
            intent: intent.clone(),
            key: None,
            note: Note::default(),
            before: None,
            known: Known::default(),
        },
        other => panic!("{other:?} is no operation of a batch"),
    };
    Work::Batch(Batch { is_atomic, items: works.iter().map(item).collect() })
}

impl Bench {
    fn head(&self, of: u128) -> &Block {
        self.chains[&wallet(of)].last().expect("block 0")
    }

    /// Submits and goes on until it is answered.
    fn finish(&mut self, of: u128, work: Work) -> Reply {
        let id = self.submit(of, work);
        self.settle();
        self.replies[&id].clone()
    }

    fn settle(&mut self) {
        self.pump();
        while !self.loads.is_empty() || !self.commits.is_empty() {
            if self.loads.is_empty() {
                self.commit();
            } else {
                self.load();
            }
        }
    }
}

fn outcomes(reply: &Reply) -> Vec<ItemOutcome> {
    match reply {
        Reply::Done { block, entry, .. } => match &block.entries[*entry].kind {
            EntryKind::Batch { outcomes } => outcomes.clone(),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_on_hold_cannot_be_spent_and_is_captured_once() {
    let mut bench = Bench::new(Limits::default(), &[100]);
    let Reply::Done { block, entry, .. } = bench.finish(0, hold(70, 1_000)) else { panic!("refused") };
    let placed = block.entries[entry].id;
    assert_eq!(block.state.available_at(NOW), Money::from_minor(30));
    let refusal = |amount: u64| Refusal::InsufficientBalance {
        available: Money::from_minor(30),
        amount: Money::from_minor(amount),
    };
    assert_eq!(bench.finish(0, withdraw(31)), Reply::Refused { wallet: wallet(0), refusal: refusal(31) });
    let capture = |amount| Work::Alone(Intent::Capture { hold: placed, amount });
    let above = Refusal::AboveHold { held: Money::from_minor(70), amount: Money::from_minor(71) };
    let too_much = bench.finish(0, capture(Some(Money::from_minor(71))));
    assert_eq!(too_much, Reply::Refused { wallet: wallet(0), refusal: above });
    assert!(matches!(bench.finish(0, capture(Some(Money::from_minor(50)))), Reply::Done { .. }));
    let state = &bench.head(0).state;
    assert_eq!((state.balance.minor(), state.available_at(NOW).minor()), (50, 50), "the rest is free again");
    let again = bench.finish(0, capture(None));
    assert_eq!(again, Reply::Refused { wallet: wallet(0), refusal: Refusal::NoOpenHold });
}

#[test]
fn a_hold_that_is_over_ends_before_anything_else_is_decided() {
    let mut bench = Bench::new(Limits::default(), &[100, 0]);
    let Reply::Done { block, entry, .. } = bench.finish(0, hold(70, 5)) else { panic!("refused") };
    let placed = block.entries[entry].id;
    bench.now = NOW.plus_micros(5);
    let capture = bench.submit(0, Work::Alone(Intent::Capture { hold: placed, amount: None }));
    let spend = bench.submit(0, pay(1, 100));
    bench.settle();
    assert_eq!(bench.replies[&capture], Reply::Refused { wallet: wallet(0), refusal: Refusal::NoOpenHold });
    assert!(bench.done(spend));
    let entries = bench.chains[&wallet(0)].iter().flat_map(|block| &block.entries);
    let names: Vec<_> = entries.map(|entry| entry.kind.name()).collect();
    assert_eq!(names, ["OPENED", "DEPOSIT", "HOLD_PLACED", "HOLD_EXPIRED", "TRANSFER_OUT"]);
}

#[test]
fn a_batch_is_one_block_and_says_what_became_of_each() {
    let mut bench = Bench::new(Limits::default(), &[100]);
    let works = [withdraw(90), withdraw(20), deposit(5), withdraw(15)];
    let reply = bench.finish(0, batch(false, &works));
    let refused = ItemOutcome::InsufficientBalance;
    assert_eq!(outcomes(&reply), [ItemOutcome::Done, refused, ItemOutcome::Done, ItemOutcome::Done]);
    assert_eq!(bench.head(0).entries.len(), 4, "the batch's own, and one for each that is done");
    assert_eq!(bench.head(0).state.balance, Money::ZERO);
}

#[test]
fn an_atomic_batch_is_all_or_nothing() {
    let mut bench = Bench::new(Limits::default(), &[100]);
    let reply = bench.finish(0, batch(true, &[withdraw(90), withdraw(20)]));
    let refusal = Refusal::InsufficientBalance { available: Money::from_minor(10), amount: Money::from_minor(20) };
    assert_eq!(reply, Reply::ItemRefused { item: 1, refusal });
    assert_eq!(bench.head(0).state.balance, Money::from_minor(100));
    assert!(matches!(bench.finish(0, batch(true, &[withdraw(80), withdraw(20)])), Reply::Done { .. }));
}

#[test]
fn the_largest_batch_has_a_block_for_itself_and_what_came_before_goes_before() {
    let mut bench = Bench::new(Limits::default(), &[0]);
    let before = bench.submit(0, deposit(1));
    let large = bench.submit(0, batch(true, &vec![deposit(1); MAX_BATCH_OPERATIONS]));
    let after = bench.submit(0, deposit(1));
    bench.settle();
    assert!([before, large, after].into_iter().all(|id| bench.done(id)));
    let chain = &bench.chains[&wallet(0)];
    let sizes: Vec<_> = chain.iter().skip(1).map(|block| block.entries.len()).collect();
    assert_eq!(sizes, [2, MAX_BATCH_OPERATIONS + 1], "what fits shares the first block");
}

#[test]
fn keys_of_a_batch_and_of_its_operations_are_found_again() {
    let mut bench = Bench::new(Limits::default(), &[0]);
    let keyed = |byte: u8| {
        let Work::Batch(mut keyed) = batch(true, &[deposit(1), deposit(2)]) else { unreachable!() };
        keyed.items[1].key = Some(Key { key: [byte; 16], request: [byte; 16] });
        Work::Batch(keyed)
    };
    let first = bench.submit_keyed(0, keyed(7), Some(1));
    bench.settle();
    assert!(bench.done(first));
    let whole = bench.submit_keyed(0, keyed(7), Some(1));
    let part = bench.submit_keyed(0, keyed(7), Some(2));
    let other = bench.submit_keyed(0, keyed(8), Some(3));
    bench.settle();
    let block = bench.chains[&wallet(0)].iter().find(|block| block.entries.len() == 3).expect("written").number;
    assert_eq!(bench.replies[&whole], Reply::SeenKeys { block: Some(block), items: vec![(1, block)] });
    assert_eq!(bench.replies[&part], Reply::SeenKeys { block: None, items: vec![(1, block)] });
    assert!(bench.done(other));
}

#[test]
fn what_was_done_under_an_operations_own_key_is_not_done_again() {
    let mut bench = Bench::new(Limits::default(), &[0]);
    let Work::Batch(mut known) = batch(true, &[deposit(1), deposit(2)]) else { unreachable!() };
    known.items[0].before = Some(ItemOutcome::DoneBefore);
    let reply = bench.finish(0, Work::Batch(known));
    assert_eq!(outcomes(&reply), [ItemOutcome::DoneBefore, ItemOutcome::Done]);
    assert_eq!(bench.head(0).state.balance, Money::from_minor(2));
}
