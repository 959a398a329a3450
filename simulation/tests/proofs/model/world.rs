//! The model's cells, wallet and customers: constants of one small deployment.

use ledger::{Append, Block, Entry, EntryKind, Guard, Intent, Money, Timestamp, TransactionId, chain, decide};
use store::Genesis;
use store::memory::{Mutation, Tables};
use topology::wire::CreditRefusal;
use topology::{Bucket, CellId, WalletId};
use uuid::Uuid;

pub const CELLS: usize = 2;

pub fn cell(number: usize) -> CellId {
    CellId::parse(["cell-a", "cell-b"][number]).expect("sound")
}

pub fn wallet() -> WalletId {
    WalletId::from_uuid(Uuid::from_u128(9))
}

fn stranger() -> WalletId {
    WalletId::from_uuid(Uuid::from_u128(7))
}

/// What customers and other cells ask of the wallet, each once; repeated until it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Request {
    Deposit,
    SecondDeposit,
    /// Money arrives from another cell.
    Credit,
    /// Money leaves for another cell …
    Send,
    /// … where it has been received,
    Settle,
    /// … or refused.
    TakeBack,
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
    fn id(self) -> TransactionId {
        Uuid::from_u128(100 + self as u128)
    }

    fn intent(self) -> Intent {
        let amount = Money::from_minor(1 + self as u64);
        match self {
            Request::Deposit | Request::SecondDeposit => Intent::Deposit { amount },
            Request::Credit => Intent::Receive { from: stranger(), amount },
            Request::Send => Intent::Send { to: stranger(), amount: Money::from_minor(1), reverses: None },
            Request::Settle => Intent::Settle { transfer: Request::Send.id() },
            Request::TakeBack => {
                let (transfer, amount) = (Request::Send.id(), Money::from_minor(1));
                Intent::TakeBack { transfer, amount, reason: CreditRefusal::WalletClosed }
            }
            Request::Hold => {
                Intent::Hold { amount: Money::from_minor(1), expires_at: Timestamp::from_micros(i64::MAX) }
            }
            Request::Capture => Intent::Capture { hold: Request::Hold.id(), amount: None },
            Request::Reverse | Request::ReverseAgain => {
                Intent::ReverseDeposit { of: Request::Deposit.id(), amount: Money::from_minor(1) }
            }
        }
    }

    /// Whether an instance that knows of a chain which carries out `done` would do it at all: what may be done only once
    /// is not done again, and only an open transfer ends.
    pub fn is_due(self, done: u16) -> bool {
        let has = |request: Request| done & request.bit() != 0;
        match self {
            Request::Settle | Request::TakeBack => {
                has(Request::Send) && !has(Request::Settle) && !has(Request::TakeBack)
            }
            Request::Reverse | Request::ReverseAgain => !has(Request::Reverse) && !has(Request::ReverseAgain),
            Request::Deposit
            | Request::SecondDeposit
            | Request::Credit
            | Request::Send
            | Request::Hold
            | Request::Capture => !has(self),
        }
    }

    /// The block that carries it out after `head`, if it is allowed there.
    pub fn after(self, head: &Block) -> Option<Block> {
        let (kind, amount) = decide(&head.state, &self.intent(), head.at).ok()?;
        let mut state = head.state.clone();
        state.apply(self.id(), &kind, amount, (head.number + 1, head.at)).expect("decide and the chain rules agree");
        let entry = entry(self.id(), kind, amount, state.balance);
        Some(chain::next(&head.head(), state, vec![entry], head.at))
    }

    pub fn all() -> [Request; 10] {
        use Request::{Capture, Credit, Deposit, Hold, Reverse, ReverseAgain, SecondDeposit, Send, Settle, TakeBack};
        [Deposit, SecondDeposit, Credit, Send, Settle, TakeBack, Hold, Capture, Reverse, ReverseAgain]
    }

    /// How often a block carries it out.
    pub fn count_in(self, block: &Block) -> usize {
        usize::from(block.entry(self.id()).is_some())
    }
}

pub fn entry(id: TransactionId, kind: EntryKind, amount: Money, balance_after: Money) -> Entry {
    Entry::new(id, kind, amount, balance_after)
}

/// Cell A has the wallet, in which this was done; the others have nothing.
pub fn first_tables(done: &[Request]) -> [Tables; CELLS] {
    let mut tables = [Tables::default(), Tables::default()];
    let opened = entry(Uuid::from_u128(1), EntryKind::Opened, Money::ZERO, Money::ZERO);
    let zero = chain::open(wallet(), cell(0), Timestamp::from_micros(1), opened, None);
    let genesis = Genesis::of(Bucket::all()).contains(wallet().bucket());
    let creation = Append::of(vec![zero], Some(Guard::Bucket { genesis }));
    tables[0].append(&creation, Mutation::None).expect("nothing is there yet");
    for request in done {
        let head = tables[0].head(wallet()).expect("just created");
        let block = request.after(head).expect("what is done first is allowed");
        tables[0].append(&Append::next(block), Mutation::None).expect("its place is free");
    }
    tables
}
