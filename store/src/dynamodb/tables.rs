//! The four tables of a cell. Created by an explicit step; on AWS they are the infrastructure code's, which adds what
//! this does not: point-in-time recovery, deletion protection, a key of one's own.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::create_table::CreateTableError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection, ProjectionType,
    ScalarAttributeType, StreamSpecification, StreamViewType, TableDescription, TableStatus,
};
use tokio::time::sleep;

use crate::StoreError;

/// Sparse index of `ledger`: only block 0 carries its key, the bucket. Lists the wallets of a bucket.
pub const BUCKETS_INDEX: &str = "buckets";

/// The table with a change stream.
const FOLLOWED: &str = "ledger";

const POLL: Duration = Duration::from_millis(200);
const MAX_POLLS: u32 = 150;

type Attribute = (&'static str, ScalarAttributeType);

/// The names of a cell's tables, after their prefix.
pub const TABLES: [&str; 4] = ["ledger", "snapshots", "homes", "owners"];

struct Table {
    name: &'static str,
    partition: Attribute,
    sort: Option<Attribute>,
    index: Option<(&'static str, Attribute, Attribute, ProjectionType)>,
}

fn tables() -> [Table; 4] {
    use ScalarAttributeType::{N, S};
    [
        Table {
            name: "ledger",
            partition: ("w", S),
            sort: Some(("n", N)),
            index: Some((BUCKETS_INDEX, ("k", S), ("w", S), ProjectionType::KeysOnly)),
        },
        Table { name: "snapshots", partition: ("w", S), sort: Some(("s", S)), index: None },
        Table { name: "homes", partition: ("k", S), sort: None, index: None },
        Table { name: "owners", partition: ("w", S), sort: None, index: None },
    ]
}

/// Creates what is missing, waits until all tables are active, and switches the change stream on. Safe to repeat.
pub async fn create_tables(client: &Client, prefix: &str) -> Result<(), StoreError> {
    for table in tables() {
        let name = format!("{prefix}{}", table.name);
        match create(client, &name, &table).send().await {
            Ok(_) => {}
            Err(error) if matches!(error.as_service_error(), Some(CreateTableError::ResourceInUseException(_))) => {}
            Err(error) => return Err(super::errors::write_failed(&error)),
        }
    }
    for table in tables() {
        wait_until_active(client, &format!("{prefix}{}", table.name)).await?;
    }
    switch_stream_on(client, &format!("{prefix}{FOLLOWED}")).await
}

/// Also for a table that was created without one.
async fn switch_stream_on(client: &Client, name: &str) -> Result<(), StoreError> {
    if has_stream(&describe(client, name).await?) {
        return Ok(());
    }
    let stream = StreamSpecification::builder().stream_enabled(true).stream_view_type(StreamViewType::NewImage).build();
    let update = client.update_table().table_name(name).stream_specification(stream.expect("whether it is on is set"));
    update.send().await.map_err(|error| super::errors::write_failed(&error))?;
    wait_until_active(client, name).await
}

/// The newest stream of a table.
pub async fn stream_of(client: &Client, name: &str) -> Result<String, StoreError> {
    let described = describe(client, name).await?;
    let missing = || {
        let fix = "run `cell tables create`, or deploy the infrastructure code on AWS";
        StoreError::Rejected(format!("table {name} has no stream of new images: {fix}"))
    };
    let stream = has_stream(&described).then_some(described.latest_stream_arn).flatten();
    stream.ok_or_else(missing)
}

fn has_stream(table: &TableDescription) -> bool {
    table.stream_specification.as_ref().is_some_and(|stream| {
        let view = stream.stream_view_type();
        let has_images = matches!(view, Some(StreamViewType::NewImage | StreamViewType::NewAndOldImages));
        stream.stream_enabled() && has_images
    })
}

async fn describe(client: &Client, name: &str) -> Result<TableDescription, StoreError> {
    let answer = client.describe_table().table_name(name).send().await;
    let table = answer.map_err(|error| super::errors::read_failed(&error))?.table;
    table.ok_or_else(|| StoreError::Unavailable(format!("table {name} was not described")))
}

/// Whether the cell's tables answer: one read of `homes`.
pub async fn check_reachable(client: &Client, prefix: &str) -> Result<(), StoreError> {
    let name = format!("{prefix}homes");
    let read = client.get_item().table_name(name).set_key(Some(super::items::genesis_key()));
    read.send().await.map(drop).map_err(|error| super::errors::read_failed(&error))
}

fn create(
    client: &Client,
    name: &str,
    table: &Table,
) -> aws_sdk_dynamodb::operation::create_table::builders::CreateTableFluentBuilder {
    let mut attributes = vec![table.partition.clone()];
    attributes.extend(table.sort.clone());
    let mut builder = client
        .create_table()
        .table_name(name)
        .billing_mode(BillingMode::PayPerRequest)
        .set_key_schema(Some(key_schema(&table.partition, table.sort.as_ref())));
    if let Some((index, partition, sort, projection)) = &table.index {
        attributes.extend([partition.clone(), sort.clone()]);
        let index = GlobalSecondaryIndex::builder()
            .index_name(*index)
            .set_key_schema(Some(key_schema(partition, Some(sort))))
            .projection(Projection::builder().projection_type(projection.clone()).build());
        builder = builder.global_secondary_indexes(index.build().expect("name and keys are set"));
    }
    attributes.sort_by_key(|(name, _)| *name);
    attributes.dedup_by_key(|(name, _)| *name);
    let definition = |(name, kind): (&str, ScalarAttributeType)| {
        AttributeDefinition::builder().attribute_name(name).attribute_type(kind).build().expect("name and type are set")
    };
    builder.set_attribute_definitions(Some(attributes.into_iter().map(definition).collect()))
}

fn key_schema(partition: &Attribute, sort: Option<&Attribute>) -> Vec<KeySchemaElement> {
    let element = |(name, _): &Attribute, kind| {
        KeySchemaElement::builder().attribute_name(*name).key_type(kind).build().expect("name and type are set")
    };
    let mut keys = vec![element(partition, KeyType::Hash)];
    keys.extend(sort.map(|sort| element(sort, KeyType::Range)));
    keys
}

async fn wait_until_active(client: &Client, name: &str) -> Result<(), StoreError> {
    for _ in 0..MAX_POLLS {
        let status = describe(client, name).await.ok().and_then(|table| table.table_status);
        if status == Some(TableStatus::Active) {
            return Ok(());
        }
        sleep(POLL).await;
    }
    Err(StoreError::Unavailable(format!("table {name} did not become active")))
}
