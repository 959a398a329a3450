//! Reads chains whole: blocks that are not in the table any more are in packs of the archive.
//!
//! A block is looked for in a pack only if the table holds a higher one of the wallet. So nothing is asked of the archive
//! for what is yet to be written, nor for a wallet of which nothing was taken out.

use archive::{Archive, ArchiveError};
use ledger::Block;
use topology::WalletId;

use crate::{BlockRange, Chains, Page, StoreError};

/// A page of what the table holds, with what was asked for and is in packs.
pub async fn page<C: Chains>(
    chains: &C,
    packs: &Archive,
    wallet: WalletId,
    range: BlockRange,
    limit: usize,
) -> Result<Page, StoreError> {
    let held = chains.held_page(wallet, range, limit).await?;
    let Some((first, last)) = covered(chains, wallet, range, &held).await? else { return Ok(held) };
    let due = last.saturating_sub(first).saturating_add(1);
    if held.blocks.len() as u64 == due {
        return Ok(held);
    }
    let mut filling = Filling { packs, wallet, held: held.blocks, newest_first: range.newest_first, out: Vec::new() };
    let is_whole = filling.fill(first, last, limit).await?;
    Ok(Page { blocks: filling.out, more: held.more || !is_whole })
}

/// The numbers that a page stands for: all of these that the chain has are in the table or in packs.
async fn covered<C: Chains>(
    chains: &C,
    wallet: WalletId,
    range: BlockRange,
    held: &Page,
) -> Result<Option<(u64, u64)>, StoreError> {
    let highest = held.blocks.iter().map(|block| block.number).max();
    let lowest = held.blocks.iter().map(|block| block.number).min();
    let first = if range.newest_first && held.more { lowest.unwrap_or(range.first) } else { range.first };
    let last = match highest {
        Some(highest) if highest == range.last => highest,
        // The table holds the newest block of each chain.
        _ if range.last == u64::MAX => return Ok(highest.map(|highest| (first, highest))),
        Some(highest) if held.more && !range.newest_first => highest,
        _ => match chains.head(wallet).await? {
            Some(head) => range.last.min(head.number),
            None => return Ok(None),
        },
    };
    Ok((first <= last).then_some((first, last)))
}

struct Filling<'a> {
    packs: &'a Archive,
    wallet: WalletId,
    held: Vec<Block>,
    newest_first: bool,
    out: Vec<Block>,
}

impl Filling<'_> {
    /// Whether all of it fit. Numbers that are in neither place are left out.
    async fn fill(&mut self, first: u64, last: u64, limit: usize) -> Result<bool, StoreError> {
        let mut held = std::mem::take(&mut self.held).into_iter().peekable();
        let mut pack: Option<(u64, Vec<Block>)> = None;
        let mut due = Some(if self.newest_first { last } else { first });
        while let Some(number) = due.filter(|number| (first..=last).contains(number)) {
            if self.out.len() >= limit {
                return Ok(false);
            }
            if held.peek().is_some_and(|block| block.number == number) {
                self.out.extend(held.next());
                due = self.after(number);
                continue;
            }
            let wanted = self.packs.pack_of(number);
            if pack.as_ref().is_none_or(|(there, _)| *there != wanted) {
                let read = self.packs.pack(self.wallet, wanted).await?;
                pack = Some((wanted, read.unwrap_or_default()));
            }
            let found = pack.iter().flat_map(|(_, blocks)| blocks).find(|block| block.number == number);
            self.out.extend(found.cloned());
            due = match found {
                Some(_) => self.after(number),
                // It is in neither place: what the table has next.
                None => held.peek().map(|block| block.number),
            };
        }
        Ok(true)
    }

    fn after(&self, number: u64) -> Option<u64> {
        if self.newest_first { number.checked_sub(1) } else { number.checked_add(1) }
    }
}

impl From<ArchiveError> for StoreError {
    fn from(error: ArchiveError) -> Self {
        match error {
            ArchiveError::Unavailable(why) => Self::Unavailable(why),
            ArchiveError::Unsound(what) => Self::Corrupt(what),
        }
    }
}
