//! Operations as rows: one per operation, the parts of its plan, the register of what is under way, and the audit.
//!
//! Every change is a compare-and-set on the row's version, and every change of state leaves its audit entry in the same
//! transaction. It must never update or delete an audit entry.

mod rows;

use std::collections::BTreeMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{AttributeValue, ConditionCheck, Put, TransactWriteItem, Update};
use control_api::{AuditEntry, OperationId, OperationState, Step};
use tokio::sync::Notify;
use uuid::Uuid;

use super::claims::Claim;
use super::record::{Operation, StoredPlan};
use crate::dynamo::{Item, TableShape, Transacted, n, s, text, transact};
use crate::error::{Error, Result};

/// An item of DynamoDB is at most 400 KB.
const PLAN_PART_BYTES: usize = 300_000;
/// Most operations under way at once: each keeps 8 KB in the register, which is one item.
pub const ACTIVE_MAX: usize = 32;
/// Audit entries read for one answer that asks for a single operation.
const AUDIT_SCANNED_MAX: usize = 10_000;
const AUDIT_PAGE: i32 = 500;
/// A plain write that met a transaction on the same row is tried again this often.
const CONFLICT_ATTEMPTS_MAX: u32 = 8;
const CONFLICT_BACKOFF: std::time::Duration = std::time::Duration::from_millis(10);

const OPERATION: &str = "op";
const REGISTER: &str = "active";
const AUDIT: &str = "audit";
const PLAN: &str = "plan";

pub struct Table {
    client: Client,
    table: String,
    /// Gets every change made by this process.
    pub changed: Notify,
}

/// The operations that are not over, with what they claim. Its version rises with every one that begins or ends.
#[derive(Default)]
pub struct Register {
    pub version: u64,
    pub claims: BTreeMap<u64, Claim>,
}

/// The table this module keeps.
pub fn table(prefix: &str) -> TableShape {
    TableShape { name: format!("{prefix}operations"), partition: "k", sort: Some("v") }
}

impl Table {
    pub fn new(client: Client, prefix: &str) -> Self {
        Self { client, table: table(prefix).name, changed: Notify::new() }
    }

    pub async fn get(&self, number: u64) -> Result<Option<Operation>> {
        self.item(OPERATION, number).await?.as_ref().map(rows::operation).transpose()
    }

    /// Newest first.
    pub async fn newest(&self, limit: i32) -> Result<Vec<Operation>> {
        let query = self.query(OPERATION).scan_index_forward(false).limit(limit).send().await;
        let items = query.map_err(Error::storage("reading operations"))?.items.unwrap_or_default();
        items.iter().map(rows::operation).collect()
    }

    pub async fn register(&self) -> Result<Register> {
        self.item(REGISTER, 0).await?.map_or_else(|| Ok(Register::default()), |item| rows::register(&item))
    }

    /// Stores the steps under a key of their own; they count once an operation's row names them.
    pub async fn write_plan(&self, steps: &[Step]) -> Result<(Uuid, u64)> {
        let id = Uuid::new_v4();
        let json = serde_json::to_vec(steps).expect("steps are plain data");
        let mut parts = 0;
        for part in json.chunks(PLAN_PART_BYTES) {
            let put = self.client.put_item().table_name(&self.table).item("k", s(format!("{PLAN}#{id}")));
            let put = put.item("v", n(parts)).item("data", AttributeValue::B(Blob::new(part)));
            put.send().await.map_err(Error::storage("writing a plan"))?;
            parts += 1;
        }
        Ok((id, parts))
    }

    pub async fn read_plan(&self, plan: &StoredPlan) -> Result<Vec<Step>> {
        let unsound = || Error::Unsound(format!("plan {} is incomplete", plan.id));
        let mut json = Vec::new();
        for part in 0..plan.parts {
            let item = self.item(&format!("{PLAN}#{}", plan.id), part).await?.ok_or_else(unsound)?;
            let data = item.get("data").and_then(|data| data.as_b().ok()).ok_or_else(unsound)?;
            json.extend_from_slice(data.as_ref());
        }
        let steps: Vec<Step> = serde_json::from_slice(&json).map_err(|_| unsound())?;
        if steps.len() as u64 == plan.steps { Ok(steps) } else { Err(unsound()) }
    }

    /// Writes a new operation under the next number, with its claim and its audit entry; `seen` is
    /// the register that it was judged by, `forgotten` the operation whose moves it makes the
    /// source forget. `None`: something came first, judge again.
    pub async fn create(
        &self,
        mut operation: Operation,
        claim: &Claim,
        seen: &Register,
        entry: AuditEntry,
        forgotten: Option<Operation>,
    ) -> Result<Option<Operation>> {
        let newest = self.newest(1).await?.first().map_or(0, |newest| newest.number);
        (operation.number, operation.version) = (newest + 1, 1);
        let write = Uuid::new_v4();
        let entry = AuditEntry { operation: operation.id(), ..entry };
        let claimed = self.claim(operation.number, claim, seen);
        let mut items = vec![
            put(self.put_operation(&operation, write)),
            TransactWriteItem::builder().update(claimed).build(),
            put(self.put_audit(&entry)),
        ];
        if let Some(forgotten) = forgotten {
            let (version, by) = (forgotten.version + 1, Some(operation.id()));
            let next = Operation { version, forgotten_by: by, ..forgotten };
            items.push(put(self.put_operation(&next, Uuid::new_v4())));
        }
        let created = self.write(items, operation.number, write).await?;
        Ok(created.then_some(operation))
    }

    /// Writes `after` in place of the version it was made from. `None`: the row has another version now.
    pub async fn change(&self, after: &Operation, entry: Option<AuditEntry>) -> Result<Option<Operation>> {
        let next = Operation { version: after.version + 1, ..after.clone() };
        let write = Uuid::new_v4();
        let row = self.put_operation(&next, write);
        let changed = match entry {
            None => self.write_alone(row, next.number, write).await?,
            Some(entry) => {
                let mut items = vec![put(row), put(self.put_audit(&entry))];
                if next.state.is_over() {
                    items.push(TransactWriteItem::builder().update(self.release(next.number)).build());
                }
                self.write(items, next.number, write).await?
            }
        };
        Ok(changed.then_some(next))
    }

    /// Newest first; of one operation if it is named.
    pub async fn audit(&self, limit: usize, of: Option<OperationId>) -> Result<Vec<AuditEntry>> {
        let query = self.query(AUDIT).scan_index_forward(false).limit(AUDIT_PAGE);
        let mut pages = query.into_paginator().send();
        let (mut entries, mut scanned) = (Vec::new(), 0);
        while let Some(page) = pages.next().await {
            let items = page.map_err(Error::storage("reading the audit"))?.items.unwrap_or_default();
            scanned += items.len();
            for item in &items {
                let entry = rows::audit(item)?;
                if of.is_none_or(|of| of == entry.operation) {
                    entries.push(entry);
                }
            }
            if entries.len() >= limit || scanned >= AUDIT_SCANNED_MAX {
                break;
            }
        }
        entries.truncate(limit);
        Ok(entries)
    }

    /// A condition for another table's transaction: the operation is still at this step, in one of these states.
    pub fn still_at(&self, operation: &Operation, states: &[OperationState]) -> ConditionCheck {
        let names: Vec<String> = (0..states.len()).map(|i| format!(":s{i}")).collect();
        let check = ConditionCheck::builder()
            .table_name(&self.table)
            .key("k", s(OPERATION))
            .key("v", n(operation.number))
            .condition_expression(format!("steps_done = :done AND #state IN ({})", names.join(", ")))
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":done", n(operation.progress.steps_done));
        let check = names
            .into_iter()
            .zip(states)
            .fold(check, |check, (name, state)| check.expression_attribute_values(name, s(state.as_str())));
        check.build().expect("all parts are given")
    }

    /// Puts the row in the place of the version before it.
    fn put_operation(&self, operation: &Operation, write: Uuid) -> Put {
        let put =
            Put::builder().table_name(&self.table).set_item(Some(rows::operation_item(OPERATION, operation, write)));
        let put = match operation.version {
            1 => put.condition_expression("attribute_not_exists(v)"),
            version => {
                put.condition_expression("version = :before").expression_attribute_values(":before", n(version - 1))
            }
        };
        put.build().expect("table and item are given")
    }

    fn put_audit(&self, entry: &AuditEntry) -> Put {
        let put = Put::builder().table_name(&self.table).set_item(Some(rows::audit_item(AUDIT, entry)));
        put.condition_expression("attribute_not_exists(v)").build().expect("table and item are given")
    }

    fn claim(&self, number: u64, claim: &Claim, seen: &Register) -> Update {
        let update = self.register_update("SET #claim = :claim ADD version :one", number);
        let update = update.expression_attribute_values(":claim", AttributeValue::B(Blob::new(claim.bytes())));
        let update = match seen.version {
            0 => update.condition_expression("attribute_not_exists(version)"),
            seen => update.condition_expression("version = :seen").expression_attribute_values(":seen", n(seen)),
        };
        update.build().expect("all parts are given")
    }

    /// Needs no condition: to take away what is gone already changes nothing.
    fn release(&self, number: u64) -> Update {
        self.register_update("REMOVE #claim ADD version :one", number).build().expect("all parts are given")
    }

    fn register_update(&self, change: &str, number: u64) -> aws_sdk_dynamodb::types::builders::UpdateBuilder {
        Update::builder()
            .table_name(&self.table)
            .key("k", s(REGISTER))
            .key("v", n(0))
            .update_expression(change)
            .expression_attribute_names("#claim", rows::claim_name(number))
            .expression_attribute_values(":one", n(1))
    }

    /// `false`: a condition did not hold, and the row is not of this write.
    async fn write(&self, items: Vec<TransactWriteItem>, number: u64, write: Uuid) -> Result<bool> {
        let done = match transact(&self.client, "writing an operation", items).await {
            Ok(Transacted::Done) => Ok(true),
            Ok(Transacted::ConditionsFailed(_)) => self.is_mine(number, write).await,
            Err(error) => match self.is_mine(number, write).await {
                Ok(true) => Ok(true),
                _ => Err(error),
            },
        };
        self.changed.notify_one();
        done
    }

    async fn write_alone(&self, row: Put, number: u64, write: Uuid) -> Result<bool> {
        for attempt in 1.. {
            let sent = self.client.put_item().table_name(&row.table_name).set_item(Some(row.item.clone()));
            let sent = sent
                .set_condition_expression(row.condition_expression.clone())
                .set_expression_attribute_values(row.expression_attribute_values.clone());
            match sent.send().await.map_err(Error::storage("writing an operation")) {
                Ok(_) => return Ok(true),
                Err(Error::Storage { code: Some(code), .. })
                    if code == "TransactionConflictException" && attempt < CONFLICT_ATTEMPTS_MAX =>
                {
                    tokio::time::sleep(CONFLICT_BACKOFF * attempt).await;
                }
                Err(error) if error.is_condition_failed() => return self.is_mine(number, write).await,
                Err(error) => {
                    return match self.is_mine(number, write).await {
                        Ok(true) => Ok(true),
                        _ => Err(error),
                    };
                }
            }
        }
        unreachable!("the last attempt returns")
    }

    /// The answer of a write may be lost after it was carried out: whose row is it?
    async fn is_mine(&self, number: u64, write: Uuid) -> Result<bool> {
        let item = self.item(OPERATION, number).await?;
        item.map_or(Ok(false), |item| Ok(text(&item, "write")? == write.to_string()))
    }

    async fn item(&self, partition: &str, sort: u64) -> Result<Option<Item>> {
        let get = self.client.get_item().table_name(&self.table).consistent_read(true);
        let got = get.key("k", s(partition)).key("v", n(sort)).send().await;
        Ok(got.map_err(Error::storage("reading operations"))?.item)
    }

    fn query(&self, partition: &str) -> aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder {
        let query = self.client.query().table_name(&self.table).consistent_read(true);
        query.key_condition_expression("k = :k").expression_attribute_values(":k", s(partition))
    }
}

fn put(put: Put) -> TransactWriteItem {
    TransactWriteItem::builder().put(put).build()
}
