//! What customers and other cells ask of the wallet that moves.

use ledger::{Block, Intent, Money, Timestamp, TransactionId};
use topology::WalletId;
use uuid::Uuid;

/// Each once; repeated until it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Request {
    Deposit,
    SecondDeposit,
    /// Money arrives from another cell.
    Credit,
    /// An amount is set aside …
    Hold,
    /// … and taken.
    Capture,
    /// The deposit is taken back …
    Reverse,
    /// … and, as another client believes, once more.
    ReverseAgain,
}

impl Request {
    pub fn bit(self) -> u16 {
        1 << (self as u8)
    }

    /// The id of its entry: by it, what was written is found again.
    pub fn id(self) -> TransactionId {
        Uuid::from_u128(100 + self as u128)
    }

    pub fn intent(self) -> Intent {
        let amount = Money::from_minor(1 + self as u64);
        match self {
            Request::Deposit | Request::SecondDeposit => Intent::Deposit { amount },
            Request::Credit => Intent::Receive { from: WalletId::from_uuid(Uuid::from_u128(7)), amount },
            Request::Hold => {
                Intent::Hold { amount: Money::from_minor(1), expires_at: Timestamp::from_micros(i64::MAX) }
            }
            Request::Capture => Intent::Capture { hold: Request::Hold.id(), amount: None },
            Request::Reverse | Request::ReverseAgain => {
                Intent::ReverseDeposit { of: Request::Deposit.id(), amount: Money::from_minor(1) }
            }
        }
    }

    /// Whether an instance that knows of a chain which carries out `done` would do it at all: what
    /// may be done only once is not done again.
    pub fn is_due(self, done: u16) -> bool {
        let has = |request: Request| done & request.bit() != 0;
        match self {
            Request::Reverse | Request::ReverseAgain => !has(Request::Reverse) && !has(Request::ReverseAgain),
            Request::Deposit | Request::SecondDeposit | Request::Credit | Request::Hold | Request::Capture => {
                !has(self)
            }
        }
    }

    pub fn all() -> [Request; 7] {
        use Request::{Capture, Credit, Deposit, Hold, Reverse, ReverseAgain, SecondDeposit};
        [Deposit, SecondDeposit, Credit, Hold, Capture, Reverse, ReverseAgain]
    }

    /// How often blocks carry it out.
    pub fn count_in(self, blocks: &[Block]) -> usize {
        blocks.iter().filter(|block| block.entry(self.id()).is_some()).count()
    }
}
