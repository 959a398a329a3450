//! The bytes of a segment: blocks one after another, as they are stored in the tables.

use ledger::block::Hash;
use ledger::{Block, Timestamp, canonical};
use sha2::{Digest, Sha256};

use crate::ArchiveError;

/// How a segment begins. The last byte is the version of the format.
const MAGIC: &[u8; 8] = b"wallet\0\x01";
/// Most bytes of a segment: what one process holds of it at once.
pub const MAX_SEGMENT_BYTES: usize = 8 * 1024 * 1024;
/// Most blocks of a segment.
pub const MAX_SEGMENT_BLOCKS: usize = 16_384;

/// Blocks in the order in which they were written. Only a fence has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    pub blocks: Vec<Block>,
}

impl Segment {
    /// Times of its oldest and its newest block.
    pub(crate) fn times(&self) -> Option<(Timestamp, Timestamp)> {
        let times = self.blocks.iter().map(|block| block.at);
        Some((times.clone().min()?, times.max()?))
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for block in &self.blocks {
            let sealed = block.sealed.as_ref().map_or(&[][..], |sealed| sealed.as_bytes());
            for part in [&canonical::encode(block)[..], sealed] {
                let length = u32::try_from(part.len()).expect("a block is far shorter");
                bytes.extend_from_slice(&length.to_be_bytes());
                bytes.extend_from_slice(part);
            }
        }
        bytes
    }

    /// Reads what [`Segment::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ArchiveError> {
        let mut rest =
            bytes.strip_prefix(MAGIC).ok_or_else(|| ArchiveError::unsound("not a segment of this version"))?;
        let mut blocks = Vec::new();
        while !rest.is_empty() {
            let (canonical, sealed);
            (canonical, rest) = part(rest)?;
            (sealed, rest) = part(rest)?;
            let sealed = (!sealed.is_empty()).then_some(sealed);
            let block = canonical::decode(canonical, sealed);
            blocks.push(block.map_err(|error| ArchiveError::unsound(format!("block {}: {error}", blocks.len())))?);
        }
        Ok(Self { blocks })
    }
}

/// The name of a segment.
pub fn hash(bytes: &[u8]) -> Hash {
    Hash(Sha256::digest(bytes).into())
}

fn part(bytes: &[u8]) -> Result<(&[u8], &[u8]), ArchiveError> {
    let taken = bytes.split_first_chunk::<4>().and_then(|(length, rest)| {
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        rest.split_at_checked(length)
    });
    taken.ok_or_else(|| ArchiveError::unsound("a segment ends inside a block"))
}
