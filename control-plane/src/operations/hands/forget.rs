//! Deletes at the source what a finished operation moved away.
//!
//! It must never delete a block of a wallet before every instance of the source has confirmed that it holds no older
//! head of it, or is known to be stopped: a long-stale instance could append into the hole.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ledger::store::dynamodb::DynamoStore;
use topology::{InstanceId, WalletId};

use super::{Carried, Job, Outcome, Trouble, trouble};
use crate::mover::{Group, InstanceHolds, Mover};
use crate::state::ControlPlane;
use crate::wire::Piece;

/// A call of a cell to its store is waited for 2 s: this is several times as long. Never longer than the bake asked for.
const LANDING_TIME: Duration = Duration::from_secs(10);
/// Pages of wallets of one step; a step is at most 64 buckets.
const PAGES_MAX: usize = 1_000_000;

pub async fn forget(
    control: &ControlPlane,
    mover: &Mover<'_, DynamoStore, InstanceHolds>,
    job: &Job,
    stopped: &[InstanceId],
) -> Carried {
    let mut tombstones = Vec::new();
    let mut after = None;
    for _ in 0..PAGES_MAX {
        let page = page(mover, job, after).await?;
        let Some(&last) = page.last() else {
            delete(mover, job, &tombstones).await?;
            return Ok(Outcome { strays: vec![], completed: true });
        };
        confirm(control, mover, job, stopped, &page, &mut tombstones).await?;
        after = Some(last);
    }
    Err(Trouble::Fatal(format!("{}: more wallets than there can be", job.step)))
}

async fn page(
    mover: &Mover<'_, DynamoStore, InstanceHolds>,
    job: &Job,
    after: Option<WalletId>,
) -> Result<Vec<WalletId>, Trouble> {
    match job.step.piece {
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

/// All instances confirm all wallets of the step before the first block is deleted.
async fn confirm(
    control: &ControlPlane,
    mover: &Mover<'_, DynamoStore, InstanceHolds>,
    job: &Job,
    stopped: &[InstanceId],
    page: &[WalletId],
    tombstones: &mut Vec<(WalletId, u64)>,
) -> Result<(), Trouble> {
    let kept: HashSet<_> = job.kept.iter().copied().collect();
    for &wallet in page.iter().filter(|wallet| !kept.contains(wallet)) {
        stop_if_told(mover)?;
        // Before the instances are asked: it is below this very block that they confirm to remember nothing.
        match mover.tombstone(wallet).await {
            Ok(Some(number)) => tombstones.push((wallet, number)),
            Ok(None) => continue,
            Err(error) => return Err(trouble(mover.route, error).await),
        }
        control.instances.fenced(&job.instances, stopped, wallet).await.map_err(|why| {
            let todo = "start it, or name it as stopped for good (--stopped) with a --reason";
            Trouble::Fatal(format!("nothing more of {} is deleted: {why}; {todo}", job.step.from))
        })?;
    }
    Ok(())
}

async fn delete(
    mover: &Mover<'_, DynamoStore, InstanceHolds>,
    job: &Job,
    tombstones: &[(WalletId, u64)],
) -> Result<(), Trouble> {
    if !tombstones.is_empty() {
        // What an instance had sent just before it let go of a wallet has landed by then, or never will.
        tokio::time::sleep(LANDING_TIME.min(Duration::from_secs(job.bake_seconds))).await;
    }
    for &(wallet, tombstone) in tombstones {
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
