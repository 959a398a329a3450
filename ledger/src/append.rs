//! The one write of the ledger: the next block of a chain, and what must hold for it.

use crate::block::Block;
use crate::personal::Owner;

/// Which conditions of an append failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Conflict {
    /// The chain already has a block of this number.
    pub taken: bool,
    /// Its [`Guard`] does not hold.
    pub guard: bool,
}

/// What must hold, beside that the blocks' places are free, for an append to be made. It is about the first block's
/// wallet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Guard {
    /// Creating: the wallet's bucket is served here, by its row or, where there is none and `genesis` says so, from
    /// the start; and no row sends this wallet elsewhere.
    Bucket { genesis: bool },
    /// Creating: a row grants this very wallet to the cell.
    Granted,
    /// Moving: the block below the first one is there and is the one that it names, and the block below that is there
    /// too. So a write that was decided long ago fails where the chain below it has been purged since.
    Unbroken,
}

/// One atomic write: the next block of a chain, or consecutive blocks of a chain that is copied.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Append {
    pub blocks: Vec<Block>,
    /// One of the creating guards exactly when a wallet is created.
    pub guard: Option<Guard>,
    /// Of a wallet that is created.
    pub owner: Option<Owner>,
}

impl Append {
    /// The next block of a chain that this cell serves.
    pub fn next(block: Block) -> Append {
        Append::of(vec![block], None)
    }

    /// A part of one chain, decided by a process that may have slept since it looked: a copy, or the block that ends
    /// the wallet's time in a cell.
    pub fn onto(blocks: Vec<Block>) -> Append {
        let guard = blocks.first().is_some_and(|first| first.number > 0).then_some(Guard::Unbroken);
        Append::of(blocks, guard)
    }

    /// A new wallet.
    pub fn create(opened: Block, guard: Guard, owner: Owner) -> Append {
        Append { owner: Some(owner), ..Append::of(vec![opened], Some(guard)) }
    }

    pub fn of(blocks: Vec<Block>, guard: Option<Guard>) -> Append {
        Append { blocks, guard, owner: None }
    }
}
