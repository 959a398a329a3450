//! What travels when a cell is restored: its chains as they were exported, and how far it has come.

use crate::ledgers::ExportedOwner;
use serde::{Deserialize, Serialize};
use topology::{CellId, WalletId};

use crate::Because;

/// Blocks of one request. A multiple of the blocks of a run of keys, so that no run is cut.
pub const RESTORE_BLOCKS: usize = 256;

/// One page of `GET /v1/ledger/wallets?cell=C&after=W`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalletsPage {
    pub wallets: Vec<WalletId>,
    /// The last of them, if there are more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<WalletId>,
}

/// Body of `POST /v1/cells/{id}/restore/begin`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BeginRestore {
    /// The tables are not empty: they were rewound to an earlier time.
    #[serde(default)]
    pub in_place: bool,
    #[serde(flatten)]
    pub because: Because,
}

/// Body of `POST /v1/cells/{id}/restore/chains`: blocks of one wallet, in order, the first of which has a number that is a
/// multiple of [`RESTORE_BLOCKS`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RestoreChain {
    pub wallet: WalletId,
    /// With the first block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<ExportedOwner>,
    /// Each as `ledger::canonical::to_text` writes it.
    pub blocks: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "camelCase")]
pub enum RestoredChain {
    /// The cell's chain reaches up to this block now.
    Written { last: u64 },
    /// The wallet belongs to another cell by now. Of its chain only the block by which it left is there.
    Elsewhere { cell: CellId },
    /// The cell holds another block of this number; nothing was written.
    Differs { block: u64 },
}

/// Body of `POST /v1/cells/{id}/restore/archive`: the cell's chains from its archive. The answer comes after some seconds;
/// it is asked again until it is `done`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FromArchive {
    #[serde(flatten)]
    pub because: Because,
}

/// How far a cell has been refilled from its archive, since its restore began.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refilled {
    /// All that can be done is done.
    pub done: bool,
    /// Entries of the archive's log that were read, and the number of the last one.
    pub entries: u64,
    pub last_entry: u64,
    pub written: u64,
    /// Blocks that the tables held already.
    pub there: u64,
    pub wallets: u64,
    /// Wallets that belong to other cells by now.
    pub elsewhere: u64,
    pub millis: u64,
    /// RFC 3339: what the cell wrote later is in no segment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_at: Option<String>,
    /// Parts of the archive that are missing or damaged: their number, and the first of them.
    pub damages: u64,
    pub damaged: Vec<Damage>,
    /// When it is done: wallets of which blocks are in no segment. They are not served.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<MissingWallet>,
}

/// An entry of an archive's log that cannot be restored from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Damage {
    pub entry: u64,
    pub why: String,
    /// What the entry says of its segment, if it can be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment: Option<LostSegment>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LostSegment {
    pub blocks: u64,
    /// RFC 3339: of its oldest and its newest block.
    pub first_at: String,
    pub last_at: String,
}

/// Body of `POST /v1/cells/{id}/restore/finish`: what other cells hold of the cell's wallets, page by page.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FinishRestore {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<FinishFrom>,
    #[serde(flatten)]
    pub because: Because,
}

/// After a wallet of a cell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FinishFrom {
    pub cell: CellId,
    pub after: Option<WalletId>,
}

/// A wallet that cannot be served until the rest of its chain is found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingWallet {
    pub wallet: WalletId,
    pub why: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FinishedPage {
    /// Wallets of which another cell held more than the export did.
    pub completed: Vec<WalletId>,
    /// Wallets that live elsewhere without a pin: pinned now.
    pub pinned: Vec<WalletId>,
    /// Wallets of the cell of which neither the exports nor the other cells hold all blocks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<MissingWallet>,
    /// Ask again from here; absent: the cell is restored, and its processes may be started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<FinishFrom>,
}
