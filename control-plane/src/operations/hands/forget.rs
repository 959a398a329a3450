//! Deletes at the source what a finished operation moved away.
//!
//! It must never delete a block of a wallet before every instance of the source has confirmed that it holds no older
//! head of it, or is known to be stopped: a long-stale instance could append into the hole.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use ledger::store::dynamodb::DynamoStore;
use topology::{InstanceId, WalletId};

use super::{Carried, Job, Outcome, Trouble, trouble};
use crate::mover::{Group, InstanceHolds, Mover};
use crate::state::ControlPlane;
use crate::wire::Piece;

/// Pages of wallets of one step; a step is at most 64 buckets.
const PAGES_MAX: usize = 1_000_000;

pub async fn forget(
    control: &ControlPlane,
    mover: &Mover<'_, DynamoStore, InstanceHolds>,
    job: &Job,
    stopped: &[InstanceId],
) -> Carried {
    let kept: HashSet<_> = job.kept.iter().copied().collect();
    let mut after = None;
    for _ in 0..PAGES_MAX {
        let page = match job.step.piece {
            Piece::Wallet { wallet } if after.is_none() => vec![wallet],
            Piece::Wallet { .. } => vec![],
            Piece::Buckets(range) => {
                let group = Group { first: range.first, last: range.last };
                match mover.wallets_at_source(group, after).await {
                    Ok(page) => page,
                    Err(error) => return Err(trouble(mover.route, error).await),
                }
            }
        };
        let Some(&last) = page.last() else { return Ok(Outcome { strays: vec![], completed: true }) };
        let page: Vec<_> = page.into_iter().filter(|wallet| !kept.contains(wallet)).collect();
        forget_page(control, mover, job, stopped, &page).await?;
        after = Some(last);
    }
    Err(Trouble::Fatal(format!("{}: more wallets than there can be", job.step)))
}

/// All instances confirm all wallets of the page before the first block is deleted.
async fn forget_page(
    control: &ControlPlane,
    mover: &Mover<'_, DynamoStore, InstanceHolds>,
    job: &Job,
    stopped: &[InstanceId],
    page: &[WalletId],
) -> Result<(), Trouble> {
    let mut tombstones = Vec::new();
    for &wallet in page {
        stop_if_told(mover)?;
        // Before the instances are asked: it is below this very block that they confirm to remember nothing.
        match mover.tombstone(wallet).await {
            Ok(Some(number)) => tombstones.push((wallet, number)),
            Ok(None) => {}
            Err(error) => return Err(trouble(mover.route, error).await),
        }
        control.instances.fenced(&job.instances, stopped, wallet).await.map_err(|why| {
            let todo = "start it, or name it as stopped for good (--stopped) with a --reason";
            Trouble::Fatal(format!("nothing more of {} is deleted: {why}; {todo}", job.step.from))
        })?;
    }
    for (wallet, tombstone) in tombstones {
        stop_if_told(mover)?;
        match mover.forget_wallet(wallet, tombstone).await {
            Ok(blocks) => {
                job.pace.progress.wallets.fetch_add(1, Ordering::Relaxed);
                job.pace.progress.blocks.fetch_add(blocks, Ordering::Relaxed);
            }
            Err(error) => return Err(trouble(mover.route, error).await),
        }
    }
    Ok(())
}

fn stop_if_told(mover: &Mover<'_, DynamoStore, InstanceHolds>) -> Result<(), Trouble> {
    if *mover.stop.borrow() { Err(Trouble::Stopped) } else { Ok(()) }
}
