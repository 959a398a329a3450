//! The rules of a chain: how the next block is made, and how any block is checked against the one before it.

use topology::{CellId, WalletId};

use crate::block::{Block, Entry, EntryKind, Hash, Head};
use crate::canonical;
use crate::limits::MAX_ENTRIES_PER_BLOCK;
use crate::personal::Sealed;
use crate::state::{Impossible, WalletState};
use crate::time::Timestamp;

/// What is wrong with a block, seen from the block before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainFault {
    #[error("block {found} where {expected} was due")]
    Number { expected: u64, found: u64 },
    #[error("block {0} belongs to another wallet")]
    Identity(u64),
    #[error("block {0} does not name its predecessor's hash")]
    Previous(u64),
    #[error("block {0} is not what its hash says")]
    Hash(u64),
    #[error("block {0} is older than its predecessor")]
    Time(u64),
    #[error("block {number}, entry {entry}: the balance does not follow")]
    Balance { number: u64, entry: usize },
    #[error("block {number}, entry {entry}: not possible in the wallet's state")]
    Status { number: u64, entry: usize },
    #[error("block {0}: the state after it is not that of its last entry")]
    State(u64),
    #[error("block {0} changes its home without a move, or moves without changing it")]
    Home(u64),
    #[error("block {0} has no entry, or too many")]
    Entries(u64),
}

/// Block 0 of a new wallet: an empty, active wallet with one `Opened` entry.
pub fn open(wallet: WalletId, home: CellId, at: Timestamp, opened: Entry, sealed: Option<Sealed>) -> Block {
    let (state, previous, entries) = (WalletState::new(at), Hash::ZERO, vec![opened]);
    hashed(Block { wallet, number: 0, previous, at, home, state, entries, sealed, hash: Hash::ZERO })
}

/// The block after `head`: `entries` decided in order, `state` being the running state after the last; without a
/// personal part.
pub fn next(head: &Head, state: WalletState, entries: Vec<Entry>, now: Timestamp) -> Block {
    next_sealed(head, state, entries, None, now)
}

/// The same with a personal part.
pub fn next_sealed(
    head: &Head,
    state: WalletState,
    entries: Vec<Entry>,
    sealed: Option<Sealed>,
    now: Timestamp,
) -> Block {
    let home = entries.iter().rev().find_map(moved_to).unwrap_or(&head.home).clone();
    hashed(Block {
        wallet: head.wallet,
        number: head.next_number(),
        previous: head.hash,
        at: now.max(head.at),
        home,
        state,
        entries,
        sealed,
        hash: Hash::ZERO,
    })
}

fn hashed(mut block: Block) -> Block {
    block.hash = canonical::hash(&canonical::encode(&block));
    block
}

fn moved_to(entry: &Entry) -> Option<&CellId> {
    match &entry.kind {
        EntryKind::Moved { to, .. } => Some(to),
        EntryKind::Opened
        | EntryKind::Deposit
        | EntryKind::Withdrawal
        | EntryKind::TransferOut { .. }
        | EntryKind::TransferIn { .. }
        | EntryKind::TransferSettled { .. }
        | EntryKind::TransferReturned { .. }
        | EntryKind::TransferRefused { .. }
        | EntryKind::Frozen
        | EntryKind::Unfrozen
        | EntryKind::Closed
        | EntryKind::Erased
        | EntryKind::HoldPlaced { .. }
        | EntryKind::HoldCaptured { .. }
        | EntryKind::HoldVoided { .. }
        | EntryKind::HoldExpired { .. }
        | EntryKind::DepositReversed { .. }
        | EntryKind::WithdrawalReversed { .. }
        | EntryKind::Batch { .. } => None,
    }
}

/// Checks `block` against its predecessor (`None`: it must be block 0), entry by entry.
///
/// What spans more than one link is not seen here: that a settled or returned transfer was open, and that nothing is done
/// twice, is decided with what [`crate::open`] and [`crate::marks`] know, and checked over whole chains by
/// `store::verify` and `scripts/verify-chain`.
pub fn verify(previous: Option<&Head>, block: &Block) -> Result<(), ChainFault> {
    let number = block.number;
    let expected = previous.map_or(0, |head| head.number.saturating_add(1));
    if number != expected {
        return Err(ChainFault::Number { expected, found: number });
    }
    if block.previous != previous.map_or(Hash::ZERO, |head| head.hash) {
        return Err(ChainFault::Previous(number));
    }
    if canonical::hash(&canonical::encode(block)) != block.hash {
        return Err(ChainFault::Hash(number));
    }
    if previous.is_some_and(|head| block.at < head.at) {
        return Err(ChainFault::Time(number));
    }
    // Block 0 holds its `Opened` entry and nothing else.
    let most = if previous.is_none() { 1 } else { MAX_ENTRIES_PER_BLOCK };
    if block.entries.is_empty() || block.entries.len() > most {
        return Err(ChainFault::Entries(number));
    }
    verify_identity(previous, block)?;
    verify_entries(previous, block)?;
    verify_home(previous, block)
}

fn verify_identity(previous: Option<&Head>, block: &Block) -> Result<(), ChainFault> {
    let same = match previous {
        None => block.state.created_at == block.at,
        Some(head) => head.wallet == block.wallet && head.state.created_at == block.state.created_at,
    };
    same.then_some(()).ok_or(ChainFault::Identity(block.number))
}

fn verify_entries(previous: Option<&Head>, block: &Block) -> Result<(), ChainFault> {
    let number = block.number;
    let first = || WalletState::new(block.state.created_at);
    let mut state = previous.map_or_else(first, |head| head.state.clone());
    for (position, entry) in block.entries.iter().enumerate() {
        let opens = matches!(entry.kind, EntryKind::Opened);
        if opens != (previous.is_none() && position == 0) {
            return Err(ChainFault::Status { number, entry: position });
        }
        match state.apply(entry.id, &entry.kind, entry.amount, (number, block.at)) {
            Ok(()) if state.balance == entry.balance_after => {}
            Ok(()) | Err(Impossible::Amount) => return Err(ChainFault::Balance { number, entry: position }),
            Err(Impossible::State) => return Err(ChainFault::Status { number, entry: position }),
        }
    }
    // The lowest block with an open transfer may have become a higher one: which, only the whole chain tells.
    if state.open_count > 0 && (state.open_since..=number).contains(&block.state.open_since) {
        state.open_since = block.state.open_since;
    }
    (block.state == state).then_some(()).ok_or(ChainFault::State(number))
}

fn verify_home(previous: Option<&Head>, block: &Block) -> Result<(), ChainFault> {
    let Some(head) = previous else { return Ok(()) };
    let mut home = &head.home;
    for entry in &block.entries {
        if let EntryKind::Moved { from, to, .. } = &entry.kind {
            if from != home || to == home {
                return Err(ChainFault::Home(block.number));
            }
            home = to;
        }
    }
    (home == &block.home).then_some(()).ok_or(ChainFault::Home(block.number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::{Intent, decide, expiry};
    use crate::money::Money;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn entry(kind: EntryKind, amount: Money, balance_after: Money) -> Entry {
        Entry::new(Uuid::from_u128(1), kind, amount, balance_after)
    }

    fn opened() -> Block {
        open(
            WalletId::from_uuid(Uuid::from_u128(9)),
            CellId::parse("cell-1").expect("sound"),
            Timestamp::from_micros(1_000),
            entry(EntryKind::Opened, Money::ZERO, Money::ZERO),
            None,
        )
    }

    fn any_intent() -> impl Strategy<Value = Intent> {
        let amount = (1..=Money::MAX_AMOUNT.minor()).prop_map(Money::from_minor);
        prop_oneof![
            amount.clone().prop_map(|amount| Intent::Deposit { amount }),
            amount.clone().prop_map(|amount| Intent::Withdraw { amount }),
            (amount.clone(), 0..20_i64)
                .prop_map(|(amount, after)| Intent::Hold { amount, expires_at: Timestamp::from_micros(1_000 + after) }),
            (0..40_u128, proptest::option::of(amount.clone()))
                .prop_map(|(hold, amount)| Intent::Capture { hold: Uuid::from_u128(hold), amount }),
            (0..40_u128).prop_map(|hold| Intent::Void { hold: Uuid::from_u128(hold) }),
            amount.clone().prop_map(|amount| Intent::ReverseDeposit { of: Uuid::from_u128(77), amount }),
            amount.prop_map(|amount| Intent::ReverseWithdrawal { of: Uuid::from_u128(78), amount }),
            Just(Intent::Freeze),
            Just(Intent::Unfreeze),
            Just(Intent::Close),
            Just(Intent::Erase),
        ]
    }

    proptest! {
        /// Whatever is asked, in whatever batches: what `decide` allows makes a chain that verifies.
        #[test]
        fn every_decided_chain_verifies(batches in proptest::collection::vec(proptest::collection::vec(any_intent(), 1..8), 1..8)) {
            let mut head = opened();
            verify(None, &head).expect("block 0");
            let mut id = 0;
            for (step, batch) in batches.iter().enumerate() {
                let (mut state, mut entries) = (head.state.clone(), vec![]);
                // Now and then the clock goes back a little: a block is never older than its predecessor.
                let now = Timestamp::from_micros(1_000 + [5, 3, 9, 8][step % 4] + step as i64);
                let at = now.max(head.at);
                for intent in batch {
                    let place = (head.number + 1, at);
                    while let Some((kind, amount)) = expiry(&state, at) {
                        id += 1;
                        state.apply(Uuid::from_u128(id), &kind, amount, place).expect("it has expired");
                        entries.push(Entry { id: Uuid::from_u128(id), ..entry(kind, amount, state.balance) });
                    }
                    if let Ok((kind, amount)) = decide(&state, intent, at) {
                        id += 1;
                        state.apply(Uuid::from_u128(id), &kind, amount, place).expect("decide and the chain rules agree");
                        entries.push(Entry { id: Uuid::from_u128(id), ..entry(kind, amount, state.balance) });
                    }
                    prop_assert!(state.holds.iter().all(|hold| hold.expires_at > at), "no hold outlives its time");
                }
                if entries.is_empty() { continue; }
                let block = next(&head.head(), state, entries, now);
                prop_assert_eq!(verify(Some(&head.head()), &block), Ok(()));
                head = block;
            }
        }
    }

    #[test]
    fn a_forged_block_is_found() {
        let head = opened();
        let state = WalletState { balance: Money::from_minor(5), ..head.state.clone() };
        let deposit = entry(EntryKind::Deposit, Money::from_minor(5), Money::from_minor(5));
        let good = next(&head.head(), state.clone(), vec![deposit.clone()], Timestamp::from_micros(2_000));
        assert_eq!(verify(Some(&head.head()), &good), Ok(()));

        let reseal = |change: &dyn Fn(&mut Block)| {
            let mut block = good.clone();
            change(&mut block);
            hashed(block)
        };
        let cases: Vec<(Block, ChainFault)> = vec![
            (Block { hash: Hash::ZERO, ..good.clone() }, ChainFault::Hash(1)),
            (reseal(&|b| b.number = 2), ChainFault::Number { expected: 1, found: 2 }),
            (reseal(&|b| b.previous = Hash::ZERO), ChainFault::Previous(1)),
            (reseal(&|b| b.at = Timestamp::from_micros(1)), ChainFault::Time(1)),
            (reseal(&|b| b.entries.clear()), ChainFault::Entries(1)),
            (reseal(&|b| b.state.balance = Money::from_minor(6)), ChainFault::State(1)),
            (
                reseal(&|b| b.entries[0].balance_after = Money::from_minor(6)),
                ChainFault::Balance { number: 1, entry: 0 },
            ),
            (reseal(&|b| b.entries[0].kind = EntryKind::Withdrawal), ChainFault::Balance { number: 1, entry: 0 }),
            (reseal(&|b| b.entries[0].kind = EntryKind::Unfrozen), ChainFault::Status { number: 1, entry: 0 }),
            (reseal(&|b| b.home = CellId::parse("cell-2").expect("sound")), ChainFault::Home(1)),
            (reseal(&|b| b.state.created_at = Timestamp::from_micros(2)), ChainFault::Identity(1)),
        ];
        for (block, fault) in cases {
            assert_eq!(verify(Some(&head.head()), &block), Err(fault));
        }
    }
}
