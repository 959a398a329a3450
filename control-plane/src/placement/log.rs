//! The log of placement changes as rows: one per version, put only if absent, and now and then a whole snapshot.
//!
//! It must never overwrite or delete a version: the condition on the row is what makes one change win.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{AttributeValue, ConditionCheck, Put, TransactWriteItem};
use control_api::{Because, Change, Refusal};
use topology::{Placement, PlacementUpdate};
use uuid::Uuid;

use crate::dynamo::{Item, TableShape, Transacted, n, number, s, text, transact};
use crate::error::{Error, Result, refused};

/// Versions between two snapshots.
pub const SNAPSHOT_EVERY: u64 = 64;
/// An item of DynamoDB is at most 400 KB; a change beyond this is refused and has to be made in steps.
const CHANGE_MAX_BYTES: usize = 350_000;
const SNAPSHOT_PART_BYTES: usize = 300_000;

const LOG: &str = "log";
const SNAPSHOT: &str = "snapshot";

pub fn table(prefix: &str) -> TableShape {
    TableShape { name: format!("{prefix}placement"), partition: "k", sort: Some("v") }
}

/// Actor, time and reason: stored with the change. After a lost answer the id distinguishes one's
/// own write from another's.
pub struct Note {
    kind: String,
    because: Because,
    at: String,
    id: Uuid,
}

impl Note {
    pub fn new(kind: &str, because: &Because) -> Self {
        Self { kind: kind.to_owned(), because: because.clone(), at: control_api::now_rfc3339(), id: Uuid::new_v4() }
    }
}

/// One stored version.
pub struct Row {
    pub update: PlacementUpdate,
    pub change: Change,
}

pub struct Log {
    client: Client,
    table: String,
}

impl Log {
    pub fn new(client: Client, prefix: &str) -> Self {
        Self { client, table: table(prefix).name }
    }

    /// Writes `update` as its version unless that version exists; `false`: another change has it. With a `guard`, a row
    /// of another table, only while its condition holds: else the change is refused.
    pub async fn append(&self, update: &PlacementUpdate, note: &Note, guard: Option<ConditionCheck>) -> Result<bool> {
        let json = serde_json::to_string(update).expect("an update is plain data");
        if json.len() > CHANGE_MAX_BYTES {
            let todo = format!("{} bytes, at most {CHANGE_MAX_BYTES}: make it in several steps", json.len());
            return Err(refused(Refusal::ChangeTooLarge, todo));
        }
        let put = Put::builder().table_name(&self.table).condition_expression("attribute_not_exists(v)");
        let put = put
            .item("k", s(LOG))
            .item("v", n(update.version))
            .item("update", s(json))
            .item("kind", s(&note.kind))
            .item("actor", s(&note.because.actor))
            .item("reason", s(&note.because.reason))
            .item("at", s(&note.at))
            .item("id", s(note.id.to_string()))
            .build()
            .expect("table and item are given");
        let written = match guard {
            None => self.put(put).await,
            Some(guard) => self.put_guarded(put, guard).await,
        };
        match written {
            Ok(true) => Ok(true),
            // The answer of an attempt may have been lost after it was carried out: look which
            // attempt wrote the row.
            Ok(false) => self.is_mine(update.version, note).await,
            Err(error) => match self.is_mine(update.version, note).await {
                Ok(true) => Ok(true),
                _ => Err(error),
            },
        }
    }

    /// `false`: the version exists.
    async fn put(&self, put: Put) -> Result<bool> {
        let sent = self.client.put_item().table_name(put.table_name).set_item(Some(put.item));
        let sent = sent.set_condition_expression(put.condition_expression).send().await;
        match sent.map_err(Error::storage("writing a placement version")) {
            Ok(_) => Ok(true),
            Err(error) if error.is_condition_failed() => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn put_guarded(&self, put: Put, guard: ConditionCheck) -> Result<bool> {
        let items = vec![
            TransactWriteItem::builder().put(put).build(),
            TransactWriteItem::builder().condition_check(guard).build(),
        ];
        match transact(&self.client, "writing a placement version", items).await? {
            Transacted::Done => Ok(true),
            Transacted::ConditionsFailed(failed) if failed.contains(&1) && !failed.contains(&0) => {
                let detail = "what the change was made for has changed meanwhile; nothing was published";
                Err(refused(Refusal::OperationChanged, detail))
            }
            Transacted::ConditionsFailed(_) => Ok(false),
        }
    }

    async fn is_mine(&self, version: u64, note: &Note) -> Result<bool> {
        let get = self.client.get_item().table_name(&self.table).consistent_read(true);
        let got = get.key("k", s(LOG)).key("v", n(version)).send().await;
        let item = got.map_err(Error::storage("reading a placement version"))?.item;
        item.map_or(Ok(false), |item| Ok(text(&item, "id")? == note.id.to_string()))
    }

    /// All versions after `version`, in order.
    pub async fn since(&self, version: u64) -> Result<Vec<PlacementUpdate>> {
        let items = self.range(LOG, "v > :v", version).await?;
        items.iter().map(|item| Ok(row(item)?.update)).collect()
    }

    pub async fn newest(&self, limit: i32) -> Result<Vec<Row>> {
        let query = self.query(LOG).scan_index_forward(false).limit(limit).send().await;
        let items = query.map_err(Error::storage("reading placement history"))?.items.unwrap_or_default();
        items.iter().map(row).collect()
    }

    /// The newest placement: the last snapshot and what came after it.
    pub async fn load(&self) -> Result<Option<Placement>> {
        let mut placement = self.newest_snapshot().await?;
        for update in self.since(placement.as_ref().map_or(0, Placement::version)).await? {
            placement = Some(match placement {
                None => Placement::from_full(&update)?,
                Some(before) => before.updated(&update)?,
            });
        }
        Ok(placement)
    }

    async fn newest_snapshot(&self) -> Result<Option<Placement>> {
        let query = self.query(SNAPSHOT).scan_index_forward(false).limit(1).send().await;
        let items = query.map_err(Error::storage("looking for a snapshot"))?.items.unwrap_or_default();
        let Some(header) = items.first() else { return Ok(None) };
        let (version, parts) = (number(header, "v")?, number(header, "parts")?);
        let mut json = Vec::new();
        let stored = self.range(&format!("{SNAPSHOT}#{version}"), "v >= :v", 0).await?;
        for part in &stored {
            let data = part.get("data").and_then(|data| data.as_b().ok());
            json.extend_from_slice(data.ok_or_else(|| unsound_snapshot(version))?.as_ref());
        }
        if stored.len() as u64 != parts {
            return Err(unsound_snapshot(version));
        }
        let update = serde_json::from_slice(&json).map_err(|_| unsound_snapshot(version))?;
        Ok(Some(Placement::from_full(&update)?))
    }

    /// The parts first, then the row that makes them count. A version's snapshot is the same from
    /// every writer.
    pub async fn write_snapshot(&self, placement: &Placement) -> Result<()> {
        let json = serde_json::to_vec(&placement.to_full()).expect("an update is plain data");
        let version = placement.version();
        let mut parts = 0;
        for part in json.chunks(SNAPSHOT_PART_BYTES) {
            let put = self.client.put_item().table_name(&self.table).item("k", s(format!("{SNAPSHOT}#{version}")));
            let put = put.item("v", n(parts)).item("data", AttributeValue::B(Blob::new(part)));
            put.send().await.map_err(Error::storage("writing a snapshot"))?;
            parts += 1;
        }
        let put = self.client.put_item().table_name(&self.table).item("k", s(SNAPSHOT)).item("v", n(version));
        put.item("parts", n(parts)).send().await.map_err(Error::storage("writing a snapshot"))?;
        Ok(())
    }

    fn query(&self, partition: &str) -> aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder {
        let query = self.client.query().table_name(&self.table).consistent_read(true);
        query.key_condition_expression("k = :k").expression_attribute_values(":k", s(partition))
    }

    async fn range(&self, partition: &str, condition: &str, version: u64) -> Result<Vec<Item>> {
        let query = self.query(partition).key_condition_expression(format!("k = :k AND {condition}"));
        let query = query.expression_attribute_values(":v", n(version));
        let mut pages = query.into_paginator().send();
        let mut items = Vec::new();
        while let Some(page) = pages.next().await {
            items.extend(page.map_err(Error::storage("reading placement versions"))?.items.unwrap_or_default());
        }
        Ok(items)
    }
}

fn unsound_snapshot(version: u64) -> Error {
    Error::Unsound(format!("the snapshot of placement version {version} is incomplete"))
}

fn row(item: &Item) -> Result<Row> {
    let version = number(item, "v")?;
    let update: PlacementUpdate = serde_json::from_str(&text(item, "update")?)
        .map_err(|error| Error::Unsound(format!("placement version {version}: {error}")))?;
    let change = Change {
        version,
        at: text(item, "at")?,
        kind: text(item, "kind")?,
        actor: text(item, "actor")?,
        reason: text(item, "reason")?,
        buckets: update.buckets.iter().map(|run| usize::from(run.last) + 1 - usize::from(run.first)).sum(),
        pins: update.pins.len(),
    };
    Ok(Row { update, change })
}
