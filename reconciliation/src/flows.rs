//! What the blocks of one wallet say of money that came in, went out or travelled.

use control_api::flows::{Flows, Leg, Move};
use ledger::flow::{self, Flow};
use ledger::{Block, Route, Timestamp};
use topology::{CellId, WalletId};

/// Of a wallet before its first block is counted.
pub fn nothing_of(wallet: WalletId, is_home: bool) -> Flows {
    Flows { wallet, is_home, balance: None, blocks: 0, came_in: 0, went_out: 0, legs: vec![] }
}

/// All that a chain says of money.
pub fn of_chain(wallet: WalletId, is_home: bool, blocks: &[Block]) -> Flows {
    let mut flows = nothing_of(wallet, is_home);
    blocks.iter().for_each(|block| count(block, Timestamp::from_micros(i64::MAX), &mut flows));
    flows
}

/// Adds what the block says to `flows`; only what bears a time until `until` counts.
pub fn count(block: &Block, until: Timestamp, flows: &mut Flows) {
    let counts = block.at <= until;
    if counts {
        flows.balance = Some(block.state.balance.minor());
        flows.blocks += 1;
    }
    let leg = |transfer, leg, amount, other: WalletId, cell: &CellId| Leg {
        transfer,
        leg,
        amount,
        other,
        cell: cell.clone(),
        counts,
    };
    for entry in &block.entries {
        let amount = entry.amount.minor();
        match entry.flow() {
            Flow::In if counts => flows.came_in += amount,
            Flow::Out if counts => flows.went_out += amount,
            Flow::In | Flow::Out | Flow::None => {}
            Flow::Transfer { id, leg: of } => match of {
                flow::Leg::Sent { to, route } => {
                    flows.legs.push(leg(id, Move::Out, amount, to, &block.home));
                    // It arrived in the same write: where it did not, its other half is lost, and not in flight.
                    if route == Route::Inside {
                        flows.legs.push(leg(id, Move::Settled, 0, block.wallet, &block.home));
                    }
                }
                flow::Leg::Received { from, .. } => flows.legs.push(leg(id, Move::In, amount, from, &block.home)),
                flow::Leg::Returned => flows.legs.push(leg(id, Move::Returned, amount, block.wallet, &block.home)),
                flow::Leg::Settled => flows.legs.push(leg(id, Move::Settled, 0, block.wallet, &block.home)),
                // No money: the payer's chain says when it is back.
                flow::Leg::Refused { .. } => {}
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::Adding;
    use ledger::{Audit, Entry, EntryKind, Money, WalletState, chain};
    use topology::UserId;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn what_left_inside_a_cell_and_did_not_arrive_is_lost() {
        let (cell, wallet) = (CellId::parse("cell-1").expect("sound"), WalletId::from_uuid(Uuid::from_u128(1)));
        let to = WalletId::from_uuid(Uuid::from_u128(2));
        let entry = |id, kind, amount, balance| Entry {
            id: Uuid::from_u128(id),
            kind,
            amount: Money::from_minor(amount),
            balance_after: Money::from_minor(balance),
            key: None,
            audit: Audit::default(),
        };
        let out = EntryKind::TransferOut { to, route: Route::Inside, reverses: None };
        let at = Timestamp::from_micros(1);
        let user = UserId::parse("ann").expect("sound");
        let opened = chain::open(wallet, user, cell.clone(), at, entry(1, EntryKind::Opened, 0, 0));
        let state = WalletState { balance: Money::from_minor(70), ..opened.state.clone() };
        let paid = vec![entry(2, EntryKind::Deposit, 100, 100), entry(3, out, 30, 70)];
        let paid = chain::next(&opened.head(), state, paid, at);
        let mut adding = Adding::default();
        adding.take(&cell, of_chain(wallet, true, &[opened, paid]));
        let books = adding.close(String::new());
        assert_eq!((books.difference, books.in_flight, books.faults.len()), (-30, 0, 1));
    }
}
