//! How many customers each cell has, counted now and then from the cell's tables and kept up in between.
//!
//! A hint for onboarding, never a limit that is enforced: between two counts another control plane may add some.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::Select;
use tokio::sync::Notify;
use topology::{CellId, CellState};

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
        let known = control.placements.known();
        let removed = |id: &CellId| {
            let cell = known.as_ref().and_then(|known| known.placement.cell_named(id));
            cell.is_some_and(|cell| cell.state == CellState::Removed)
        };
        for (id, record) in records {
            // Its tables may be gone.
            if removed(&id) {
                continue;
            }
            let tables = &record.spec.dynamodb;
            let client = control.cell_client(tables).await;
            match count(&client, &format!("{}ledger", tables.table_prefix)).await {
                Ok(customers) => self.set(&id, customers),
                Err(error) => {
                    all_counted = false;
                    tracing::warn!(cell = %id, %error, "customers of a cell not counted");
                }
            }
        }
        Ok(all_counted)
    }
}

async fn count(client: &Client, table: &str) -> Result<u64> {
    let scan = client.scan().table_name(table).index_name(INDEX).select(Select::Count);
    let mut pages = scan.into_paginator().send();
    let mut customers = 0;
    for _ in 0..PAGES_MAX {
        let Some(page) = pages.next().await else { return Ok(customers) };
        let page = page.map_err(Error::storage("counting customers"))?;
        customers += u64::try_from(page.count).unwrap_or(0);
    }
    tracing::warn!(table, customers, "more customers than are counted");
    Ok(customers)
}
