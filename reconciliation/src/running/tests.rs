//! Books that follow blocks in whatever order, at one cut after another.

use ledger::{Entry, EntryKind, Money, chain};
use topology::UserId;
use uuid::Uuid;

use super::*;

const START: i64 = 1_760_000_000_000_000;
/// A deposit of each wallet.
const AMOUNT: u64 = 100;

fn cell(name: &str) -> CellId {
    CellId::parse(name).expect("sound")
}

fn wallet(number: usize) -> WalletId {
    WalletId::for_user(Uuid::from_u128(7), &UserId::parse(format!("user-{number}")).expect("sound"))
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(START + seconds * 1_000_000)
}

/// A wallet of cell-1 with a deposit, made at this time.
fn funded(number: usize, seconds: i64) -> [Block; 2] {
    let id = |part: u128| Uuid::from_u128(number as u128 * 8 + part);
    let opened = Entry::new(id(0), EntryKind::Opened, Money::ZERO, Money::ZERO);
    let first = chain::open(wallet(number), cell("cell-1"), at(seconds), opened, None);
    [first.clone(), next(&first, EntryKind::Deposit, id(1), AMOUNT, AMOUNT, seconds)]
}

fn next(before: &Block, kind: EntryKind, id: Uuid, amount: u64, balance: u64, seconds: i64) -> Block {
    let entry = Entry::new(id, kind, Money::from_minor(amount), Money::from_minor(balance));
    let mut state = before.state.clone();
    state.balance = Money::from_minor(balance);
    chain::next(&before.head(), state, vec![entry], at(seconds))
}

fn sums(books: &Books) -> (u64, u64, i128, usize) {
    (books.balances, books.in_flight, books.difference, books.faults.len())
}

#[test]
fn blocks_count_once_in_their_order_whenever_they_come() {
    let [first, second] = funded(1, 0);
    let third = next(&second, EntryKind::Withdrawal, Uuid::from_u128(100), 30, 70, 5);
    let mut running = Running::default();
    running.take(&third);
    assert_eq!(sums(&running.close(at(9))), (0, 0, 0, 0), "the blocks below it are missing");
    for block in [&second, &first, &second, &third] {
        running.take(block);
    }
    assert_eq!(sums(&running.close(at(9))), (70, 0, 0, 0));
    running.take(&third);
    assert_eq!(sums(&running.close(at(9))), (70, 0, 0, 0), "a copy of another cell");
}

#[test]
fn what_is_newer_than_the_cut_does_not_count_yet() {
    let [first, second] = funded(1, 0);
    let third = next(&second, EntryKind::Withdrawal, Uuid::from_u128(100), 30, 70, 5);
    let mut running = Running::default();
    [&first, &second, &third].into_iter().for_each(|block| running.take(block));
    assert_eq!(running.close(at(4)).balances, 100);
    assert_eq!(running.close(at(5)).balances, 70);
}

#[test]
fn a_transfer_is_in_flight_until_both_chains_have_it() {
    let (payer, payee) = (funded(1, 0), funded(2, 0));
    let id = Uuid::from_u128(100);
    let sent = next(&payer[1], EntryKind::TransferOut { to: wallet(2), reverses: None }, id, 30, 70, 1);
    let received = next(&payee[1], EntryKind::TransferIn { from: wallet(1) }, id, 30, 130, 2);
    let settled = EntryKind::TransferSettled { transfer: id };
    let settled = next(&sent, settled, Uuid::from_u128(101), 0, 70, 3);
    let mut running = Running::default();
    payer.iter().chain(&payee).chain([&sent, &received, &settled]).for_each(|block| running.take(block));
    let expected = [(0, (200, 0)), (1, (170, 30)), (2, (200, 0)), (3, (200, 0))];
    for (seconds, (balances, in_flight)) in expected {
        assert_eq!(sums(&running.close(at(seconds))), (balances, in_flight, 0, 0), "after {seconds} s");
    }
    assert!(running.open.is_empty(), "what has ended is remembered in sums only");
}

#[test]
fn what_was_settled_and_never_arrived_is_lost() {
    let (payer, payee) = (funded(1, 0), funded(2, 0));
    let id = Uuid::from_u128(100);
    let sent = next(&payer[1], EntryKind::TransferOut { to: wallet(2), reverses: None }, id, 30, 70, 1);
    let settled = EntryKind::TransferSettled { transfer: id };
    let settled = next(&sent, settled, Uuid::from_u128(101), 0, 70, 3);
    let mut running = Running::default();
    payer.iter().chain(&payee).chain([&sent, &settled]).for_each(|block| running.take(block));
    assert_eq!(sums(&running.close(at(3))), (170, 0, -30, 1));
}

/// What a cut costs does not depend on how many wallets there are. `WALLET_WALLETS=1000000` shows it.
#[test]
fn a_cut_costs_what_has_changed() {
    let wallets = std::env::var("WALLET_WALLETS").ok().and_then(|text| text.parse().ok()).unwrap_or(2_000);
    let mut running = Running::default();
    for number in 0..wallets {
        funded(number, 0).iter().for_each(|block| running.take(block));
        if number % 10_000 == 0 {
            running.close(at(0));
        }
    }
    running.close(at(0));
    let changed = (0..200).map(|number| {
        let [_, second] = funded(number, 0);
        next(&second, EntryKind::Deposit, Uuid::from_u128(number as u128 * 8 + 2), AMOUNT, 2 * AMOUNT, 1)
    });
    changed.for_each(|block| running.take(&block));
    let began = std::time::Instant::now();
    let books = running.close(at(1));
    eprintln!("a cut of {wallets} wallets, 200 of them changed: {:?}", began.elapsed());
    assert_eq!(sums(&books), ((wallets as u64 + 200) * AMOUNT, 0, 0, 0));
    assert_eq!(running.wallets(), wallets);
}
