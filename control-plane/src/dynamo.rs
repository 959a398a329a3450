//! How this program talks to DynamoDB: the client with its limits, the tables, and short names for attribute values.
//!
//! It must never know what a row means.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType, TransactWriteItem,
};
use store::dynamodb::client_config;

use crate::error::{Error, Result};
pub use store::dynamodb::Connection;

/// A call of one item answers in tens of milliseconds or is in trouble.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);
/// All attempts together.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(6);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const ATTEMPTS_MAX: u32 = 4;
const BACKOFF_FIRST: Duration = Duration::from_millis(25);

/// The SDK does not repeat a transaction that met another one.
const CONFLICT_ATTEMPTS_MAX: u32 = 8;
const CONFLICT_BACKOFF: Duration = Duration::from_millis(10);

pub type Item = HashMap<String, AttributeValue>;

/// A client for the tables at `connection`, with this program's limits: it repeats what failed, since each of its
/// writes may be repeated.
pub async fn connect(connection: &Connection) -> Client {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(OPERATION_TIMEOUT)
        .build();
    let retries = RetryConfig::standard().with_max_attempts(ATTEMPTS_MAX).with_initial_backoff(BACKOFF_FIRST);
    let config = Box::pin(client_config(connection)).await.retry_config(retries).timeout_config(timeouts);
    Client::from_conf(config.build())
}

pub fn s(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

pub fn n(number: u64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

/// The text attribute `name`, which every row of its kind has.
pub fn text(item: &Item, name: &str) -> Result<String> {
    let value = item.get(name).and_then(|value| value.as_s().ok());
    value.cloned().ok_or_else(|| Error::Unsound(format!("a row without text attribute {name:?}")))
}

pub fn number(item: &Item, name: &str) -> Result<u64> {
    let value = item.get(name).and_then(|value| value.as_n().ok()).and_then(|digits| digits.parse().ok());
    value.ok_or_else(|| Error::Unsound(format!("a row without number attribute {name:?}")))
}

/// A table's keys: text partition key and, perhaps, a number as sort key.
#[derive(Debug, serde::Serialize)]
pub struct TableShape {
    pub name: String,
    pub partition: &'static str,
    pub sort: Option<&'static str>,
}

/// Creates the table unless it exists.
pub async fn create_table(client: &Client, shape: &TableShape) -> Result<()> {
    let keys = [(Some(shape.partition), KeyType::Hash), (shape.sort, KeyType::Range)];
    let mut create = client.create_table().table_name(&shape.name).billing_mode(BillingMode::PayPerRequest);
    for (name, role) in keys.into_iter().filter_map(|(name, role)| name.map(|name| (name, role))) {
        let kind = if role == KeyType::Hash { ScalarAttributeType::S } else { ScalarAttributeType::N };
        let attribute = AttributeDefinition::builder().attribute_name(name).attribute_type(kind).build();
        let key = KeySchemaElement::builder().attribute_name(name).key_type(role).build();
        create = create
            .attribute_definitions(attribute.expect("name and type are given"))
            .key_schema(key.expect("name and role are given"));
    }
    match create.send().await.map_err(Error::storage("creating a table")) {
        Ok(_) => Ok(()),
        Err(Error::Storage { code: Some(code), .. }) if code == "ResourceInUseException" => Ok(()),
        Err(error) => Err(error),
    }
}

#[derive(Debug, PartialEq, Eq)]
pub enum Transacted {
    Done,
    /// Nothing was written: the conditions of the items at these places do not hold.
    ConditionsFailed(Vec<usize>),
}

/// Writes all `items` or none. What meets another transaction is tried again, a bounded number of times.
///
/// A lost answer may make a transaction's own success look like a failed condition: the caller
/// looks at the row.
pub async fn transact(client: &Client, what: &'static str, items: Vec<TransactWriteItem>) -> Result<Transacted> {
    let mut attempt = 1;
    loop {
        let Err(error) = client.transact_write_items().set_transact_items(Some(items.clone())).send().await else {
            return Ok(Transacted::Done);
        };
        let codes = match error.as_service_error() {
            Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
                cancelled.cancellation_reasons().iter().map(|reason| reason.code().unwrap_or("None")).collect()
            }
            _ => Vec::new(),
        };
        let failed: Vec<usize> =
            codes.iter().enumerate().filter(|(_, code)| **code == "ConditionalCheckFailed").map(|(i, _)| i).collect();
        if !failed.is_empty() {
            return Ok(Transacted::ConditionsFailed(failed));
        }
        if !codes.contains(&"TransactionConflict") || attempt >= CONFLICT_ATTEMPTS_MAX {
            return Err(Error::storage(what)(error));
        }
        tokio::time::sleep(CONFLICT_BACKOFF * attempt).await;
        attempt += 1;
    }
}
