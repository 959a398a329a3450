//! What the blocks of one wallet say of money that came in, went out or travelled.

use control_api::flows::{Flows, Leg, Move};
use ledger::flow::{self, Flow};
use ledger::{Block, Timestamp};
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
                flow::Leg::Sent { to } => flows.legs.push(leg(id, Move::Out, amount, to, &block.home)),
                flow::Leg::Received { from } => flows.legs.push(leg(id, Move::In, amount, from, &block.home)),
                flow::Leg::Returned => flows.legs.push(leg(id, Move::Returned, amount, block.wallet, &block.home)),
                flow::Leg::Settled => flows.legs.push(leg(id, Move::Settled, 0, block.wallet, &block.home)),
                // No money: the payer's chain says when it is back.
                flow::Leg::Refused { .. } => {}
            },
        }
    }
}
