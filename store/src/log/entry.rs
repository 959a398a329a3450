//! The rows of a log: a checkpoint with what is needed to append to its tree, and where a wallet's latest leaf is.

use ledger::block::Hash;
use ledger::checkpoint::{Checkpoint, Leaf, SIGNATURE_BYTES, Signed};
use ledger::merkle::Edge;
use uuid::Uuid;

/// A checkpoint as it is stored. Only `signed` is signed; the rest follows from the leaves, and is held against them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub signed: Signed,
    /// Which of the rows of leaves written for this number is the one that counts.
    pub batch: Uuid,
    /// Leaves in it.
    pub added: u64,
    pub edge: Edge,
}

impl Entry {
    /// Size and root.
    pub fn tree(&self) -> (u64, Hash) {
        (self.signed.checkpoint.size, self.signed.checkpoint.root)
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let checkpoint = self.signed.checkpoint.to_bytes();
        let mut out = vec![u8::try_from(checkpoint.len()).expect("a checkpoint is at most 138 bytes")];
        out.extend_from_slice(&checkpoint);
        out.extend_from_slice(&self.signed.signature);
        out.extend_from_slice(self.batch.as_bytes());
        out.extend_from_slice(&self.added.to_be_bytes());
        out.extend_from_slice(&self.edge.to_bytes());
        out
    }

    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&length, rest) = bytes.split_first()?;
        let (checkpoint, rest) = rest.split_at_checked(usize::from(length))?;
        let (signature, rest) = rest.split_first_chunk::<SIGNATURE_BYTES>()?;
        let (batch, rest) = rest.split_first_chunk::<16>()?;
        let (added, edge) = rest.split_first_chunk::<8>()?;
        let signed = Signed { checkpoint: Checkpoint::from_bytes(checkpoint)?, signature: *signature };
        let edge = Edge::from_bytes(edge)?;
        Some(Self { signed, batch: Uuid::from_bytes(*batch), added: u64::from_be_bytes(*added), edge })
    }
}

/// The latest leaf of a wallet, and where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latest {
    pub index: u64,
    /// The checkpoint that added it.
    pub checkpoint: u64,
    pub leaf: Leaf,
}

impl Latest {
    pub fn to_bytes(self) -> Vec<u8> {
        [&self.index.to_be_bytes()[..], &self.checkpoint.to_be_bytes(), &self.leaf.to_bytes()].concat()
    }

    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (index, rest) = bytes.split_first_chunk::<8>()?;
        let (checkpoint, leaf) = rest.split_first_chunk::<8>()?;
        Some(Self {
            index: u64::from_be_bytes(*index),
            checkpoint: u64::from_be_bytes(*checkpoint),
            leaf: Leaf::from_bytes(leaf)?,
        })
    }
}
