//! Counts the customers of each cell now and then, from the cell's tables.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use control_api::CellSpec;
use topology::{CellIndex, CellState, Placement, WalletId};

use crate::cells::fleet::Fleet;
use crate::cells::{capacity, drift};
use crate::dynamo::text;
use crate::error::{Error, Result};

/// The sparse index that lists block 0 of every wallet.
const INDEX: &str = "buckets";
/// A page is 1 MB of index rows, about 10,000 wallets: more pages than this are not read at one count.
const PAGES_MAX: usize = 2_000;

/// While some cell could not be counted, or there is none yet.
const RETRY_EVERY: Duration = Duration::from_secs(2);

/// Counts for ever.
pub async fn keep_counting(fleet: &Fleet, every: Duration) {
    loop {
        let all_counted = count_all(fleet).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "customers not counted; trying again");
            false
        });
        let pause = if all_counted { every } else { every.min(RETRY_EVERY) };
        fleet.counts.asked_within(pause).await;
    }
}

/// Counts every registered cell, one after the other; a cell that cannot be counted keeps its last number.
/// Whether all were, and there was any.
pub async fn count_all(fleet: &Fleet) -> Result<bool> {
    let records = fleet.registry.all().await?;
    let mut all_counted = !records.is_empty();
    let specs: Vec<CellSpec> = records.values().map(|record| record.spec.clone()).collect();
    let Some(known) = fleet.placements.known() else { return Ok(false) };
    drift::show(fleet, &records, &known.placement);
    for (id, record) in records {
        let Some(cell) = known.placement.cell_named(&id) else { continue };
        // Its tables may be gone.
        if cell.state == CellState::Removed {
            fleet.counts.set(&id, 0);
            continue;
        }
        let tables = &record.spec.dynamodb;
        let client = fleet.cell_client(tables).await;
        match count(&client, &format!("{}ledger", tables.table_prefix), &known.placement, cell.index).await {
            Ok(customers) => fleet.counts.set(&id, customers),
            Err(error) => {
                all_counted = false;
                tracing::warn!(cell = %id, %error, "customers of a cell not counted");
            }
        }
    }
    capacity::show_used(fleet, &specs, &known.placement);
    Ok(all_counted)
}

/// Wallets in the index that the placement has in this cell: what moved away has left its block 0 behind.
async fn count(client: &Client, table: &str, placement: &Placement, cell: CellIndex) -> Result<u64> {
    let scan = client.scan().table_name(table).index_name(INDEX).projection_expression("w");
    let mut pages = scan.into_paginator().send();
    let mut customers = 0;
    for _ in 0..PAGES_MAX {
        let Some(page) = pages.next().await else { return Ok(customers) };
        let page = page.map_err(Error::storage("counting customers"))?;
        for item in page.items() {
            let wallet: WalletId = text(item, "w")?.parse()?;
            customers += u64::from(placement.cell_of(wallet) == cell);
        }
    }
    tracing::warn!(table, customers, "more customers than are counted");
    Ok(customers)
}
