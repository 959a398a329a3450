//! Deploys as rows of a table of their own: one per deploy, which of them is under way, and the audit.
//!
//! Every change is a compare-and-set on the row, and every change of state leaves its audit entry in the same transaction.
//! It must never update or delete an audit entry, nor let two deploys be under way.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{Put, TransactWriteItem, Update};
use control_api::{DeployAudit, DeployId, Refusal};
use tokio::sync::Notify;
use uuid::Uuid;

use super::record::Deploy;
use crate::dynamo::{Item, TableShape, Transacted, n, number, s, text, transact};
use crate::error::{Error, Result, refused};

const DEPLOY: &str = "deploy";
/// One row: the number of the deploy that is under way, 0 if none is.
const ACTIVE: &str = "active";
const AUDIT: &str = "audit";
/// An item of DynamoDB is at most 400 KB.
const ROW_MAX_BYTES: usize = 350_000;

pub struct Table {
    client: Client,
    table: String,
    /// Gets every change made by this process.
    pub changed: Notify,
}

/// What a change does to the row that says which deploy is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    Keep,
    /// Only if none is under way.
    Take,
    Release,
}

/// The table this module keeps.
pub fn table(prefix: &str) -> TableShape {
    TableShape { name: format!("{prefix}deploys"), partition: "k", sort: Some("v") }
}

impl Table {
    pub fn new(client: Client, prefix: &str) -> Self {
        Self { client, table: table(prefix).name, changed: Notify::new() }
    }

    pub async fn get(&self, number: u64) -> Result<Option<Deploy>> {
        self.item(DEPLOY, number).await?.as_ref().map(read).transpose()
    }

    /// Newest first.
    pub async fn newest(&self, limit: i32) -> Result<Vec<Deploy>> {
        self.rows(DEPLOY, limit).await?.iter().map(read).collect()
    }

    /// The one that is under way.
    pub async fn active(&self) -> Result<Option<u64>> {
        let Some(item) = self.item(ACTIVE, 0).await? else { return Ok(None) };
        Ok(Some(number(&item, "deploy")?).filter(|&number| number > 0))
    }

    /// Newest first; of one deploy if it is named, among the last `limit` entries of all.
    pub async fn audit(&self, limit: i32, of: Option<DeployId>) -> Result<Vec<DeployAudit>> {
        let unsound = |error| Error::Unsound(format!("an audit entry: {error}"));
        let mut entries: Vec<DeployAudit> = vec![];
        for item in self.rows(AUDIT, limit).await? {
            entries.push(serde_json::from_str(&text(&item, "entry")?).map_err(unsound)?);
        }
        entries.retain(|entry| of.is_none_or(|of| of == entry.deploy));
        Ok(entries)
    }

    /// Writes a new deploy under the next number. `None`: something came first, or another one is under way.
    pub async fn create(&self, mut deploy: Deploy, entry: DeployAudit) -> Result<Option<Deploy>> {
        let newest = self.newest(1).await?.first().map_or(0, |newest| newest.number);
        (deploy.number, deploy.row) = (newest + 1, 0);
        let entry = DeployAudit { deploy: deploy.id(), ..entry };
        self.change(&deploy, Some(entry), Claim::Take).await
    }

    /// Writes `after` in place of the row it was made from. `None`: the row is another one now.
    pub async fn change(&self, after: &Deploy, entry: Option<DeployAudit>, claim: Claim) -> Result<Option<Deploy>> {
        let next = Deploy { row: after.row + 1, ..after.clone() };
        let write = Uuid::new_v4();
        let mut items = vec![TransactWriteItem::builder().put(self.put_deploy(&next, write)?).build()];
        items.extend(entry.map(|entry| TransactWriteItem::builder().put(self.put_audit(&entry)).build()));
        items.extend(self.claim(next.number, claim).map(|update| TransactWriteItem::builder().update(update).build()));
        let written = match transact(&self.client, "writing a deploy", items).await {
            Ok(Transacted::Done) => Ok(true),
            // A lost answer may make a transaction's own success look like this.
            Ok(Transacted::ConditionsFailed(_)) => self.is_mine(next.number, write).await,
            Err(error) => match self.is_mine(next.number, write).await {
                Ok(true) => Ok(true),
                _ => Err(error),
            },
        };
        self.changed.notify_one();
        Ok(written?.then_some(next))
    }

    fn put_deploy(&self, deploy: &Deploy, write: Uuid) -> Result<Put> {
        let json = serde_json::to_string(deploy).expect("a deploy is plain data");
        if json.len() > ROW_MAX_BYTES {
            let detail = format!("the deploy's record would have {} bytes, at most {ROW_MAX_BYTES}", json.len());
            return Err(refused(Refusal::DeployTooLarge, detail));
        }
        let put = Put::builder().table_name(&self.table).item("k", s(DEPLOY)).item("v", n(deploy.number));
        let put = put.item("row", n(deploy.row)).item("write", s(write.to_string())).item("deploy", s(json));
        let put = match deploy.row {
            1 => put.condition_expression("attribute_not_exists(v)"),
            row => put
                .condition_expression("#row = :before")
                .expression_attribute_names("#row", "row")
                .expression_attribute_values(":before", n(row - 1)),
        };
        Ok(put.build().expect("table and item are given"))
    }

    /// Entries sort by time; the last digits keep those of one microsecond apart.
    fn put_audit(&self, entry: &DeployAudit) -> Put {
        let json = serde_json::to_string(entry).expect("an entry is plain data");
        let micros = time::OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000;
        let sort = u64::try_from(micros).expect("the clock is after 1970") * 1_000 + fastrand::u64(0..1_000);
        let put = Put::builder().table_name(&self.table).item("k", s(AUDIT)).item("v", n(sort)).item("entry", s(json));
        put.condition_expression("attribute_not_exists(v)").build().expect("table and item are given")
    }

    fn claim(&self, deploy: u64, claim: Claim) -> Option<Update> {
        let (value, condition) = match claim {
            Claim::Keep => return None,
            Claim::Take => (deploy, "attribute_not_exists(deploy) OR deploy = :free"),
            Claim::Release => (0, "deploy = :own"),
        };
        let update = Update::builder().table_name(&self.table).key("k", s(ACTIVE)).key("v", n(0));
        let update = update.update_expression("SET deploy = :value").condition_expression(condition);
        let update = update.expression_attribute_values(":value", n(value));
        let update = match claim {
            Claim::Take => update.expression_attribute_values(":free", n(0)),
            _ => update.expression_attribute_values(":own", n(deploy)),
        };
        Some(update.build().expect("all parts are given"))
    }

    async fn is_mine(&self, number: u64, write: Uuid) -> Result<bool> {
        let item = self.item(DEPLOY, number).await?;
        item.map_or(Ok(false), |item| Ok(text(&item, "write")? == write.to_string()))
    }

    async fn item(&self, partition: &str, sort: u64) -> Result<Option<Item>> {
        let get = self.client.get_item().table_name(&self.table).consistent_read(true);
        let got = get.key("k", s(partition)).key("v", n(sort)).send().await;
        Ok(got.map_err(Error::storage("reading deploys"))?.item)
    }

    async fn rows(&self, partition: &str, limit: i32) -> Result<Vec<Item>> {
        let query = self.client.query().table_name(&self.table).consistent_read(true);
        let query = query.key_condition_expression("k = :k").expression_attribute_values(":k", s(partition));
        let found = query.scan_index_forward(false).limit(limit).send().await;
        Ok(found.map_err(Error::storage("reading deploys"))?.items.unwrap_or_default())
    }
}

fn read(item: &Item) -> Result<Deploy> {
    let row = number(item, "v")?;
    let read: Deploy = serde_json::from_str(&text(item, "deploy")?)
        .map_err(|error| Error::Unsound(format!("deploy {row}: {error}")))?;
    Ok(Deploy { number: row, row: number(item, "row")?, ..read })
}
