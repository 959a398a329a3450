//! What the tables of a Region that the cell has left hold beside what became of the cell: blocks that were written there
//! and did not reach the archive before the cell went on in another Region.
//!
//! It only reads.

use control_api::regions::{LostBlock, LostEntry};
use ledger::flow::{Flow, Leg};
use ledger::{Block, Entry};
use store::{BlockRange, Chains};
use topology::{CellId, WalletId};

use crate::Result;

/// Blocks that are compared at once.
const PAGE: usize = 64;

/// The blocks of a wallet of `cell` that only `left` has, in their order. Empty where the chain of `kept` holds all of them.
pub async fn lost(cell: &CellId, left: &impl Chains, kept: &impl Chains, wallet: WalletId) -> Result<Vec<LostBlock>> {
    let (Some(last), Some(goes_on)) = (left.head(wallet).await?, kept.head(wallet).await?) else {
        return Ok(read(left, wallet, 0, u64::MAX).await?.iter().map(view).collect());
    };
    if last.number == goes_on.number && last.hash == goes_on.hash {
        return Ok(vec![]);
    }
    let (mut lost, mut upto) = (Vec::new(), last.number);
    'pages: loop {
        let page = left.blocks(wallet, BlockRange { first: 0, last: upto, newest_first: true }, PAGE).await?;
        let Some(lowest) = page.last().map(|block| block.number) else { break };
        let same = read(kept, wallet, lowest, upto).await?;
        for block in page {
            match same.iter().find(|same| same.number == block.number) {
                Some(same) if same.hash == block.hash => break 'pages,
                // Below a tombstone, what has been purged is in other tables.
                None if block.number < goes_on.number && goes_on.home != *cell => break 'pages,
                _ => lost.push(view(&block)),
            }
        }
        let Some(next) = lowest.checked_sub(1) else { break };
        upto = next;
    }
    lost.reverse();
    Ok(lost)
}

/// All blocks of a range, both inclusive: a page of the store ends early where blocks are large.
async fn read(store: &impl Chains, wallet: WalletId, first: u64, last: u64) -> Result<Vec<Block>> {
    let (mut all, mut first) = (Vec::new(), first);
    while first <= last {
        let page = store.blocks(wallet, BlockRange { first, last, newest_first: false }, PAGE).await?;
        let Some(next) = page.last().and_then(|block| block.number.checked_add(1)) else { break };
        first = next;
        all.extend(page);
    }
    Ok(all)
}

fn view(block: &Block) -> LostBlock {
    let entries = block.entries.iter().map(|entry| LostEntry {
        id: entry.id,
        kind: entry.kind.name().to_owned(),
        amount: entry.amount.to_string(),
        minor: change(entry),
        reference: entry.reference.as_str().to_owned(),
    });
    LostBlock {
        wallet: block.wallet,
        number: block.number,
        hash: block.hash.to_string(),
        at: block.at.to_string(),
        balance: block.state.balance.to_string(),
        entries: entries.collect(),
    }
}

/// What the entry did to the balance, in the smallest unit of money.
fn change(entry: &Entry) -> i64 {
    let minor = i64::try_from(entry.amount.minor()).unwrap_or(i64::MAX);
    match entry.flow() {
        Flow::In | Flow::Transfer { leg: Leg::Received { .. } | Leg::Returned, .. } => minor,
        Flow::Out | Flow::Transfer { leg: Leg::Sent { .. }, .. } => -minor,
        Flow::None | Flow::Transfer { leg: Leg::Settled | Leg::Refused { .. }, .. } => 0,
    }
}

#[cfg(test)]
mod tests {
    use ledger::{Append, moving};
    use store::Genesis;
    use store::memory::MemoryStore;
    use topology::WalletId;
    use uuid::Uuid;

    use super::*;
    use crate::refill::tests::fixture::{a_chain, cell, deposit, fork};

    async fn holding(blocks: &[Block]) -> MemoryStore {
        let store = MemoryStore::new(Genesis::of([]));
        for block in blocks {
            store.append(&Append::next(block.clone())).await.expect("free");
        }
        store
    }

    #[tokio::test]
    async fn what_only_the_former_region_has_is_named() {
        let wallet = WalletId::from_uuid(Uuid::from_u128(1));
        for (common, lost_there, went_on) in [(1, 0, 0), (1, 3, 0), (5, 0, 4), (70, 80, 0), (70, 80, 200), (70, 200, 3)]
        {
            let shared = a_chain(wallet, common);
            let (mut left, mut kept) = (shared.clone(), shared);
            for number in 0..lost_there {
                left.push(deposit(&left[common + number - 1]));
            }
            for number in 0..went_on {
                let before = &kept[common + number - 1];
                kept.push(if number == 0 { fork(before) } else { deposit(before) });
            }
            let (former, now) = (holding(&left).await, holding(&kept).await);
            let found = lost(&cell(1), &former, &now, wallet).await.expect("answers");
            let expected: Vec<_> = left[common..].iter().map(|block| (block.number, block.hash.to_string())).collect();
            let named: Vec<_> = found.iter().map(|block| (block.number, block.hash.clone())).collect();
            assert_eq!(named, expected, "{common} {lost_there} {went_on}");
            let minor: i64 = found.iter().flat_map(|block| &block.entries).map(|entry| entry.minor).sum();
            assert_eq!(minor, i64::try_from(lost_there).expect("small"));
            // A wallet that is in one of them alone.
            let empty = holding(&[]).await;
            assert_eq!(lost(&cell(1), &former, &empty, wallet).await.expect("answers").len(), left.len());
            assert_eq!(lost(&cell(1), &empty, &now, wallet).await.expect("answers"), []);
        }
    }

    #[tokio::test]
    async fn what_was_purged_below_a_tombstone_is_not_lost() {
        let wallet = WalletId::from_uuid(Uuid::from_u128(1));
        let chain = a_chain(wallet, 8);
        let head = chain[7].head();
        let stone = moving::moved_block(&head, &cell(2), 1, Uuid::from_u128(9), Default::default(), head.at);
        let (former, now) = (holding(&chain[..7]).await, holding(&[stone]).await);
        assert_eq!(lost(&cell(1), &former, &now, wallet).await.expect("answers"), []);
        // Without a tombstone, it is missing.
        let now = holding(&chain[7..]).await;
        assert_eq!(lost(&cell(1), &former, &now, wallet).await.expect("answers").len(), 7);
    }
}
