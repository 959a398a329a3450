//! The rows of operations beside those of all jobs: the parts of their plans, and the register of what is under way.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::builders::UpdateBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ConditionCheck, Update};
use control_api::{AuditEntry, Because, OperationId, OperationState, Refusal, Step};
use uuid::Uuid;

use super::claims::Claim as Buckets;
use super::done_steps::DoneSteps;
use super::record::{Operation, StoredPlan};
use super::state::{self, Event};
use crate::dynamo::{Item, n, number, s};
use crate::error::{Error, Result};
use crate::jobs::lease::Lease;
use crate::jobs::table::{ACTIVE, Table, next, put, update};
use crate::jobs::{Claim, Job, Key, Names};

/// An item of DynamoDB is at most 400 KB.
const PLAN_PART_BYTES: usize = 300_000;
/// Most operations under way at once: each keeps 8 KB in the register, which is one item.
pub const ACTIVE_MAX: usize = 32;
/// Audit entries read for one answer that asks for a single operation.
const AUDIT_SCANNED_MAX: usize = 10_000;

const PLAN: &str = "plan";

/// The operations that are not over, with what they claim. Its version rises with every one that begins or ends.
#[derive(Default)]
pub struct Register {
    pub version: u64,
    pub claims: BTreeMap<u64, Buckets>,
}

impl Table<Operation> {
    pub async fn register(&self) -> Result<Register> {
        self.item(ACTIVE, 0).await?.map_or_else(|| Ok(Register::default()), |item| register(&item))
    }

    /// Stores the steps under a key of their own; they count once an operation's row names them.
    pub async fn write_plan(&self, steps: &[Step]) -> Result<(Uuid, u64)> {
        let id = Uuid::new_v4();
        let json = serde_json::to_vec(steps).expect("steps are plain data");
        let mut parts = 0;
        for part in json.chunks(PLAN_PART_BYTES) {
            let put = self.client.put_item().table_name(&self.name).item("k", s(format!("{PLAN}#{id}")));
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

    /// Writes a new operation under the next number, with its claim; `seen` is the register that it was judged by,
    /// `forgotten` the operation whose moves it makes the source forget. `None`: something came first, judge again.
    pub async fn create(
        &self,
        operation: Operation,
        claim: &Buckets,
        seen: &Register,
        forgotten: Option<Operation>,
    ) -> Result<Option<Operation>> {
        let because = operation.because.clone();
        self.insert(operation, &because, |operation| {
            let mut items = vec![update(take(&self.name, operation.number, claim, seen))];
            if let Some(forgotten) = forgotten {
                let marked = next(&Operation { forgotten_by: Some(operation.id()), ..forgotten });
                items.push(put(self.row(&marked, Uuid::new_v4())?));
            }
            Ok(items)
        })
        .await
    }

    /// Newest first; of one operation if it is named.
    pub async fn audit(&self, limit: usize, of: Option<OperationId>) -> Result<Vec<AuditEntry>> {
        self.entries(limit, AUDIT_SCANNED_MAX, |entry| of.is_none_or(|of| of == entry.operation)).await
    }

    /// A condition for another table's transaction: of the operation's steps the same are done, and it is in one of
    /// these states.
    pub fn still_at(&self, operation: &Operation, states: &[OperationState]) -> ConditionCheck {
        let names: Vec<String> = (0..states.len()).map(|i| format!(":s{i}")).collect();
        let check = ConditionCheck::builder()
            .table_name(&self.name)
            .key("k", s(Operation::NAMES.rows))
            .key("v", n(operation.number))
            .condition_expression(format!(
                "steps_done = :done AND (attribute_not_exists(steps_ahead) OR steps_ahead = :ahead) AND #state IN ({})",
                names.join(", ")
            ))
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":done", n(operation.progress.steps_done))
            .expression_attribute_values(":ahead", n(operation.steps_ahead));
        let check = names
            .into_iter()
            .zip(states)
            .fold(check, |check, (name, state)| check.expression_attribute_values(name, s(state.as_str())));
        check.build().expect("all parts are given")
    }
}

impl Job for Operation {
    type Event = Event;
    type Audit = AuditEntry;

    const NAMES: Names = Names {
        table: "operations",
        rows: "op",
        version: "version",
        document: "operation",
        writing: "writing an operation",
        reading: "reading operations",
        reading_audit: "reading the audit",
        listed_by: "ctl op list",
    };
    const UNKNOWN: Refusal = Refusal::UnknownOperation;
    const NOT_NOW: Refusal = Refusal::OperationState;

    fn key(&self) -> Key {
        Key { number: self.number, version: self.version }
    }

    fn with_key(self, Key { number, version }: Key) -> Self {
        Self { number, version, ..self }
    }

    fn lease(&self) -> Option<Lease> {
        self.lease
    }

    fn leased(self, lease: Lease, at: String) -> Self {
        Self { lease: Some(lease), updated_at: at, ..self }
    }

    fn state(&self) -> &'static str {
        self.state.as_str()
    }

    fn is_over(&self) -> bool {
        self.state.is_over()
    }

    fn id_of(number: u64) -> String {
        OperationId(number).to_string()
    }

    fn after(&self, event: Event, _: &Because, at: String) -> Option<Self> {
        let state = state::after(self.state, event)?;
        let finished_at = if state.is_over() { Some(at.clone()) } else { self.finished_at.clone() };
        let last_error = self.last_error.clone().filter(|_| event != Event::Resume);
        Some(Self { state, updated_at: at, finished_at, last_error, ..self.clone() })
    }

    fn is_after(&self, event: Event) -> bool {
        use OperationState::{Aborted, Aborting, Paused, Pausing, Running};
        match event {
            Event::Pause => matches!(self.state, Pausing | Paused),
            Event::Resume => self.state == Running,
            Event::Abort => matches!(self.state, Aborting | Aborted),
            Event::GiveUp | Event::Begin | Event::Settle | Event::Finish | Event::Fail => false,
        }
    }

    fn audited(&self, what: &str, because: &Because, before: Option<&Self>) -> AuditEntry {
        AuditEntry {
            at: self.updated_at.clone(),
            operation: self.id(),
            kind: self.wanted.kind(),
            what: what.to_owned(),
            actor: because.actor.clone(),
            reason: because.reason.clone(),
            before: before.map(|before| before.state),
            after: self.state,
        }
    }

    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        let DoneSteps { before, ahead } = self.done();
        vec![("state", s(self.state.as_str())), ("steps_done", n(before)), ("steps_ahead", n(ahead))]
    }

    fn claim(&self, table: &str, claim: Claim) -> Option<Update> {
        match claim {
            Claim::Keep => None,
            Claim::Take => unreachable!("an operation that is over never begins again"),
            // Needs no condition: to take away what is gone already changes nothing.
            Claim::Release => {
                let update = register_update(table, "REMOVE #claim ADD version :one", self.number);
                Some(update.build().expect("all parts are given"))
            }
        }
    }
}

fn take(table: &str, number: u64, claim: &Buckets, seen: &Register) -> Update {
    let update = register_update(table, "SET #claim = :claim ADD version :one", number);
    let update = update.expression_attribute_values(":claim", AttributeValue::B(Blob::new(claim.bytes())));
    let update = match seen.version {
        0 => update.condition_expression("attribute_not_exists(version)"),
        seen => update.condition_expression("version = :seen").expression_attribute_values(":seen", n(seen)),
    };
    update.build().expect("all parts are given")
}

fn register_update(table: &str, change: &str, number: u64) -> UpdateBuilder {
    Update::builder()
        .table_name(table)
        .key("k", s(ACTIVE))
        .key("v", n(0))
        .update_expression(change)
        .expression_attribute_names("#claim", format!("b{number}"))
        .expression_attribute_values(":one", n(1))
}

fn register(item: &Item) -> Result<Register> {
    let unsound = |name: &str| Error::Unsound(format!("the register of operations: {name}"));
    let mut claims = BTreeMap::new();
    for (name, value) in item {
        let Some(digits) = name.strip_prefix('b') else { continue };
        let number = digits.parse().map_err(|_| unsound(name))?;
        let bytes = value.as_b().map_err(|_| unsound(name))?;
        claims.insert(number, Buckets::read(bytes.as_ref()).ok_or_else(|| unsound(name))?);
    }
    Ok(Register { version: number(item, "version")?, claims })
}
