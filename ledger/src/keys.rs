//! The spill index of idempotency keys: per run of blocks, a compact list of the keys used in it. Like every row it
//! follows from the blocks; a missing row only means that its blocks are read instead.

use crate::block::Block;
use crate::limits::{KEY_HASH_BYTES, KEY_ITEM_BYTES, RUN_BLOCKS};
use crate::time::Timestamp;

/// How long an idempotency key is remembered: exactly 24 hours after the entry it caused.
pub const KEY_LIFETIME_MICROS: i64 = 24 * 60 * 60 * 1_000_000;

/// The first 88 bits of an idempotency key as entries hold it ([`crate::Key`]): enough to find the block that may hold
/// it, which is then asked for the whole.
pub type KeyHash = [u8; KEY_HASH_BYTES];

/// The run that `block` belongs to.
pub fn run_of(number: u64) -> u64 {
    number.checked_div(RUN_BLOCKS).unwrap_or(0)
}

/// The number of the last block of `run`.
pub fn last_of(run: u64) -> u64 {
    run.saturating_mul(RUN_BLOCKS).saturating_add(RUN_BLOCKS.saturating_sub(1))
}

/// The keys used in one full run of a wallet's blocks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyRun {
    pub run: u64,
    /// Time of the run's last block: when all its keys have expired, the row says nothing any more.
    pub last_at: Timestamp,
    /// (key, block number), in entry order.
    pub keys: Vec<(KeyHash, u64)>,
}

impl KeyRun {
    /// Builds the row from the run's blocks, which must be all of them, in order.
    pub fn of(blocks: &[Block]) -> Option<KeyRun> {
        let (first, last) = (blocks.first()?, blocks.last()?);
        let run = run_of(first.number);
        let whole = first.number == run.saturating_mul(RUN_BLOCKS)
            && last.number == last_of(run)
            && u64::try_from(blocks.len()).ok()? == RUN_BLOCKS;
        whole.then(|| KeyRun { run, last_at: last.at, keys: keys_in(blocks).collect() })
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let first = self.run.saturating_mul(RUN_BLOCKS);
        let mut out = Vec::with_capacity(self.keys.len().saturating_mul(KEY_ITEM_BYTES));
        for (key, number) in &self.keys {
            out.extend_from_slice(key);
            out.push(u8::try_from(number.saturating_sub(first)).expect("a run is shorter than 256 blocks"));
        }
        out
    }

    /// `None` if the bytes are not a list of keys.
    pub fn from_bytes(run: u64, last_at: Timestamp, bytes: &[u8]) -> Option<KeyRun> {
        let first = run.saturating_mul(RUN_BLOCKS);
        let chunks = bytes.chunks_exact(KEY_ITEM_BYTES);
        if !chunks.remainder().is_empty() {
            return None;
        }
        let keys = chunks
            .map(|item| {
                let (key, offset) = item.split_at_checked(KEY_HASH_BYTES)?;
                Some((key.try_into().ok()?, first.checked_add(u64::from(*offset.first()?))?))
            })
            .collect::<Option<Vec<_>>>()?;
        Some(KeyRun { run, last_at, keys })
    }
}

/// The keys used in `blocks`, with the number of the block that holds each.
pub fn keys_in(blocks: &[Block]) -> impl Iterator<Item = (KeyHash, u64)> + '_ {
    blocks.iter().flat_map(|block| {
        block.entries.iter().filter_map(move |entry| Some((entry.key.as_ref()?.hash(), block.number)))
    })
}
