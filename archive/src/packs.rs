//! Packs: the old blocks of one wallet, [`PACK_BLOCKS`] in a row, as an object of their own. What is in a pack need not be
//! in the table of a cell: a reader finds it by wallet and number, with one request.
//!
//! A pack follows from the chain, so everything that writes one writes the same bytes, in whatever cell the wallet lives.
//! So packs belong to no cell, and stay where they are when a wallet moves: its new cell gets neither rows nor segments of
//! these blocks.

use std::fmt::Display;
use std::ops::{Range, RangeInclusive};

use ledger::limits::RUN_BLOCKS;
use ledger::{Block, Head, chain};
use object_store::path::Path;
use topology::WalletId;

use crate::segment::Segment;
use crate::{Archive, ArchiveError};

/// The folder of all packs, beside those of the cells, of which none may have this name.
const FOLDER: &str = "packs";
/// Blocks of a pack: whole runs, so that the marks of all its blocks are in rows of full runs.
pub const PACK_BLOCKS: u64 = 2 * RUN_BLOCKS;

impl Archive {
    /// The pack that the block of this number belongs to.
    pub fn pack_of(&self, number: u64) -> u64 {
        number.checked_div(self.pack_blocks).unwrap_or(0)
    }

    /// The numbers of the blocks of a pack.
    pub fn numbers_of(&self, pack: u64) -> RangeInclusive<u64> {
        let first = pack.saturating_mul(self.pack_blocks);
        first..=first.saturating_add(self.pack_blocks.saturating_sub(1))
    }

    /// The packs of all blocks from `due` up to the one before `next`, if whole packs hold them: those that a wallet left out
    /// of its log when it moved there (the mover passes over them). Block 0 is never left out.
    pub fn packs_between(&self, due: u64, next: u64) -> Option<Range<u64>> {
        let first = if due == 1 { 0 } else { due };
        let is_whole = [first, next].iter().all(|number| number.is_multiple_of(self.pack_blocks));
        (due > 0 && due < next && is_whole).then(|| self.pack_of(first)..self.pack_of(next))
    }

    /// The blocks of a pack, each linked to the one before; `None`: there is no such pack. What comes before the first one
    /// is for the reader to check.
    pub async fn pack(&self, wallet: WalletId, pack: u64) -> Result<Option<Vec<Block>>, ArchiveError> {
        let Some(bytes) = self.read(&path(wallet, pack)).await? else { return Ok(None) };
        let unsound = |what: &dyn Display| ArchiveError::unsound(format!("pack {pack} of wallet {wallet}: {what}"));
        let blocks = Segment::from_bytes(&bytes).map_err(|error| unsound(&error))?.blocks;
        self.check_pack(wallet, pack, &blocks).map_err(|fault| unsound(&fault))?;
        Ok(Some(blocks))
    }

    /// Writes a pack, unless it is there, and reads it back: when this returns, the archive has these very blocks.
    ///
    /// # Panics
    ///
    /// If the blocks are not those of one pack, in order.
    pub async fn put_pack(&self, blocks: &[Block]) -> Result<(), ArchiveError> {
        let first = blocks.first().expect("a pack has blocks");
        let (wallet, pack) = (first.wallet, self.pack_of(first.number));
        self.check_pack(wallet, pack, blocks).expect("the blocks of a pack, from a verified chain");
        self.create(&path(wallet, pack), Segment { blocks: blocks.to_vec() }.to_bytes()).await?;
        match self.pack(wallet, pack).await? {
            Some(there) if there == blocks => Ok(()),
            Some(_) => {
                Err(ArchiveError::unsound(format!("pack {pack} of wallet {wallet} has other blocks than its chain")))
            }
            None => Err(ArchiveError::unsound(format!("pack {pack} of wallet {wallet} was written, and is not there"))),
        }
    }

    /// All blocks of the pack and no others, each following on the one before.
    fn check_pack(&self, wallet: WalletId, pack: u64, blocks: &[Block]) -> Result<(), String> {
        let numbers = self.numbers_of(pack);
        if !blocks.iter().map(|block| block.number).eq(numbers) || blocks.iter().any(|block| block.wallet != wallet) {
            return Err("it does not have the blocks that its name says".into());
        }
        let mut before: Option<Head> = None;
        for block in blocks {
            if before.is_some() || block.number == 0 {
                chain::verify(before.as_ref(), block).map_err(|fault| format!("block {}: {fault}", block.number))?;
            }
            before = Some(block.head());
        }
        Ok(())
    }
}

fn path(wallet: WalletId, pack: u64) -> Path {
    Path::from_iter([FOLDER, &wallet.to_string(), &format!("{pack:020}")])
}
