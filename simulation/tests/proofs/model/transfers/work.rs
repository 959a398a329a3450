//! What is written into the chains of the two wallets, by which ids.

use ledger::flow::{Flow, Leg};
use ledger::{Block, Intent, Money, TransactionId};
use topology::WalletId;
use topology::wire::CreditRefusal;
use uuid::Uuid;

use super::state::COURIERS;

pub const PAYER: u128 = 9;
pub const PAYEE: u128 = 8;
/// The transfer that is carried on.
pub const TRANSFER: TransactionId = Uuid::from_u128(100);
const AMOUNT: Money = Money::from_minor(3);

/// What the payee's chain says of the transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Word {
    Received,
    Refused,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Customer {
    Freezes,
    Unfreezes,
}

/// What one block does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Work {
    /// The end of the transfer as a courier was answered it. No two couriers write the same entry.
    End {
        courier: usize,
        word: Word,
    },
    Receive,
    Customer(Customer),
}

impl Customer {
    pub fn bit(self) -> u8 {
        1 << (self as u8)
    }
}

fn wallet(number: u128) -> WalletId {
    WalletId::from_uuid(Uuid::from_u128(number))
}

/// The payer has two transfers in flight. The second one stays so: to settle the first one twice
/// would take it for settled.
pub fn before() -> Vec<Vec<(TransactionId, Intent)>> {
    let send = |to: u128| Intent::Send { to: wallet(to), amount: AMOUNT, reverses: None };
    let deposit = Intent::Deposit { amount: Money::from_minor(10) };
    vec![vec![(Uuid::from_u128(99), deposit), (TRANSFER, send(PAYEE)), (Uuid::from_u128(101), send(7))]]
}

impl Work {
    /// The id of its entry, and what it does.
    pub fn command(self) -> (TransactionId, Intent) {
        match self {
            Work::End { courier, word } => {
                let place = courier + COURIERS * usize::from(word == Word::Refused);
                let intent = match word {
                    Word::Received => Intent::Settle { transfer: TRANSFER },
                    Word::Refused => {
                        Intent::TakeBack { transfer: TRANSFER, amount: AMOUNT, reason: CreditRefusal::WalletFrozen }
                    }
                };
                (Uuid::from_u128(200 + place as u128), intent)
            }
            Work::Receive => (TRANSFER, Intent::Receive { from: wallet(PAYER), amount: AMOUNT }),
            Work::Customer(Customer::Freezes) => (Uuid::from_u128(300), Intent::Freeze),
            Work::Customer(Customer::Unfreezes) => (Uuid::from_u128(301), Intent::Unfreeze),
        }
    }
}

/// What these blocks of the payee say of the transfer.
pub fn word_of(blocks: &[Block]) -> Option<Word> {
    blocks.iter().flat_map(|block| &block.entries).find_map(|entry| match entry.flow() {
        Flow::Transfer { id: TRANSFER, leg: Leg::Received { .. } } => Some(Word::Received),
        Flow::Transfer { id: TRANSFER, leg: Leg::Refused { .. } } => Some(Word::Refused),
        _ => None,
    })
}
