//! What a chain must not do twice, as marks: a request with an idempotency key, a credit, a reversal. A mark was made
//! if an entry of the chain bears it; whether one does is found out from the blocks in memory and, per full run of
//! blocks, from a row that lists the marks in it. Like every row it follows from the blocks: a missing one only means
//! that its blocks are read instead.

use sha2::{Digest, Sha256};

use crate::block::{Block, Entry, EntryKind, TransactionId};
use crate::limits::{MARK_BYTES, MARK_ITEM_BYTES, RUN_BLOCKS};
use crate::time::Timestamp;

/// How long an idempotency key is remembered: exactly 24 hours after the entry it caused.
pub const KEY_LIFETIME_MICROS: i64 = 24 * 60 * 60 * 1_000_000;

/// 88 bits of a hash: enough to find the block that may bear the mark, which is then asked for the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark(pub [u8; MARK_BYTES]);

impl Mark {
    /// Of an idempotency key, as entries hold it ([`crate::Key`]).
    pub fn of_key(key: &[u8; 16]) -> Mark {
        let (bytes, _) = key.split_first_chunk().expect("a key is longer than its mark");
        Mark(*bytes)
    }

    /// Of a transfer that this wallet received or refused.
    pub fn of_credit(transfer: TransactionId) -> Mark {
        Mark::derived(b"credit", transfer)
    }

    /// Of a transaction that this wallet has undone.
    pub fn of_reversal(of: TransactionId) -> Mark {
        Mark::derived(b"reversal", of)
    }

    fn derived(kind: &[u8], id: TransactionId) -> Mark {
        let digest: [u8; 32] = Sha256::new().chain_update(kind).chain_update(id.as_bytes()).finalize().into();
        let (bytes, _) = digest.split_first_chunk().expect("a digest is longer than a mark");
        Mark(*bytes)
    }

    /// What a chain must not do twice, of what `entry` does.
    pub fn all_of(entry: &Entry) -> impl Iterator<Item = Mark> + use<> {
        let key = entry.key.as_ref().map(|key| key.mark());
        let credit = match &entry.kind {
            EntryKind::TransferIn { .. } => Some(Mark::of_credit(entry.id)),
            EntryKind::TransferRefused { transfer, .. } => Some(Mark::of_credit(*transfer)),
            EntryKind::Opened
            | EntryKind::Deposit
            | EntryKind::Withdrawal
            | EntryKind::TransferOut { .. }
            | EntryKind::TransferSettled { .. }
            | EntryKind::TransferReturned { .. }
            | EntryKind::Frozen
            | EntryKind::Unfrozen
            | EntryKind::Closed
            | EntryKind::Erased
            | EntryKind::Moved { .. }
            | EntryKind::HoldPlaced { .. }
            | EntryKind::HoldCaptured { .. }
            | EntryKind::HoldVoided { .. }
            | EntryKind::HoldExpired { .. }
            | EntryKind::DepositReversed { .. }
            | EntryKind::WithdrawalReversed { .. }
            | EntryKind::Batch { .. } => None,
        };
        let reversal = entry.kind.reverses().map(Mark::of_reversal);
        key.into_iter().chain(credit).chain(reversal)
    }
}

/// The run that `block` belongs to.
pub fn run_of(number: u64) -> u64 {
    number.checked_div(RUN_BLOCKS).unwrap_or(0)
}

/// The number of the first block of `run`.
pub fn first_of(run: u64) -> u64 {
    run.saturating_mul(RUN_BLOCKS)
}

/// The number of the last block of `run`.
pub fn last_of(run: u64) -> u64 {
    first_of(run).saturating_add(RUN_BLOCKS.saturating_sub(1))
}

/// The marks made in one full run of a wallet's blocks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MarkRun {
    pub run: u64,
    /// Time of the run's last block.
    pub last_at: Timestamp,
    /// (mark, block number), in entry order.
    pub marks: Vec<(Mark, u64)>,
}

impl MarkRun {
    /// Builds the row from the run's blocks, which must be all of them, in order.
    pub fn of(blocks: &[Block]) -> Option<MarkRun> {
        let (first, last) = (blocks.first()?, blocks.last()?);
        let run = run_of(first.number);
        let whole = first.number == first_of(run)
            && last.number == last_of(run)
            && u64::try_from(blocks.len()).ok()? == RUN_BLOCKS;
        whole.then(|| MarkRun { run, last_at: last.at, marks: marks_in(blocks).collect() })
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let first = first_of(self.run);
        let mut out = Vec::with_capacity(self.marks.len().saturating_mul(MARK_ITEM_BYTES));
        for (mark, number) in &self.marks {
            out.extend_from_slice(&mark.0);
            out.push(u8::try_from(number.saturating_sub(first)).expect("a run is shorter than 256 blocks"));
        }
        out
    }

    /// `None` if the bytes are not a list of marks.
    pub fn from_bytes(run: u64, last_at: Timestamp, bytes: &[u8]) -> Option<MarkRun> {
        let first = first_of(run);
        let chunks = bytes.chunks_exact(MARK_ITEM_BYTES);
        if !chunks.remainder().is_empty() {
            return None;
        }
        let marks = chunks
            .map(|item| {
                let (mark, offset) = item.split_at_checked(MARK_BYTES)?;
                Some((Mark(mark.try_into().ok()?), first.checked_add(u64::from(*offset.first()?))?))
            })
            .collect::<Option<Vec<_>>>()?;
        Some(MarkRun { run, last_at, marks })
    }
}

/// The marks made in `blocks`, with the number of the block that bears each.
pub fn marks_in(blocks: &[Block]) -> impl Iterator<Item = (Mark, u64)> + '_ {
    blocks.iter().flat_map(|block| {
        block.entries.iter().flat_map(move |entry| Mark::all_of(entry).map(move |mark| (mark, block.number)))
    })
}
