//! The chain of one wallet. There is no index: all segments until that time are read, and only this chain is held.

use std::collections::BTreeMap;

use ledger::{Block, Timestamp, chain};
use topology::WalletId;

use crate::findings::Findings;
use crate::{Archive, ArchiveError, Finding};

/// What is archived of one wallet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct History {
    /// In order, each number once.
    pub blocks: Vec<Block>,
    /// Of the log and of this chain.
    pub findings: Findings,
}

impl Archive {
    /// The blocks of a wallet with times up to `until`.
    pub async fn history(&self, wallet: WalletId, until: Timestamp) -> Result<History, ArchiveError> {
        let (mut blocks, mut findings) = (BTreeMap::<u64, Block>::new(), Findings::default());
        let last = self.highest(&mut findings).await?;
        let mut reader = self.reader_until(1..=last, until);
        while let Some(fetched) = reader.next().await? {
            for fault in &fetched.faults {
                findings.add(Finding::of_entry(fetched.number, fault));
            }
            let of_segment = fetched.segment.into_iter().flat_map(|segment| segment.blocks);
            for block in of_segment.filter(|block| block.wallet == wallet && block.at <= until) {
                let number = block.number;
                if blocks.get(&number).is_some_and(|there| there.hash != block.hash) {
                    findings.add(Finding::fork(fetched.number, &block));
                }
                blocks.entry(number).or_insert(block);
            }
        }
        if let Err(fault) = self.add_packed(wallet, until, &mut blocks).await {
            match fault {
                ArchiveError::Unsound(what) => findings.add(Finding::of_wallet(wallet, None, what)),
                error @ ArchiveError::Unavailable(_) => return Err(error),
            }
        }
        let blocks: Vec<Block> = blocks.into_values().collect();
        if let Some((block, fault)) = first_fault(&blocks) {
            findings.add(Finding::of_wallet(wallet, Some(block), fault.to_string()));
        }
        Ok(History { blocks, findings })
    }

    /// What the log lacks of a chain and packs have: a wallet that moves leaves them out of the log of its new cell. Of a
    /// wallet that has left, packs have later blocks too, which are no part of this log.
    async fn add_packed(
        &self,
        wallet: WalletId,
        until: Timestamp,
        blocks: &mut BTreeMap<u64, Block>,
    ) -> Result<(), ArchiveError> {
        let Some(beginning) = blocks.first_key_value().map(|(first, _)| *first) else { return Ok(()) };
        // Whatever it left out came before that time.
        let is_cut = blocks.len() == 1 && beginning == 0;
        let mut due = beginning;
        loop {
            while blocks.contains_key(&due) {
                due = due.saturating_add(1);
            }
            if !is_cut && blocks.last_key_value().is_none_or(|(last, _)| *last < due) {
                return Ok(());
            }
            let Some(pack) = self.pack(wallet, self.pack_of(due)).await? else { return Ok(()) };
            for block in pack.into_iter().filter(|block| block.at <= until) {
                blocks.entry(block.number).or_insert(block);
            }
            if !blocks.contains_key(&due) {
                return Ok(());
            }
        }
    }
}

fn first_fault(blocks: &[Block]) -> Option<(u64, chain::ChainFault)> {
    let mut before = None;
    blocks.iter().find_map(|block| {
        let fault = chain::verify(before.as_ref(), block).err();
        before = Some(block.head());
        fault.map(|fault| (block.number, fault))
    })
}
