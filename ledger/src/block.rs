//! What a chain is made of: blocks, the entries in them, and the wallet's state after each.

use std::fmt;

use topology::wire::CreditRefusal;
use topology::{CellId, UserId, WalletId};
use uuid::Uuid;

use crate::money::Money;
use crate::time::Timestamp;

/// Most entries in one block: what keeps a block near 16 KB, where group commit has its best yield.
pub const MAX_ENTRIES_PER_BLOCK: usize = 100;

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

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    Active,
    Frozen,
    Closed,
}

/// How money travels between two wallets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Route {
    /// Both wallets in one cell: both blocks were appended in one transaction, and the transfer was settled by that.
    Inside,
    /// Between cells: in flight from the paying block on, until the paying chain records the outcome.
    Across,
}

/// One thing that happened to a wallet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum EntryKind {
    Opened,
    Deposit,
    Withdrawal,
    TransferOut {
        to: WalletId,
        route: Route,
    },
    TransferIn {
        from: WalletId,
        route: Route,
    },
    /// A transfer out of this wallet, in flight since, reached its destination.
    TransferSettled {
        transfer: TransactionId,
    },
    /// A transfer out of this wallet was refused at its destination; the money is back.
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
    /// The wallet moved to another cell: `home` of this block is `to`.
    Moved {
        from: CellId,
        to: CellId,
        epoch: u64,
    },
}

/// An idempotency key as the chain keeps it: half of a SHA-256 of the key, and of the request it came with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    pub key: [u8; 16],
    pub request: [u8; 16],
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

/// Who caused an entry.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash)]
pub struct Audit {
    pub source_ip: ShortText,
    pub user_agent: ShortText,
    pub request_id: ShortText,
    pub actor: ShortText,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Entry {
    pub id: TransactionId,
    pub kind: EntryKind,
    /// Zero for entries that move no money.
    pub amount: Money,
    pub balance_after: Money,
    pub key: Option<Key>,
    pub audit: Audit,
}

impl Entry {
    /// The transfer this entry is part of.
    pub fn transfer(&self) -> Option<TransactionId> {
        match self.kind {
            EntryKind::TransferOut { .. } | EntryKind::TransferIn { .. } => Some(self.id),
            EntryKind::TransferSettled { transfer }
            | EntryKind::TransferReturned { transfer, .. }
            | EntryKind::TransferRefused { transfer, .. } => Some(transfer),
            _ => None,
        }
    }
}

/// A wallet as it stands after a block.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WalletState {
    pub user: UserId,
    pub created_at: Timestamp,
    pub balance: Money,
    pub status: Status,
}

/// One link of a wallet's chain. `hash` is SHA-256 of the canonical bytes of everything else.
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
            EntryKind::Moved { .. } => "MOVED",
        }
    }

    /// The other wallet of a transfer.
    pub fn related_wallet(&self) -> Option<WalletId> {
        match self {
            EntryKind::TransferOut { to, .. } => Some(*to),
            EntryKind::TransferIn { from, .. } | EntryKind::TransferRefused { from, .. } => Some(*from),
            _ => None,
        }
    }

    /// The balance after this entry, or `None` where it would overflow or go below zero.
    pub fn balance_after(&self, balance: Money, amount: Money) -> Option<Money> {
        match self {
            EntryKind::Deposit | EntryKind::TransferIn { .. } | EntryKind::TransferReturned { .. } => {
                balance.checked_add(amount)
            }
            EntryKind::Withdrawal | EntryKind::TransferOut { .. } => balance.checked_sub(amount),
            _ => (amount == Money::ZERO).then_some(balance),
        }
    }

    /// The wallet's status after this entry, or `None` where the entry cannot follow `status`.
    pub fn status_after(&self, status: Status) -> Option<Status> {
        match (self, status) {
            (EntryKind::Opened, Status::Active) => Some(Status::Active),
            (EntryKind::Opened, _) => None,
            (EntryKind::Frozen, Status::Active) => Some(Status::Frozen),
            (EntryKind::Unfrozen, Status::Frozen) => Some(Status::Active),
            (EntryKind::Closed, Status::Active) => Some(Status::Closed),
            (EntryKind::Frozen | EntryKind::Unfrozen | EntryKind::Closed, _) => None,
            // Money leaves and arrives only in an active wallet …
            (
                EntryKind::Deposit
                | EntryKind::Withdrawal
                | EntryKind::TransferOut { .. }
                | EntryKind::TransferIn { .. },
                Status::Frozen | Status::Closed,
            ) => None,
            // … but an outcome is recorded, money comes back and a wallet moves in any.
            (_, status) => Some(status),
        }
    }
}
