//! Jobs as rows of a table for each kind: one per job, what is under way, and the audit.
//!
//! Every change is a compare-and-set on the row's version, and every change of state leaves its audit entry in the same
//! transaction. It must never update or delete an audit entry.

use std::marker::PhantomData;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::types::{Put, TransactWriteItem, Update};
use control_api::Because;
use tokio::sync::Notify;
use uuid::Uuid;

use super::{Change, Job, Key};
use crate::dynamo::{Item, TableShape, Transacted, n, number, s, text, transact};
use crate::error::{Error, Result, refused};

/// Sort key 0 of this partition says which jobs are under way.
pub const ACTIVE: &str = "active";
const AUDIT: &str = "audit";
const AUDIT_PAGE: usize = 500;

pub struct Table<J> {
    pub(crate) client: Client,
    pub(crate) name: String,
    /// Gets every change of state made by this process.
    pub changed: Notify,
    kind: PhantomData<fn() -> J>,
}

/// The table of this kind of job.
pub fn shape<J: Job>(prefix: &str) -> TableShape {
    TableShape { name: format!("{prefix}{}", J::NAMES.table), partition: "k", sort: Some("v") }
}

impl<J: Job> Table<J> {
    pub fn new(client: Client, prefix: &str) -> Self {
        Self { client, name: shape::<J>(prefix).name, changed: Notify::new(), kind: PhantomData }
    }

    pub async fn get(&self, number: u64) -> Result<Option<J>> {
        self.item(J::NAMES.rows, number).await?.as_ref().map(job).transpose()
    }

    /// The job that an operator names.
    pub async fn named(&self, number: u64) -> Result<J> {
        self.get(number).await?.ok_or_else(|| {
            let detail = format!("there is no {}: `{}` shows which are", J::id_of(number), J::NAMES.listed_by);
            refused(J::UNKNOWN, detail)
        })
    }

    /// Newest first.
    pub async fn newest(&self, limit: i32) -> Result<Vec<J>> {
        let query = self.query(J::NAMES.rows).scan_index_forward(false).limit(limit).send().await;
        query.map_err(Error::storage(J::NAMES.reading))?.items().iter().map(job).collect()
    }

    /// The newest `limit` wanted ones of the last `scanned_max` audit entries, newest first.
    pub async fn entries(
        &self,
        limit: usize,
        scanned_max: usize,
        is_wanted: impl Fn(&J::Audit) -> bool,
    ) -> Result<Vec<J::Audit>> {
        let page = i32::try_from(AUDIT_PAGE.min(scanned_max)).expect("a short page");
        let mut pages = self.query(AUDIT).scan_index_forward(false).limit(page).into_paginator().send();
        let (mut entries, mut scanned) = (Vec::new(), 0);
        while let Some(page) = pages.next().await {
            let page = page.map_err(Error::storage(J::NAMES.reading_audit))?;
            scanned += page.items().len();
            for item in page.items() {
                let entry = serde_json::from_str(&text(item, "entry")?);
                entries.push(entry.map_err(|error| Error::Unsound(format!("an audit entry: {error}")))?);
            }
            entries.retain(&is_wanted);
            if entries.len() >= limit || scanned >= scanned_max {
                break;
            }
        }
        entries.truncate(limit);
        Ok(entries)
    }

    /// Writes a new job under the next number, with its audit entry and what `beside` names for it. `None`: something
    /// came first.
    pub(crate) async fn insert(
        &self,
        job: J,
        because: &Because,
        beside: impl FnOnce(&J) -> Result<Vec<TransactWriteItem>>,
    ) -> Result<Option<J>> {
        let newest = self.newest(1).await?.first().map_or(0, |newest| newest.key().number);
        let job = job.with_key(Key { number: newest + 1, version: 1 });
        let mut items = vec![put(self.audit_row(&job.audited("create", because, None)))];
        items.extend(beside(&job)?);
        let created = self.write(job, Uuid::new_v4(), items).await;
        self.changed.notify_one();
        created
    }

    /// Writes what happened in place of the version it was made from. `None`: the row has another version now.
    pub async fn happen(&self, change: &Change<J>) -> Result<Option<J>> {
        let next = next(&change.after);
        let mut items = vec![put(self.audit_row(&change.entry))];
        items.extend(next.claim(&self.name, change.claim).map(update));
        let changed = self.write(next, Uuid::new_v4(), items).await;
        self.changed.notify_one();
        changed
    }

    /// The same without an audit entry, for what is no change of state: a lease, or progress.
    pub async fn save(&self, after: &J) -> Result<Option<J>> {
        self.write(next(after), Uuid::new_v4(), vec![]).await
    }

    /// The job and what is written with it. `None`: a condition did not hold, and the row is not of this write.
    pub(super) async fn write(&self, job: J, write: Uuid, mut items: Vec<TransactWriteItem>) -> Result<Option<J>> {
        items.push(put(self.row(&job, write)?));
        let written = transact(&self.client, J::NAMES.writing, items).await;
        let is_done = self.settled(written, job.key().number, write).await?;
        Ok(is_done.then_some(job))
    }

    /// The answer of a write may be lost after it was carried out, and its repetition then fails: the row says by which
    /// write it was made.
    pub(super) async fn settled(&self, written: Result<Transacted>, number: u64, write: Uuid) -> Result<bool> {
        match written {
            Ok(Transacted::Done) => Ok(true),
            Ok(Transacted::ConditionsFailed(_)) => self.is_of(number, write).await,
            Err(error) => match self.is_of(number, write).await {
                Ok(true) => Ok(true),
                Ok(false) | Err(_) => Err(error),
            },
        }
    }

    async fn is_of(&self, number: u64, write: Uuid) -> Result<bool> {
        let item = self.item(J::NAMES.rows, number).await?;
        item.map_or(Ok(false), |item| Ok(text(&item, "write")? == write.to_string()))
    }

    /// Puts the row in the place of the version before it.
    pub(crate) fn row(&self, job: &J, write: Uuid) -> Result<Put> {
        let (names, Key { number, version }) = (J::NAMES, job.key());
        let json = serde_json::to_string(job).expect("a job is plain data");
        J::check_size(json.len())?;
        let put = Put::builder().table_name(&self.name).item("k", s(names.rows)).item("v", n(number));
        let put = put.item(names.version, n(version)).item("write", s(write.to_string())).item(names.document, s(json));
        let put = job.attributes().into_iter().fold(put, |put, (name, value)| put.item(name, value));
        let put = match version {
            1 => put.condition_expression("attribute_not_exists(v)"),
            version => put
                .condition_expression("#version = :before")
                .expression_attribute_names("#version", names.version)
                .expression_attribute_values(":before", n(version - 1)),
        };
        Ok(put.build().expect("table and item are given"))
    }

    /// Entries sort by time; the last digits keep those of one microsecond apart.
    fn audit_row(&self, entry: &J::Audit) -> Put {
        let json = serde_json::to_string(entry).expect("an entry is plain data");
        let micros = time::OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000;
        let sort = u64::try_from(micros).expect("the clock is after 1970") * 1_000 + fastrand::u64(0..1_000);
        let put = Put::builder().table_name(&self.name).item("k", s(AUDIT)).item("v", n(sort)).item("entry", s(json));
        put.condition_expression("attribute_not_exists(v)").build().expect("table and item are given")
    }

    pub(crate) async fn item(&self, partition: &str, sort: u64) -> Result<Option<Item>> {
        let get = self.client.get_item().table_name(&self.name).consistent_read(true);
        let got = get.key("k", s(partition)).key("v", n(sort)).send().await;
        Ok(got.map_err(Error::storage(J::NAMES.reading))?.item)
    }

    fn query(&self, partition: &str) -> QueryFluentBuilder {
        let query = self.client.query().table_name(&self.name).consistent_read(true);
        query.key_condition_expression("k = :k").expression_attribute_values(":k", s(partition))
    }
}

fn job<J: Job>(item: &Item) -> Result<J> {
    let (names, row) = (J::NAMES, number(item, "v")?);
    let read: J = serde_json::from_str(&text(item, names.document)?)
        .map_err(|error| Error::Unsound(format!("{} {row}: {error}", names.document)))?;
    Ok(read.with_key(Key { number: row, version: number(item, names.version)? }))
}

/// The job as its next version.
pub(crate) fn next<J: Job>(after: &J) -> J {
    let Key { number, version } = after.key();
    after.clone().with_key(Key { number, version: version + 1 })
}

pub(crate) fn put(put: Put) -> TransactWriteItem {
    TransactWriteItem::builder().put(put).build()
}

pub(crate) fn update(update: Update) -> TransactWriteItem {
    TransactWriteItem::builder().update(update).build()
}
