//! The change stream of a cell: the port. Whatever follows a cell (its feed) reads here which blocks were written, instead
//! of walking all wallets.
//!
//! It promises each block at least once, and those of one wallet in their order. It never decides what a block means, and
//! it never keeps where a reader is: the reader does, in a [`Position`].

use std::collections::BTreeMap;
use std::future::Future;

use ledger::Block;
use serde::{Deserialize, Serialize};
use topology::WalletId;

use crate::errors::StoreError;

/// Most shards that a position names. A shard takes 1,000 writes a second, so a cell has far fewer.
pub const MAX_POSITION_SHARDS: usize = 512;
/// Most blocks of a batch, and most bytes of them.
pub const MAX_BATCH_BLOCKS: usize = 8_192;
pub const MAX_BATCH_BYTES: usize = 7 * 1024 * 1024;

/// How far a reader has come. Plain data that can be stored; the default one is before everything that the stream keeps.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Position {
    /// The stream that the shards are of. Tables that were replaced have another one.
    pub(crate) stream: Option<String>,
    /// The shards that are being read. All before them has been read, and what follows them has not.
    pub(crate) shards: BTreeMap<String, Taken>,
}

impl Position {
    /// Whether nothing has been read yet.
    pub fn is_start(&self) -> bool {
        self.stream.is_none()
    }
}

/// How much of a shard has been read.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Taken {
    Nothing,
    /// Up to the record with this number, and that record too.
    Upto(String),
    /// The shard has ended.
    All,
}

/// What follows a position.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Batch {
    /// The blocks of one wallet are in their order.
    pub blocks: Vec<Block>,
    /// Items that were written and are no sound blocks.
    pub unsound: Vec<Unsound>,
    /// After all of these.
    pub position: Position,
    /// There is more to read at once.
    pub is_behind: bool,
    /// Some of what follows the position that was asked for is not kept any more, or it is of another stream.
    pub lost: bool,
}

/// An item of a stream that says nothing sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsound {
    /// Its number in the stream.
    pub record: String,
    /// The block that it should be, by wallet and number, if it says so.
    pub block: Option<(WalletId, u64)>,
    pub what: String,
}

/// The blocks of a cell in the order in which they were written.
pub trait Changes: Clone + Send + Sync + 'static {
    /// A position from which on every block comes that is written after this call. Some that were written before may come
    /// as well.
    fn newest_position(&self) -> impl Future<Output = Result<Position, StoreError>> + Send;

    /// What follows a position; nothing, if nothing does. May be a moment behind.
    fn changes(&self, after: &Position) -> impl Future<Output = Result<Batch, StoreError>> + Send;
}
