//! The open transfers of a wallet: those that have left it and are neither settled nor returned. They follow from the
//! blocks from [`crate::WalletState::open_since`] on.

use std::collections::{BTreeMap, BTreeSet};

use topology::WalletId;

use crate::block::{Block, Entry, ShortText, TransactionId};
use crate::flow::{Flow, Leg};
use crate::money::Money;
use crate::time::Timestamp;

/// A transfer that has left its payer, and where it is written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OpenTransfer {
    pub payer: WalletId,
    pub transfer: TransactionId,
    pub payee: WalletId,
    pub amount: Money,
    /// The transaction that it sends back.
    pub reverses: Option<TransactionId>,
    /// The client's name for it.
    pub reference: ShortText,
    /// The time of the block by which it left.
    pub left_at: Timestamp,
    pub block: u64,
}

impl OpenTransfer {
    /// `None` if the entry sends nothing.
    pub fn of(block: &Block, entry: &Entry) -> Option<OpenTransfer> {
        let Flow::Transfer { id: transfer, leg: Leg::Sent { to } } = entry.flow() else { return None };
        Some(OpenTransfer {
            payer: block.wallet,
            transfer,
            payee: to,
            amount: entry.amount,
            reverses: entry.kind.reverses(),
            reference: entry.reference.clone(),
            left_at: block.at,
            block: block.number,
        })
    }
}

/// The open transfers of one wallet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OpenTransfers {
    transfers: BTreeMap<TransactionId, OpenTransfer>,
    blocks: BTreeSet<(u64, TransactionId)>,
}

impl OpenTransfers {
    /// Takes the next block of the chain in. A transfer that it ends and that is not known left before the first block
    /// that was taken in.
    pub fn take(&mut self, block: &Block) {
        for entry in &block.entries {
            match entry.flow() {
                Flow::Transfer { leg: Leg::Sent { .. }, .. } => {
                    let open = OpenTransfer::of(block, entry).expect("it sends");
                    self.blocks.insert((open.block, open.transfer));
                    self.transfers.insert(open.transfer, open);
                }
                Flow::Transfer { id, leg: Leg::Settled | Leg::Returned } => {
                    if let Some(ended) = self.transfers.remove(&id) {
                        self.blocks.remove(&(ended.block, ended.transfer));
                    }
                }
                Flow::Transfer { leg: Leg::Received { .. } | Leg::Refused { .. }, .. }
                | Flow::None
                | Flow::In
                | Flow::Out => {}
            }
        }
    }

    pub fn get(&self, transfer: TransactionId) -> Option<&OpenTransfer> {
        self.transfers.get(&transfer)
    }

    /// The lowest block by which one of them left; 0 if there is none.
    pub fn since(&self) -> u64 {
        self.blocks.first().map_or(0, |(block, _)| *block)
    }

    /// The same after a block of this number with these entries.
    pub fn since_after(&self, number: u64, entries: &[Entry]) -> u64 {
        let (mut ended, mut sends) = (BTreeSet::new(), false);
        for entry in entries {
            match entry.flow() {
                Flow::Transfer { id, leg: Leg::Settled | Leg::Returned } => drop(ended.insert(id)),
                Flow::Transfer { leg: Leg::Sent { .. }, .. } => sends = true,
                Flow::Transfer { leg: Leg::Received { .. } | Leg::Refused { .. }, .. }
                | Flow::None
                | Flow::In
                | Flow::Out => {}
            }
        }
        let left = self.blocks.iter().find(|(_, transfer)| !ended.contains(transfer));
        left.map_or(if sends { number } else { 0 }, |(block, _)| *block)
    }

    pub fn iter(&self) -> impl Iterator<Item = &OpenTransfer> {
        self.transfers.values()
    }

    pub fn len(&self) -> usize {
        self.transfers.len()
    }

    pub fn is_empty(&self) -> bool {
        self.transfers.is_empty()
    }
}
