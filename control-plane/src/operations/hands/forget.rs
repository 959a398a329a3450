//! Deletes at the source what a finished operation moved away.
//!
//! It must never delete a block while a write could land that was decided before the wallet left: it would find a free
//! place below the tombstone. No process is asked: one may be stopped, hidden behind an address, or forgotten by the
//! registry. What it waits for is time: see [`ledger::fence`].

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use control_api::Piece;
use ledger::{Head, Timestamp};
use mover::{Group, Mover};
use store::dynamodb::DynamoStore;
use topology::WalletId;

use super::{Assignment, Carried, Outcome, Trouble, trouble};
use crate::cells::holds::InstanceHolds;

/// Pages of wallets of one step; a step is at most 64 buckets.
const PAGES_MAX: usize = 1_000_000;
/// How late it is noticed while waiting that the operation is to stop.
const STOP_POLL: Duration = Duration::from_millis(500);

type Moving<'a> = Mover<'a, DynamoStore, InstanceHolds>;

/// `purge_after`: how old a tombstone has to be.
pub async fn forget(mover: &Moving<'_>, assignment: &Assignment, purge_after: Duration) -> Carried {
    let kept: HashSet<_> = assignment.kept.iter().copied().collect();
    let mut after = None;
    for _ in 0..PAGES_MAX {
        let page = page(mover, assignment, after).await?;
        let Some(&last) = page.last() else {
            return Ok(Outcome { strays: vec![], completed: true });
        };
        for wallet in page.into_iter().filter(|wallet| !kept.contains(wallet)) {
            purge(mover, assignment, wallet, purge_after).await?;
        }
        after = Some(last);
    }
    Err(Trouble::Fatal(format!("{}: more wallets than there can be", assignment.step)))
}

async fn page(mover: &Moving<'_>, assignment: &Assignment, after: Option<WalletId>) -> Result<Vec<WalletId>, Trouble> {
    match assignment.step.piece {
        Piece::Wallet { wallet } => Ok(if after.is_none() { vec![wallet] } else { vec![] }),
        Piece::Buckets(range) => {
            let group = Group { first: range.first, last: range.last };
            match mover.wallets_at_source(group, after).await {
                Ok(page) => Ok(page),
                Err(error) => Err(trouble(mover.route, error).await),
            }
        }
    }
}

async fn purge(
    mover: &Moving<'_>,
    assignment: &Assignment,
    wallet: WalletId,
    purge_after: Duration,
) -> Result<(), Trouble> {
    let tombstone = match mover.tombstone(wallet).await {
        Ok(Some(tombstone)) => tombstone,
        Ok(None) => return Ok(()),
        Err(error) => return Err(trouble(mover.route, error).await),
    };
    wait(mover, &tombstone, purge_after).await?;
    match mover.forget_wallet(wallet, tombstone.number).await {
        Ok(blocks) => {
            assignment.pace.progress.wallets.fetch_add(1, Ordering::Relaxed);
            assignment.pace.progress.blocks.fetch_add(blocks, Ordering::Relaxed);
            Ok(())
        }
        Err(error) => Err(trouble(mover.route, error).await),
    }
}

/// Until the tombstone is so old. That of a wallet that left last is the youngest, so this is seldom more than once.
async fn wait(mover: &Moving<'_>, tombstone: &Head, purge_after: Duration) -> Result<(), Trouble> {
    loop {
        if *mover.stop.borrow() {
            return Err(Trouble::Stopped);
        }
        let left = purge_after.saturating_sub(age(tombstone, (mover.clock)()));
        if left.is_zero() {
            return Ok(());
        }
        tokio::time::sleep(left.min(STOP_POLL)).await;
    }
}

fn age(tombstone: &Head, now: Timestamp) -> Duration {
    Duration::from_micros(u64::try_from(now.micros().saturating_sub(tombstone.at.micros())).unwrap_or(0))
}
