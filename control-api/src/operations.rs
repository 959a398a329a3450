//! Operations as they are asked for and shown: the bodies of `/v1/operations` and `/v1/audit`.
//!
//! Requests and plans are also stored in this form: fields are added with a default, never renamed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use topology::{Bucket, CellId, WalletId};

use crate::Because;

/// Wallets of one operation that are moved at once, unless the request says otherwise.
pub const DEFAULT_CONCURRENT: usize = 16;
/// How long a finished move is left alone before its source may be made to forget.
pub const DEFAULT_BAKE_SECONDS: u64 = 600;

/// Operations are numbered from 1; prints as `op-17`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OperationId(pub u64);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an operation's id looks like op-17: {0:?}")]
pub struct BadOperationId(String);

impl FromStr for OperationId {
    type Err = BadOperationId;
    fn from_str(text: &str) -> Result<Self, BadOperationId> {
        let number = text.strip_prefix("op-").filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
        let number = number.and_then(|digits| digits.parse().ok()).filter(|&number| number > 0);
        number.map(Self).ok_or_else(|| BadOperationId(text.chars().take(32).collect()))
    }
}

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "op-{}", self.0)
    }
}

impl TryFrom<String> for OperationId {
    type Error = BadOperationId;
    fn try_from(text: String) -> Result<Self, BadOperationId> {
        text.parse()
    }
}

impl From<OperationId> for String {
    fn from(id: OperationId) -> String {
        id.to_string()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OperationKind {
    Migrate,
    Rebalance,
    Evacuate,
    Reverse,
    Forget,
}

impl OperationKind {
    pub const ALL: [Self; 5] = [Self::Migrate, Self::Rebalance, Self::Evacuate, Self::Reverse, Self::Forget];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Migrate => "migrate",
            Self::Rebalance => "rebalance",
            Self::Evacuate => "evacuate",
            Self::Reverse => "reverse",
            Self::Forget => "forget",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OperationState {
    Planned,
    Running,
    Pausing,
    Paused,
    Aborting,
    Done,
    Failed,
    Aborted,
}

impl OperationState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Running => "running",
            Self::Pausing => "pausing",
            Self::Paused => "paused",
            Self::Aborting => "aborting",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Aborted => "aborted",
        }
    }

    /// Nothing will ever change any more.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Aborted)
    }

    /// Nothing changes until an operator asks for it.
    pub fn is_at_rest(self) -> bool {
        self.is_over() || matches!(self, Self::Failed | Self::Paused)
    }
}

/// What is to be migrated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    Wallet(WalletId),
    /// A user id.
    User(String),
    Buckets(BucketRange),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketRange {
    #[serde(with = "bucket_text")]
    pub first: Bucket,
    /// Inclusive.
    #[serde(with = "bucket_text")]
    pub last: Bucket,
}

/// What an operation is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", rename_all_fields = "camelCase")]
pub enum Wanted {
    Migrate {
        scope: Scope,
        to: CellId,
    },
    Rebalance {
        /// Most buckets moved by this run.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_moves: Option<usize>,
    },
    Evacuate {
        cell: CellId,
        /// Also if the others lack room; needs a reason.
        #[serde(default)]
        force: bool,
    },
    Reverse {
        operation: OperationId,
    },
    Forget {
        operation: OperationId,
    },
}

impl Wanted {
    pub fn kind(&self) -> OperationKind {
        match self {
            Self::Migrate { .. } => OperationKind::Migrate,
            Self::Rebalance { .. } => OperationKind::Rebalance,
            Self::Evacuate { .. } => OperationKind::Evacuate,
            Self::Reverse { .. } => OperationKind::Reverse,
            Self::Forget { .. } => OperationKind::Forget,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Limits {
    /// Wallets moved at once.
    pub max_concurrent: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bytes_per_sec: Option<u64>,
    /// Seconds after the end before the source may be made to forget.
    pub bake_seconds: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_concurrent: DEFAULT_CONCURRENT, max_bytes_per_sec: None, bake_seconds: DEFAULT_BAKE_SECONDS }
    }
}

/// Body of `POST /v1/operations`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StartOperation {
    #[serde(flatten)]
    pub wanted: Wanted,
    #[serde(default)]
    pub limits: Limits,
    /// Only compute the plan and answer it.
    #[serde(default)]
    pub dry_run: bool,
    /// The `hash` of a dry run's plan: the operation starts only if the plan is still that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_hash: Option<String>,
    #[serde(flatten)]
    pub because: Because,
}

impl StartOperation {
    pub fn new(wanted: Wanted, because: Because) -> Self {
        Self { wanted, limits: Limits::default(), dry_run: false, plan_hash: None, because }
    }
}

/// Neighbouring buckets, at most `mover::GROUP_BUCKETS`, or one wallet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Piece {
    Buckets(BucketRange),
    Wallet { wallet: WalletId },
}

/// One step of a plan: done as a whole before the next begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    #[serde(flatten)]
    pub piece: Piece,
    pub from: CellId,
    pub to: CellId,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.piece {
            Piece::Buckets(range) if range.first == range.last => write!(f, "bucket {}", range.first)?,
            Piece::Buckets(range) => write!(f, "buckets {}..{}", range.first, range.last)?,
            Piece::Wallet { wallet } => write!(f, "wallet {wallet}")?,
        }
        write!(f, " from {} to {}", self.from, self.to)
    }
}

/// What a plan moves from one cell to another, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveSummary {
    pub from: CellId,
    pub to: CellId,
    pub buckets: usize,
    /// Pinned wallets, moved one by one.
    pub wallets: usize,
    pub why: String,
}

/// Room for customers in a cell that takes part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Headroom {
    pub cell: CellId,
    /// Absent where the cell's customers have not been counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// Negative: the cell would hold more than its limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<i64>,
}

/// What an operation would do, step by step. Always computed by the control plane, never taken from a caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    pub placement_version: u64,
    /// SHA-256 of the steps, as hexadecimal digits: names this plan in a [`StartOperation`].
    #[serde(default)]
    pub hash: String,
    pub steps: Vec<Step>,
    #[serde(default)]
    pub moves: Vec<MoveSummary>,
    /// Wallets in the steps, counted at the sources; absent if they did not answer in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wallets: Option<u64>,
    /// Bytes of blocks to be copied, about: from the sizes of some of the wallets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    #[serde(default)]
    pub headroom: Vec<Headroom>,
}

/// How far an operation has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OperationProgress {
    pub steps_done: u64,
    pub wallets: u64,
    pub blocks: u64,
    pub bytes: u64,
    pub longest_cutover_micros: u64,
    /// Wallets that turned out to live in a third cell and were pinned there.
    pub strays: u64,
}

/// An operation as `GET /v1/operations` shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OperationView {
    pub id: OperationId,
    pub state: OperationState,
    #[serde(flatten)]
    pub wanted: Wanted,
    #[serde(flatten)]
    pub because: Because,
    pub limits: Limits,
    pub created_at: String,
    pub updated_at: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<String>,
    pub placement_version: u64,
    pub steps: u64,
    pub buckets: u64,
    /// As planned, where they could be counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wallets_planned: Option<u64>,
    #[serde(default)]
    pub moves: Vec<MoveSummary>,
    pub progress: OperationProgress,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// The operation that made the source forget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forgotten_by: Option<OperationId>,
}

/// Body of `POST /v1/operations/{id}/abort`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AbortOperation {
    /// Give up without taking back the steps in progress; needs a reason.
    #[serde(default)]
    pub force: bool,
    #[serde(flatten)]
    pub because: Because,
}

/// Body of `POST /v1/cells/{id}/remove`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RemoveCell {
    /// Without looking into the cell's tables, which may be gone; needs a reason.
    #[serde(default)]
    pub force: bool,
    #[serde(flatten)]
    pub because: Because,
}

/// One change of an operation's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    pub at: String,
    pub operation: OperationId,
    pub kind: OperationKind,
    /// `create`, `pause`, `finish`, …
    pub what: String,
    pub actor: String,
    pub reason: String,
    /// Absent where the operation came into being.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<OperationState>,
    pub after: OperationState,
}

/// One page of `POST /v1/operations/{id}/verify`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    pub wallets: u64,
    pub mismatches: Vec<Mismatch>,
    /// Ask again from here; absent: that was all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<VerifyFrom>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mismatch {
    pub wallet: WalletId,
    pub what: String,
}

/// Body of `POST /v1/operations/{id}/verify`: where to begin.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyFrom {
    #[serde(default)]
    pub step: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<WalletId>,
}

/// A bucket as its four hex digits.
mod bucket_text {
    use serde::{Deserialize, Deserializer, Serializer};
    use topology::Bucket;

    pub fn serialize<S: Serializer>(bucket: &Bucket, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(bucket)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bucket, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_reads_as_it_is_written() {
        let text = r#"{"kind":"migrate","scope":{"buckets":{"first":"0000","last":"00ff"}},"to":"cell-2","actor":"a","reason":"r"}"#;
        let start: StartOperation = serde_json::from_str(text).expect("sound");
        assert_eq!((start.dry_run, start.limits.max_concurrent), (false, DEFAULT_CONCURRENT));
        let again = serde_json::from_str(&serde_json::to_string(&start).expect("plain")).expect("sound");
        assert_eq!(start, again);
        let step = r#"{"first":"0a00","last":"0a3f","from":"cell-1","to":"cell-2"}"#;
        let step: Step = serde_json::from_str(step).expect("sound");
        assert_eq!(step.to_string(), "buckets 0a00..0a3f from cell-1 to cell-2");
        for bad in ["op-", "op-0", "17", "op-+1", "op-1x"] {
            assert!(bad.parse::<OperationId>().is_err(), "{bad}");
        }
    }
}
