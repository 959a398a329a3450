//! How many customers each cell has, counted now and then from the cell's tables and kept up in between.
//!
//! A hint for onboarding, never a limit that is enforced: between two counts another control plane may add some.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use control_api::CellSpec;
use tokio::sync::Notify;
use topology::{CellId, CellIndex, CellState, Placement, WalletId};

use crate::capacity;
use crate::dynamo::text;
use crate::error::{Error, Result};
use crate::state::ControlPlane;

/// The sparse index that lists block 0 of every wallet.
const INDEX: &str = "buckets";
/// A page is 1 MB of index rows, about 10,000 wallets: more pages than this are not read at one count.
const PAGES_MAX: usize = 2_000;

/// While some cell could not be counted, or there is none yet.
const RETRY_EVERY: Duration = Duration::from_secs(2);

#[derive(Default)]
pub struct Counts {
    customers: Mutex<HashMap<CellId, u64>>,
    asked: Notify,
}

impl Counts {
    /// `None` until first counted.
    pub fn of(&self, cell: &CellId) -> Option<u64> {
        self.customers.lock().unwrap_or_else(PoisonError::into_inner).get(cell).copied()
    }

    /// One customer more in a cell that has been counted.
    pub fn add_one(&self, cell: &CellId) {
        if let Some(count) = self.customers.lock().unwrap_or_else(PoisonError::into_inner).get_mut(cell) {
            *count += 1;
        }
    }

    /// Counts now, without anybody waiting for it.
    pub fn count_soon(&self) {
        self.asked.notify_one();
    }

    pub fn set(&self, cell: &CellId, count: u64) {
        self.customers.lock().unwrap_or_else(PoisonError::into_inner).insert(cell.clone(), count);
    }

    pub async fn keep_counting(&self, control: &ControlPlane, every: Duration) {
        loop {
            let all_counted = self.count_all(control).await.unwrap_or_else(|error| {
                tracing::warn!(%error, "customers not counted; trying again");
                false
            });
            let pause = if all_counted { every } else { every.min(RETRY_EVERY) };
            let _ = tokio::time::timeout(pause, self.asked.notified()).await;
        }
    }

    /// Counts every registered cell, one after the other; a cell that cannot be counted keeps its last number.
    /// Whether all were, and there was any.
    pub async fn count_all(&self, control: &ControlPlane) -> Result<bool> {
        let records = control.registry.all().await?;
        let mut all_counted = !records.is_empty();
        let specs: Vec<CellSpec> = records.values().map(|record| record.spec.clone()).collect();
        let Some(known) = control.placements.known() else { return Ok(false) };
        for (id, record) in records {
            let Some(cell) = known.placement.cell_named(&id) else { continue };
            // Its tables may be gone.
            if cell.state == CellState::Removed {
                self.set(&id, 0);
                continue;
            }
            let tables = &record.spec.dynamodb;
            let client = control.cell_client(tables).await;
            match count(&client, &format!("{}ledger", tables.table_prefix), &known.placement, cell.index).await {
                Ok(customers) => self.set(&id, customers),
                Err(error) => {
                    all_counted = false;
                    tracing::warn!(cell = %id, %error, "customers of a cell not counted");
                }
            }
        }
        capacity::show_used(control, &specs, &known.placement);
        Ok(all_counted)
    }
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
