//! The limits that depend on one another, and the assertions that hold them together. A change that breaks one of them
//! does not compile. A limit that depends on no other is where it is used.

use crate::personal::{MAX_DESCRIPTION_BYTES, MAX_METADATA_BYTES, MAX_METADATA_PAIRS, MAX_REFERENCE_BYTES};

/// The largest item that DynamoDB takes.
pub const DYNAMODB_ITEM_BYTES: usize = 400 * 1024;
/// Most items in one of DynamoDB's transactions.
pub const DYNAMODB_TRANSACTION_ITEMS: usize = 100;
/// The largest transaction that DynamoDB takes.
pub const DYNAMODB_TRANSACTION_BYTES: usize = 4 * 1024 * 1024;
/// What an item holds beside its one large attribute: keys, numbers, names of attributes.
const ITEM_RESERVE_BYTES: usize = 1024;

/// Entries of different requests that are put into one block: what keeps a block near 16 KB, where group commit has
/// its best yield.
pub const GROUP_COMMIT_ENTRIES: usize = 100;

/// Most operations in one batch, which always is one block.
pub const MAX_BATCH_OPERATIONS: usize = 500;

/// Most holds that a wallet has open at a time: each block carries them all.
pub const MAX_OPEN_HOLDS: usize = 64;

/// Most entries in one block: a batch with an entry of its own, and before it the end of every hold that has expired.
pub const MAX_ENTRIES_PER_BLOCK: usize = 600;

/// Most transfers out of a wallet that are open at a time: what an instance remembers of each wallet that it serves.
pub const MAX_OPEN_TRANSFERS: u32 = 10_000;

/// Most marks of one block: the idempotency keys of a batch's operations, and the batch's own.
pub const MAX_MARKS_PER_BLOCK: usize = MAX_BATCH_OPERATIONS + 1;
/// Most marks of one entry: its idempotency key, and what it undoes or receives.
const MAX_MARKS_PER_ENTRY: usize = 2;
/// The largest setting of [`GROUP_COMMIT_ENTRIES`].
pub const MAX_GROUP_COMMIT_ENTRIES: usize = MAX_MARKS_PER_BLOCK / MAX_MARKS_PER_ENTRY;

/// Blocks in a run: one spill row, and one snapshot, stand for each full run.
pub const RUN_BLOCKS: u64 = 64;

/// Bytes of a mark.
pub const MARK_BYTES: usize = 11;
/// Bytes of one mark in the row of a run: the mark and the block's offset in the run.
pub const MARK_ITEM_BYTES: usize = MARK_BYTES + 1;

/// Most blocks of a copy that are written at once: single writes in any order, or one transaction.
pub const COPY_BLOCKS: usize = 16;
/// Most bytes of blocks of a copy that are written at once.
pub const COPY_BYTES: usize = 3_000_000;

/// Seconds that a hold may last, and lasts where nothing is said.
pub const MAX_HOLD_LIFETIME_S: u32 = 31 * 24 * 60 * 60;
pub const DEFAULT_HOLD_LIFETIME_S: u32 = 7 * 24 * 60 * 60;

/// Most bytes of an entry's own: numbers, ids, key and reference, in the canonical bytes.
const ENTRY_BYTES: usize = 33 + 33 + 33 + 1 + MAX_REFERENCE_BYTES;
/// Most bytes that name the request and its caller, where an entry is the first of theirs: as many as the edge takes.
const CALLER_BYTES: usize = 2 + 64 + 32 + 3 + 45 + 96 + 140;
/// Most bytes of an entry's description and metadata.
const NOTE_BYTES: usize = 2 + MAX_DESCRIPTION_BYTES + 2 * MAX_METADATA_PAIRS + MAX_METADATA_BYTES;

/// Bytes that the body of a batch has for each operation: type, amount, hold, and a key of 128 characters.
const OPERATION_BODY_BYTES: usize = 400;

const _: () = assert!(
    MAX_ENTRIES_PER_BLOCK >= MAX_BATCH_OPERATIONS + 1 + MAX_OPEN_HOLDS,
    "a batch after the end of all holds is one block"
);
const _: () = assert!(MAX_BATCH_OPERATIONS <= u16::MAX as usize, "the count of a batch's outcomes is 16 bits");
const _: () =
    assert!(GROUP_COMMIT_ENTRIES <= MAX_GROUP_COMMIT_ENTRIES, "group commit makes no larger blocks than a batch");
const _: () = assert!(
    RUN_BLOCKS as usize * MAX_MARKS_PER_BLOCK * MARK_ITEM_BYTES <= DYNAMODB_ITEM_BYTES - ITEM_RESERVE_BYTES,
    "the marks of a run of full batches are one item"
);
const _: () = assert!(RUN_BLOCKS <= 256, "a block's offset in its run is one byte");
const _: () = assert!(
    COPY_BYTES + DYNAMODB_ITEM_BYTES <= DYNAMODB_TRANSACTION_BYTES,
    "a copy that has grown past its bound by one block is one transaction"
);
const _: () = assert!(
    COPY_BLOCKS + 3 <= DYNAMODB_TRANSACTION_ITEMS,
    "a copy's blocks, its guard and the wallet's place in the list of its bucket are one transaction"
);
const _: () = assert!(
    topology::wire::BATCH_BODY_MAX_BYTES >= MAX_BATCH_OPERATIONS * OPERATION_BODY_BYTES,
    "a full batch fits its body"
);
const _: () = assert!(
    MAX_GROUP_COMMIT_ENTRIES * (ENTRY_BYTES + CALLER_BYTES + NOTE_BYTES) <= DYNAMODB_ITEM_BYTES - ITEM_RESERVE_BYTES,
    "a block of requests with the longest notes is one item"
);
// Each byte of a note was one of the body at least.
const _: () = assert!(
    MAX_ENTRIES_PER_BLOCK * ENTRY_BYTES + CALLER_BYTES + topology::wire::BATCH_BODY_MAX_BYTES
        <= DYNAMODB_ITEM_BYTES - ITEM_RESERVE_BYTES,
    "a batch with the longest body is one item"
);
const _: () = assert!(DEFAULT_HOLD_LIFETIME_S <= MAX_HOLD_LIFETIME_S);
