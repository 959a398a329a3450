//! What a chain is made of: blocks, and the entries in them.

use std::fmt;

use sha2::{Digest, Sha256};
use topology::wire::CreditRefusal;
use topology::{CellId, WalletId};
use uuid::Uuid;

use crate::marks::Mark;
use crate::money::Money;
use crate::personal::Sealed;
use crate::state::WalletState;
use crate::time::Timestamp;

/// SHA-256 of a block's canonical bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// What block 0 names as its predecessor.
    pub const ZERO: Hash = Hash([0; 32]);
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Names one entry of a wallet. A transfer's two legs share it: it is the transfer's id.
pub type TransactionId = Uuid;

/// One thing that happened to a wallet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum EntryKind {
    Opened,
    Deposit,
    Withdrawal,
    /// Money left for another wallet. The transfer is open until this chain records how it ended.
    TransferOut {
        to: WalletId,
        /// The transfer into this wallet that is sent back.
        reverses: Option<TransactionId>,
    },
    TransferIn {
        from: WalletId,
    },
    /// An open transfer out of this wallet reached its destination.
    TransferSettled {
        transfer: TransactionId,
    },
    /// An open transfer out of this wallet was refused at its destination; the money is back.
    TransferReturned {
        transfer: TransactionId,
        reason: CreditRefusal,
    },
    /// This wallet refused money; recorded so that a late repetition of the same credit cannot succeed.
    TransferRefused {
        transfer: TransactionId,
        from: WalletId,
        reason: CreditRefusal,
    },
    Frozen,
    Unfrozen,
    Closed,
    /// The personal data of the closed wallet became unreadable: its key was destroyed.
    Erased,
    /// The wallet moved to another cell: `home` of this block is `to`.
    Moved {
        from: CellId,
        to: CellId,
        epoch: u64,
    },
    /// An amount was authorized; it stays in the balance, but cannot be spent otherwise. The entry's id is the hold's.
    HoldPlaced {
        expires_at: Timestamp,
    },
    /// Of a hold, the entry's amount was taken; the rest is free again.
    HoldCaptured {
        hold: TransactionId,
    },
    HoldVoided {
        hold: TransactionId,
    },
    /// It was not captured in time.
    HoldExpired {
        hold: TransactionId,
    },
    /// A deposit was taken back.
    DepositReversed {
        of: TransactionId,
    },
    /// A withdrawal, or a captured hold, was given back.
    WithdrawalReversed {
        of: TransactionId,
    },
    /// Several operations were asked for at once, and what became of each. Those done follow in the same block, in the
    /// order asked for, with the ids that [`item_id`] gives them.
    Batch {
        outcomes: Vec<ItemOutcome>,
    },
}

/// What became of one operation of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ItemOutcome {
    Done,
    /// An earlier request with the operation's own idempotency key had done it.
    DoneBefore,
    InsufficientBalance,
    BalanceLimit,
    NoOpenHold,
    AboveHold,
    TooManyHolds,
    ExpiryPassed,
    /// The operation's own idempotency key was used with another operation.
    KeyReused,
}

/// The transaction id of the operation at `index` of a batch. Derived, so that a client that knows
/// the batch finds its operations; of the same millisecond as the batch's own (UUIDv7), so that a
/// search by time finds it too.
pub fn item_id(batch: TransactionId, index: usize) -> TransactionId {
    let mut hash = Sha256::new();
    hash.update(batch.as_bytes());
    hash.update(u64::try_from(index).unwrap_or(u64::MAX).to_be_bytes());
    let digest: [u8; 32] = hash.finalize().into();
    let mut bytes = *batch.as_bytes();
    bytes[6..].copy_from_slice(&digest[..10]);
    uuid::Builder::from_custom_bytes(bytes).with_version(uuid::Version::SortRand).into_uuid()
}

/// An idempotency key as the chain keeps it: half of a SHA-256 of the key, and of the request it came with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    pub key: [u8; 16],
    pub request: [u8; 16],
}

impl Key {
    pub fn mark(&self) -> Mark {
        Mark::of_key(&self.key)
    }
}

/// A text of at most 255 bytes: what a block has room for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash)]
pub struct ShortText(String);

impl ShortText {
    /// Longest text, in bytes: its length is one byte of the canonical form.
    pub const MAX_BYTES: usize = 255;

    /// The text, or as much of its beginning as fits into `most` bytes, cut between characters.
    pub fn cut(text: &str, most: usize) -> Self {
        let mut end = text.len().min(most).min(Self::MAX_BYTES);
        while !text.is_char_boundary(end) {
            end = end.saturating_sub(1);
        }
        Self(text[..end].to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The request that made an entry, as logs and traces name it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash)]
pub struct Trace {
    pub request_id: ShortText,
    /// W3C trace id, 32 hexadecimal digits; empty if the request had none.
    pub trace_id: ShortText,
}

/// The audit context of a request: where it came from. What of it is about a person is kept encrypted
/// ([`crate::personal`]).
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash)]
pub struct Audit {
    pub source_ip: ShortText,
    pub user_agent: ShortText,
    pub request_id: ShortText,
    pub actor: ShortText,
    /// As in [`Trace`].
    pub trace_id: ShortText,
}

impl Audit {
    pub fn trace(&self) -> Trace {
        Trace { request_id: self.request_id.clone(), trace_id: self.trace_id.clone() }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Entry {
    pub id: TransactionId,
    pub kind: EntryKind,
    /// Zero for entries that move no money.
    pub amount: Money,
    pub balance_after: Money,
    pub key: Option<Key>,
    /// The client's name for it; empty if it gave none.
    pub reference: ShortText,
    pub trace: Trace,
}

/// One link of a wallet's chain. `hash` is SHA-256 of the canonical bytes of everything else; of the personal part, these
/// hold the digest.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Block {
    pub wallet: WalletId,
    pub number: u64,
    pub previous: Hash,
    /// Commit time, never earlier than the previous block's.
    pub at: Timestamp,
    /// The cell that owns the wallet from this block on.
    pub home: CellId,
    pub state: WalletState,
    pub entries: Vec<Entry>,
    /// Its personal part, encrypted; `None` if nothing in it is about a person.
    pub sealed: Option<Sealed>,
    pub hash: Hash,
}

/// What the next block needs to know of the last one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Head {
    pub wallet: WalletId,
    pub number: u64,
    pub hash: Hash,
    pub at: Timestamp,
    pub home: CellId,
    pub state: WalletState,
}

impl Entry {
    /// One without a key, a reference or a request.
    pub fn new(id: TransactionId, kind: EntryKind, amount: Money, balance_after: Money) -> Self {
        let (reference, trace) = (ShortText::default(), Trace::default());
        Self { id, kind, amount, balance_after, key: None, reference, trace }
    }
}

impl Head {
    pub fn next_number(&self) -> u64 {
        self.number.checked_add(1).expect("a chain of 2^64 blocks cannot be written")
    }
}

impl Block {
    pub fn head(&self) -> Head {
        Head {
            wallet: self.wallet,
            number: self.number,
            hash: self.hash,
            at: self.at,
            home: self.home.clone(),
            state: self.state.clone(),
        }
    }

    /// The entry with this transaction id, if this block holds it.
    pub fn entry(&self, id: TransactionId) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.id == id)
    }

    /// The entry that a request with this idempotency key caused, if this block holds it.
    pub fn entry_keyed(&self, key: &[u8; 16]) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key.is_some_and(|own| &own.key == key))
    }
}

impl EntryKind {
    /// The name in the API's transaction history.
    pub fn name(&self) -> &'static str {
        match self {
            EntryKind::Opened => "OPENED",
            EntryKind::Deposit => "DEPOSIT",
            EntryKind::Withdrawal => "WITHDRAWAL",
            EntryKind::TransferOut { .. } => "TRANSFER_OUT",
            EntryKind::TransferIn { .. } => "TRANSFER_IN",
            EntryKind::TransferSettled { .. } => "TRANSFER_SETTLED",
            EntryKind::TransferReturned { .. } => "TRANSFER_RETURNED",
            EntryKind::TransferRefused { .. } => "TRANSFER_REFUSED",
            EntryKind::Frozen => "FROZEN",
            EntryKind::Unfrozen => "UNFROZEN",
            EntryKind::Closed => "CLOSED",
            EntryKind::Erased => "ERASED",
            EntryKind::Moved { .. } => "MOVED",
            EntryKind::HoldPlaced { .. } => "HOLD_PLACED",
            EntryKind::HoldCaptured { .. } => "HOLD_CAPTURED",
            EntryKind::HoldVoided { .. } => "HOLD_VOIDED",
            EntryKind::HoldExpired { .. } => "HOLD_EXPIRED",
            EntryKind::DepositReversed { .. } => "DEPOSIT_REVERSED",
            EntryKind::WithdrawalReversed { .. } => "WITHDRAWAL_REVERSED",
            EntryKind::Batch { .. } => "BATCH",
        }
    }

    /// The earlier transaction that this one undoes.
    pub fn reverses(&self) -> Option<TransactionId> {
        match self {
            EntryKind::DepositReversed { of } | EntryKind::WithdrawalReversed { of } => Some(*of),
            EntryKind::TransferOut { reverses, .. } => *reverses,
            EntryKind::Opened
            | EntryKind::Deposit
            | EntryKind::Withdrawal
            | EntryKind::TransferIn { .. }
            | EntryKind::TransferSettled { .. }
            | EntryKind::TransferReturned { .. }
            | EntryKind::TransferRefused { .. }
            | EntryKind::Frozen
            | EntryKind::Unfrozen
            | EntryKind::Closed
            | EntryKind::Erased
            | EntryKind::Moved { .. }
            | EntryKind::HoldPlaced { .. }
            | EntryKind::HoldCaptured { .. }
            | EntryKind::HoldVoided { .. }
            | EntryKind::HoldExpired { .. }
            | EntryKind::Batch { .. } => None,
        }
    }

    /// The hold that this entry places or ends; `id` is the entry's own.
    pub fn hold(&self, id: TransactionId) -> Option<TransactionId> {
        match self {
            EntryKind::HoldPlaced { .. } => Some(id),
            EntryKind::HoldCaptured { hold } | EntryKind::HoldVoided { hold } | EntryKind::HoldExpired { hold } => {
                Some(*hold)
            }
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
            | EntryKind::Moved { .. }
            | EntryKind::DepositReversed { .. }
            | EntryKind::WithdrawalReversed { .. }
            | EntryKind::Batch { .. } => None,
        }
    }
}
