//! Why a request did not succeed: the client's doing, the wallet's whereabouts, or ours.

use ledger::{Block, Refusal, TransactionId};
use store::StoreError;
use topology::wire::CreditRefusal;
use topology::{CellId, WalletId};

use crate::sequencer::Reply;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("wallet {wallet}: {refusal}")]
    Refused { wallet: WalletId, refusal: Refusal },
    #[error("no wallet {0}")]
    WalletNotFound(WalletId),
    #[error("no checkpoint of this cell covers wallet {0} yet")]
    NoCheckpointYet(WalletId),
    #[error("no transfer {0} out of this wallet")]
    TransferNotFound(TransactionId),
    #[error("no transaction {0} in this wallet")]
    TransactionNotFound(TransactionId),
    #[error("transaction {0} is none that can be reversed")]
    NotReversible(TransactionId),
    #[error("the transaction was reversed before")]
    AlreadyReversed,
    /// What may be done only once was done by this block. Not for clients: who asked for it, knows what it is.
    #[error("block {block} did it before")]
    DoneOnce { block: u64 },
    /// Of a batch that is all or nothing.
    #[error("operation {item}: {refusal}")]
    ItemRefused { item: usize, refusal: Refusal },
    #[error("the user already has wallet {0}")]
    WalletExists(WalletId),
    #[error("the idempotency key was used with another request")]
    KeyReused,
    /// More keys were used with this wallet in the last 24 hours than are remembered.
    #[error("too many idempotency keys were used with this wallet in the last 24 hours to know whether this one was")]
    KeyWindowFull,
    #[error("a wallet cannot pay itself")]
    SameWallet,
    /// Refused by the receiving wallet before any money left.
    #[error("the receiving wallet cannot receive: {0:?}")]
    CannotReceive(CreditRefusal),
    /// The receiving wallet's cell did not answer before any money left.
    #[error("the receiving wallet's cell did not answer: {0}")]
    ReceiverUnavailable(String),
    /// Refused by the receiving wallet after the money had left; it is back.
    #[error("transfer {transfer} was refused by the receiving wallet and the money returned: {reason:?}")]
    Returned { transfer: TransactionId, reason: CreditRefusal },
    /// The wallet belongs to another cell: to this one, if known; the block by which it left, if it lived here.
    #[error("the wallet is not served by this cell")]
    Misdirected { to: Option<CellId>, moved: Option<Box<Block>> },
    /// Whether the wallet is to be created here was not decided in time.
    #[error("the wallet's bucket is moving to another cell")]
    Moving,
    #[error("too much is waiting")]
    Overloaded,
    #[error("the deadline passed before the request was started")]
    Expired,
    #[error("other writers kept winning")]
    Contended,
    /// Nothing was done.
    #[error("the store did not answer: {0}")]
    Unavailable(String),
    /// It may have been done.
    #[error("the outcome is unknown: {0}")]
    OutcomeUnknown(String),
    #[error("the ledger of this wallet needs a human: {0}")]
    Corrupt(String),
}

impl From<StoreError> for Failure {
    /// For reads, which change nothing.
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(why) | StoreError::Rejected(why) => Failure::Unavailable(why),
            StoreError::Corrupt(what) => Failure::Corrupt(what),
        }
    }
}

impl Failure {
    /// The wallet would be created, or was, in another cell.
    pub fn not_created_here(to: Option<CellId>) -> Self {
        Failure::Misdirected { to, moved: None }
    }

    /// `head`, the last block here, says that the wallet lives in another cell.
    pub fn lives_elsewhere(head: Block) -> Self {
        let moved = matches!(head.entries[..], [ledger::Entry { kind: ledger::EntryKind::Moved { .. }, .. }]);
        Failure::Misdirected { to: Some(head.home.clone()), moved: moved.then(|| Box::new(head)) }
    }

    /// The replies that are final for every kind of command; the others are for the caller to read.
    pub fn of_reply(reply: Reply) -> Self {
        match reply {
            Reply::Refused { wallet, refusal } => Failure::Refused { wallet, refusal },
            Reply::CannotReceive(reason) => Failure::CannotReceive(reason),
            Reply::NoChain(wallet) => Failure::WalletNotFound(wallet),
            Reply::Elsewhere { home, .. } => Failure::Misdirected { to: Some(home), moved: None },
            Reply::WindowFull => Failure::KeyWindowFull,
            Reply::Overloaded => Failure::Overloaded,
            Reply::Expired => Failure::Expired,
            Reply::Contended => Failure::Contended,
            Reply::Unavailable(why) => Failure::Unavailable(why),
            Reply::Unknown(why) => Failure::OutcomeUnknown(why),
            Reply::Corrupt(what) => Failure::Corrupt(what),
            Reply::ReceiverUnavailable(why) => Failure::ReceiverUnavailable(why),
            Reply::ItemRefused { item, refusal } => Failure::ItemRefused { item, refusal },
            // No failure may be read into what was done.
            Reply::Done { .. }
            | Reply::SeenKey { .. }
            | Reply::SeenKeys { .. }
            | Reply::SeenOnce { .. }
            | Reply::Perhaps(_)
            | Reply::NotRemembered
            | Reply::NotOpen => unreachable!("the caller itself reads what was done before"),
        }
    }
}
