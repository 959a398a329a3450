//! Compares what was moved, wallet by wallet and hash by hash, at the source and at the target.
//!
//! It must never change anything: it only reads, page by page, as long as it is asked.

use std::time::Duration;

use control_api::{Mismatch, OperationId, Piece, Refusal, Step, Verified, VerifyFrom};
use mover::{Group, MoveError};
use tokio::time::Instant;
use topology::WalletId;

use super::estimate::Looking;
use super::hands::{route, trouble};
use super::start::completed;
use super::step::pinned_at_source;
use crate::cells::fleet::Fleet;
use crate::error::{Error, Result, no_placement, refused};
use crate::operations::service::Operations;

/// One answer comes after about this long; the caller continues from there.
const PAGE_TIME: Duration = Duration::from_secs(5);
/// Mismatches in one answer.
const MISMATCHES_MAX: usize = 100;

pub async fn verify(operations: &Operations, id: OperationId, from: &VerifyFrom) -> Result<Verified> {
    let fleet = &*operations.fleet;
    let (_, steps) = completed(operations, id).await?;
    let now = fleet.placements.refresh().await?.ok_or_else(no_placement)?;
    let deadline = Instant::now() + PAGE_TIME;
    let mut done = Verified::default();
    let mut after = from.after;
    for (number, step) in (0..).zip(&steps).skip(usize::try_from(from.step).unwrap_or(usize::MAX)) {
        let kept = pinned_at_source(&now.placement, step);
        loop {
            let (last, checked) = page(fleet, step, after, &kept, &mut done).await?;
            done.wallets += checked;
            after = last;
            let full = Instant::now() >= deadline || done.mismatches.len() >= MISMATCHES_MAX;
            if full && (after.is_some() || number + 1 < steps.len() as u64) {
                let step = if after.is_some() { number } else { number + 1 };
                done.next = Some(VerifyFrom { step, after });
                return Ok(done);
            }
            if after.is_none() {
                break;
            }
        }
    }
    Ok(done)
}

/// One page of a step's wallets; the last of them, or `None` when there are no more.
async fn page(
    fleet: &Fleet,
    step: &Step,
    after: Option<WalletId>,
    kept: &[WalletId],
    done: &mut Verified,
) -> Result<(Option<WalletId>, u64)> {
    let route = route(fleet, step).await?;
    let looking = Looking::new(fleet);
    let mover = looking.mover(&route);
    let wallets = match step.piece {
        Piece::Wallet { wallet } => vec![wallet],
        Piece::Buckets(range) => {
            let group = Group { first: range.first, last: range.last };
            match mover.wallets_at_source(group, after).await {
                Ok(wallets) => wallets,
                Err(error) => return Err(not_verifiable(&route, error).await),
            }
        }
    };
    let mut checked = 0;
    for &wallet in wallets.iter().filter(|wallet| !kept.contains(wallet)) {
        checked += 1;
        match mover.verify_wallet(wallet).await {
            Ok(()) => {}
            Err(MoveError::Diverged { wallet, what }) => done.mismatches.push(Mismatch { wallet, what }),
            Err(error) => return Err(not_verifiable(&route, error).await),
        }
    }
    let single = matches!(step.piece, Piece::Wallet { .. });
    Ok((wallets.last().copied().filter(|_| !single), checked))
}

async fn not_verifiable(route: &mover::Route<store::dynamodb::DynamoStore>, error: MoveError) -> Error {
    let why = trouble(route, error).await;
    refused(Refusal::NotVerifiable, why.to_string())
}
