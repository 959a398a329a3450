//! What came into wallets and left them, read from the chains of one cell to add up the books.
//!
//! It must never change anything, and keeps no more than a page.

use control_api::flows::{FlowsPage, Place, ReadFlows};
use ledger::Timestamp;
use reconciliation::{count, nothing_of};
use store::{BlockRange, Chains, Homes};
use tokio::time::{Duration, Instant};
use topology::Bucket;

use crate::cells::fleet::Fleet;
use crate::error::Result;

/// One answer comes after about this long, or with so many blocks; the caller continues from there.
const PAGE_TIME: Duration = Duration::from_secs(3);
const PAGE_BLOCKS: u64 = 5_000;
const BLOCKS: usize = 256;
const WALLETS: usize = 64;

pub async fn read(fleet: &Fleet, wanted: &ReadFlows) -> Result<FlowsPage> {
    let side = fleet.side(&wanted.cell).await?;
    let until = Timestamp::from_micros(wanted.until_micros);
    let deadline = Instant::now() + PAGE_TIME;
    let (mut page, mut blocks) = (FlowsPage::default(), 0);
    let mut from = wanted.from;
    let mut after = None;
    loop {
        let wallets = match from {
            Some(place) => vec![place.wallet],
            None => side.store.members((Bucket(0), Bucket(u16::MAX)), after, WALLETS).await?,
        };
        if wallets.is_empty() {
            return Ok(page);
        }
        for wallet in wallets {
            let mut first = from.take().map_or(0, |place| place.block);
            let head = side.store.head(wallet).await?;
            let is_home = head.as_ref().is_some_and(|head| head.home == wanted.cell);
            let mut flows = nothing_of(wallet, is_home);
            // Of a chain that is served elsewhere, only the name counts.
            let mut more = is_home;
            while more {
                let range = BlockRange { first, last: u64::MAX, newest_first: false };
                let part = side.store.page(wallet, range, BLOCKS).await?;
                for block in &part.blocks {
                    count(block, until, &mut flows);
                    first = block.number.saturating_add(1);
                }
                blocks += part.blocks.len() as u64;
                more = part.more;
                if more && (Instant::now() >= deadline || blocks >= PAGE_BLOCKS) {
                    page.wallets.push(flows);
                    page.next = Some(Place { wallet, block: first });
                    return Ok(page);
                }
            }
            page.wallets.push(flows);
            after = Some(wallet);
            if Instant::now() >= deadline || blocks >= PAGE_BLOCKS {
                let next = side.store.members((Bucket(0), Bucket(u16::MAX)), after, 1).await?;
                page.next = next.first().map(|wallet| Place { wallet: *wallet, block: 0 });
                return Ok(page);
            }
        }
    }
}
