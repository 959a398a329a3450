//! What is known of a cell beside its place in the placement: its limits and where its tables are. One row per cell.
//!
//! It must never decide which cell owns what: a cell counts once the placement lists it.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use control_api::{CellSpec, Refusal};
use topology::CellId;

use crate::dynamo::{Item, TableShape, s, text};
use crate::error::{Error, Result, refused};

/// A registered cell.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    pub spec: CellSpec,
    pub created_at: String,
    /// The specification as it is stored.
    stored: String,
}

pub struct Registry {
    client: Client,
    table: String,
}

/// The table this module keeps.
pub fn table(prefix: &str) -> TableShape {
    TableShape { name: format!("{prefix}cells"), partition: "id", sort: None }
}

impl Registry {
    pub fn new(client: Client, prefix: &str) -> Self {
        Self { client, table: table(prefix).name }
    }

    pub async fn get(&self, id: &CellId) -> Result<Option<Record>> {
        let get = self.client.get_item().table_name(&self.table).key("id", s(id.as_str())).consistent_read(true);
        let item = get.send().await.map_err(Error::storage("reading a cell's record"))?.item;
        item.as_ref().map(record).transpose()
    }

    pub async fn all(&self) -> Result<HashMap<CellId, Record>> {
        let mut pages = self.client.scan().table_name(&self.table).consistent_read(true).into_paginator().send();
        let mut all = HashMap::new();
        while let Some(page) = pages.next().await {
            for item in page.map_err(Error::storage("reading the registry"))?.items.unwrap_or_default() {
                let record = record(&item)?;
                all.insert(record.spec.id.clone(), record);
            }
        }
        Ok(all)
    }

    /// Writes the record, keeping the time of an earlier one.
    pub async fn put(&self, spec: &CellSpec) -> Result<Record> {
        let created_at = match self.get(&spec.id).await? {
            Some(before) if &before.spec == spec => return Ok(before),
            Some(before) => before.created_at,
            None => control_api::now_rfc3339(),
        };
        let json = serde_json::to_string(spec).expect("a cell's record is plain data");
        let put = self.client.put_item().table_name(&self.table).item("id", s(spec.id.as_str()));
        let put = put.item("spec", s(&json)).item("created_at", s(&created_at));
        put.send().await.map_err(Error::storage("writing a cell's record"))?;
        Ok(Record { spec: spec.clone(), created_at, stored: json })
    }

    /// Writes another specification in place of the one that was read. A process that slept since then must not undo a
    /// later change: it is refused.
    pub async fn change(&self, before: &Record, spec: &CellSpec) -> Result<()> {
        let json = serde_json::to_string(spec).expect("a cell's record is plain data");
        let put = self.client.put_item().table_name(&self.table).item("id", s(spec.id.as_str()));
        let put = put.item("spec", s(json)).item("created_at", s(&before.created_at));
        let put = put.condition_expression("spec = :before").expression_attribute_values(":before", s(&before.stored));
        match put.send().await.map_err(Error::storage("writing a cell's record")) {
            Err(error) if error.is_condition_failed() => {
                Err(refused(Refusal::TryAgain, format!("the record of {} was changed meanwhile", spec.id)))
            }
            done => done.map(drop),
        }
    }
}

fn record(item: &Item) -> Result<Record> {
    let stored = text(item, "spec")?;
    let spec = serde_json::from_str(&stored).map_err(|error| Error::Unsound(format!("a cell's record: {error}")))?;
    Ok(Record { spec, created_at: text(item, "created_at")?, stored })
}
