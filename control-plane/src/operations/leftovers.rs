//! Buckets that stayed closed although their operation has ended: no wallet is created in them
//! until they are settled. Each control plane looks through all buckets at a slow pace, and
//! settles what it has found closed twice.
//!
//! It must never touch what an operation under way claims, or a cell that is being restored. Beyond
//! that it needs no care: [`settle`] is safe against movers and against another control plane that
//! does the same.

use std::collections::BTreeMap;
use std::time::Duration;

use mover::{Buckets, GROUP_BUCKETS, Group, Settled, Side, settle};
use store::dynamodb::DynamoStore;
use topology::{BUCKETS, Bucket, CellId};

use super::claims::Claim;
use crate::audit::chains::cells;
use crate::error::{Error, Result};
use crate::operations::service::Operations;
use crate::restore;

/// Between two pages; what is closed in the one and the next has been so at least this long.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Buckets of each cell in one page: all of them are looked at within about an hour.
const PAGE_GROUPS: usize = 16;
const GROUPS: usize = BUCKETS / GROUP_BUCKETS;
/// Closed buckets that are remembered from one look to the next. More are found again.
const FOUND_MAX: usize = 1_024;

/// A bucket that a cell has closed: which cell, for whom, and since which epoch.
type Closed = (CellId, Bucket, CellId, u64);

/// How far one control plane has come.
#[derive(Default)]
pub struct Leftovers {
    next: usize,
    found: BTreeMap<(CellId, Bucket), Closed>,
}

pub async fn keep_settling(operations: &Operations) {
    // Several control planes are seldom at the same place.
    let mut leftovers = Leftovers { next: fastrand::usize(0..GROUPS), ..Leftovers::default() };
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if let Err(error) = leftovers.look(operations, PAGE_GROUPS).await {
            tracing::warn!(%error, "buckets left closed were not looked for; trying again");
        }
    }
}

impl Leftovers {
    /// Settles what is still closed as it was at the last look, and looks at the next groups of
    /// buckets in every cell.
    pub async fn look(&mut self, operations: &Operations, groups: usize) -> Result<Settled> {
        let mut sides = Vec::new();
        for cell in cells(&operations.fleet).await? {
            let side = operations.fleet.side(&cell).await?;
            // A database that does not answer keeps no other cell from being looked at.
            if restore::is_under_way(&side.store).await.is_ok_and(|under_way| !under_way) {
                sides.push(side);
            }
        }
        let settled = self.settle_found(operations, &sides).await?;
        for number in (self.next..self.next + groups).map(|number| number % GROUPS) {
            for side in &sides {
                let seen = closed(side, group(number)).await.unwrap_or_default();
                let room = FOUND_MAX.saturating_sub(self.found.len());
                self.found.extend(seen.into_iter().take(room).map(|one| ((one.0.clone(), one.1), one)));
            }
        }
        self.next = (self.next + groups) % GROUPS;
        Ok(settled)
    }

    async fn settle_found(&mut self, operations: &Operations, sides: &[Side<DynamoStore>]) -> Result<Settled> {
        let mut settled = Settled::default();
        for (_, found) in std::mem::take(&mut self.found) {
            let (from, bucket, to, _) = &found;
            let side = |cell: &CellId| sides.iter().find(|side| side.cell == *cell);
            let (Some(from), Some(to)) = (side(from), side(to)) else { continue };
            let only = Group { first: *bucket, last: *bucket };
            // After the row was read again: an operation that closed it again has its claim since
            // before.
            let is_same = closed(from, only).await.is_ok_and(|now| now.contains(&found));
            let claims = operations.table.register().await?.claims;
            if !is_same || claims.values().any(|claim: &Claim| claim.holds(*bucket)) {
                continue;
            }
            match settle(from, to, only).await {
                Ok(one) => {
                    tracing::info!(%bucket, from = %from.cell, to = %to.cell, ?one, "a bucket left closed was settled");
                    settled.handed_over += one.handed_over;
                    settled.reopened += one.reopened;
                }
                Err(error) => tracing::warn!(%bucket, from = %from.cell, %error, "a bucket stays closed for now"),
            }
        }
        let count = |outcome: &'static str, count: usize| {
            metrics::counter!("control_plane_buckets_settled_total", "outcome" => outcome).increment(count as u64);
        };
        count("handed_over", settled.handed_over);
        count("reopened", settled.reopened);
        Ok(settled)
    }
}

fn group(number: usize) -> Group {
    let first = u16::try_from(number * GROUP_BUCKETS).expect("there are 65,536 buckets");
    let width = u16::try_from(GROUP_BUCKETS - 1).expect("a few");
    Group { first: Bucket(first), last: Bucket(first + width) }
}

async fn closed(side: &Side<DynamoStore>, group: Group) -> Result<Vec<Closed>> {
    let buckets = Buckets { cell: &side.cell, store: &side.store, group };
    let closing = buckets.closing().await.map_err(|error| Error::Unsound(error.to_string()))?;
    Ok(closing.into_iter().map(|(bucket, to, epoch)| (side.cell.clone(), bucket, to, epoch)).collect())
}
