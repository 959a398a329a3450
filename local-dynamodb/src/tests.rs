//! The server as the AWS SDK sees it: a real listener on loopback, real HTTP.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, Put,
    ReturnValuesOnConditionCheckFailure, ScalarAttributeType, TransactWriteItem,
};
use serde_json::json;

use crate::dispatch;
use crate::engine::{Engine, OpenError};
use crate::http::{Server, app};

struct Fixture {
    client: Client,
    url: String,
    http: reqwest::Client,
}

async fn started() -> Fixture {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let server = Server::new(Engine::in_memory().expect("opens"));
    tokio::spawn(async move { axum::serve(listener, app(server)).await });
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(&url)
        .credentials_provider(Credentials::new("local", "local", None, None, "local"))
        .retry_config(RetryConfig::disabled())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    let client = Client::from_conf(config);
    let attribute = AttributeDefinition::builder().attribute_name("k").attribute_type(ScalarAttributeType::S);
    client
        .create_table()
        .table_name("items")
        .billing_mode(BillingMode::PayPerRequest)
        .attribute_definitions(attribute.build().expect("complete"))
        .key_schema(KeySchemaElement::builder().attribute_name("k").key_type(KeyType::Hash).build().expect("complete"))
        .send()
        .await
        .expect("table created");
    Fixture { client, url, http: reqwest::Client::new() }
}

fn item(key: &str, value: &str) -> HashMap<String, AttributeValue> {
    [("k", key), ("v", value)].map(|(k, v)| (k.to_owned(), AttributeValue::S(v.to_owned()))).into()
}

fn put_if_absent(key: &str) -> TransactWriteItem {
    let put = Put::builder()
        .table_name("items")
        .set_item(Some(item(key, "new")))
        .condition_expression("attribute_not_exists(k)")
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
    TransactWriteItem::builder().put(put.build().expect("complete")).build()
}

impl Fixture {
    async fn put(&self, key: &str) -> Result<(), String> {
        let put = self.client.put_item().table_name("items").set_item(Some(item(key, "first")));
        let sent = put.condition_expression("attribute_not_exists(k)").send().await;
        sent.map(|_| ()).map_err(|error| error.code().unwrap_or("none").to_owned())
    }

    async fn get(&self, key: &str) -> Option<HashMap<String, AttributeValue>> {
        let get =
            self.client.get_item().table_name("items").key("k", AttributeValue::S(key.into())).consistent_read(true);
        get.send().await.expect("answers").item
    }

    async fn faults(&self, json: &str) {
        let put = self.http.put(format!("{}/_faults", self.url)).body(json.to_owned()).send().await.expect("answers");
        assert_eq!(put.status(), 200);
    }

    async fn consumed(&self) -> serde_json::Value {
        self.http.get(format!("{}/_consumed", self.url)).send().await.expect("answers").json().await.expect("JSON")
    }
}

#[tokio::test]
async fn a_second_put_of_the_same_key_fails_its_condition() {
    let fixture = started().await;
    assert_eq!(fixture.put("a").await, Ok(()));
    assert_eq!(fixture.put("a").await, Err("ConditionalCheckFailedException".into()));
    assert_eq!(fixture.get("a").await, Some(item("a", "first")));
}

#[tokio::test]
async fn a_cancelled_transaction_writes_nothing_and_shows_why() {
    let fixture = started().await;
    let transaction = |a, b| {
        let call = fixture.client.transact_write_items().transact_items(put_if_absent(a));
        call.transact_items(put_if_absent(b)).send()
    };
    transaction("a", "b").await.expect("both are absent");
    let error = transaction("c", "b").await.expect_err("b exists").into_service_error();
    let aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError::TransactionCanceledException(
        cancelled,
    ) = error
    else {
        panic!("{error}")
    };
    let reasons = cancelled.cancellation_reasons();
    assert_eq!(reasons[0].code(), Some("None"));
    assert_eq!(reasons[1].code(), Some("ConditionalCheckFailed"));
    assert_eq!(reasons[1].item(), Some(&item("b", "new")));
    assert_eq!(fixture.get("c").await, None);
}

#[tokio::test]
async fn a_repeated_token_runs_the_transaction_again() {
    let fixture = started().await;
    let call = || fixture.client.transact_write_items().client_request_token("t1").transact_items(put_if_absent("a"));
    call().send().await.expect("absent");
    let again = call().send().await.expect_err("the token is not remembered");
    assert_eq!(again.code(), Some("TransactionCanceledException"));
}

#[tokio::test]
async fn faults_are_what_the_client_meets() {
    let fixture = started().await;
    fixture.faults(r#"{"throttle_percent":100}"#).await;
    assert_eq!(fixture.put("a").await, Err("ThrottlingException".into()));
    fixture.faults(r#"{"unavailable":true,"operations":["PutItem"]}"#).await;
    assert_eq!(fixture.put("a").await, Err("ServiceUnavailable".into()));
    assert_eq!(fixture.get("a").await, None);

    fixture.faults(r#"{"conflict_percent":100}"#).await;
    assert_eq!(fixture.put("other").await, Ok(()));
    let conflict = fixture.client.transact_write_items().transact_items(put_if_absent("a")).send().await;
    let conflict = conflict.expect_err("injected").into_service_error();
    assert!(conflict.is_transaction_canceled_exception());

    fixture.faults(r#"{"lost_answer_percent":100,"operations":["PutItem"]}"#).await;
    assert_eq!(fixture.put("a").await, Err("InternalServerError".into()));
    assert_eq!(fixture.get("a").await, Some(item("a", "first")), "it was committed all the same");

    let cleared = fixture.http.delete(format!("{}/_faults", fixture.url)).send().await.expect("answers");
    assert_eq!(cleared.status(), 204);
    assert_eq!(fixture.put("b").await, Ok(()));
}

#[tokio::test]
async fn the_write_after_so_many_is_silent_until_the_plan_changes() {
    for applied in [true, false] {
        let fixture = started().await;
        fixture.faults(&format!(r#"{{"hang_after_writes":1,"hang_applied":{applied}}}"#)).await;
        let put = |key: &str| fixture.client.put_item().table_name("items").set_item(Some(item(key, "x"))).send();
        put("a").await.expect("the first one is carried out");
        let hanging = tokio::spawn(put("b"));
        let plan = loop {
            let asked = fixture.http.get(format!("{}/_faults", fixture.url)).send().await.expect("answers");
            let plan: serde_json::Value = asked.json().await.expect("a plan");
            if plan["hung"] == 1 {
                break plan;
            }
            tokio::task::yield_now().await;
        };
        assert_eq!(plan["hang_applied"], applied);
        let there = || fixture.client.get_item().table_name("items").key("k", AttributeValue::S("b".into())).send();
        if !applied {
            assert!(there().await.expect("reads are answered").item.is_none());
        }
        fixture.http.delete(format!("{}/_faults", fixture.url)).send().await.expect("answers");
        assert!(hanging.await.expect("no panic").is_err());
        assert_eq!(there().await.expect("answers").item.is_some(), applied);
    }
}

#[tokio::test]
async fn the_same_seed_gives_the_same_faults() {
    let fixture = started().await;
    let mut runs = Vec::new();
    for run in ["x", "y"] {
        fixture.faults(r#"{"throttle_percent":50,"seed":7}"#).await;
        let mut outcomes = Vec::new();
        for n in 0..20 {
            outcomes.push(fixture.put(&format!("{run}{n}")).await.is_ok());
        }
        runs.push(outcomes);
    }
    assert_eq!(runs[0], runs[1]);
    assert!(runs[0].contains(&true) && runs[0].contains(&false));
}

#[tokio::test]
async fn consumed_capacity_is_counted_and_shown_only_to_who_asks() {
    let fixture = started().await;
    fixture.http.delete(format!("{}/_consumed", fixture.url)).send().await.expect("answers");
    fixture.put("a").await.expect("absent");
    let answer = fixture.client.put_item().table_name("items").set_item(Some(item("b", "x"))).send().await;
    assert!(answer.expect("put").consumed_capacity.is_none());
    let two =
        fixture.client.transact_write_items().transact_items(put_if_absent("c")).transact_items(put_if_absent("d"));
    two.send().await.expect("absent");
    assert!(fixture.put("a").await.is_err());
    fixture.get("a").await.expect("there");
    let totals = fixture.consumed().await;
    assert_eq!(totals["write_units"], 6.0, "two puts of 1, one transaction of 2 × 2: {totals}");
    assert_eq!(totals["read_units"], 1.0);
    assert_eq!(totals["operations"]["PutItem"], serde_json::json!({"calls": 3, "errors": 1, "units": 2.0}));
}

#[tokio::test]
async fn what_is_not_served_is_said() {
    let fixture = started().await;
    let response = fixture.http.post(&fixture.url).header("x-amz-target", "DynamoDB_20120810.Nope").body("{}");
    let response = response.send().await.expect("answers");
    assert_eq!(response.headers()["x-amzn-errortype"], "UnknownOperationException");
    let missing = fixture.client.get_item().table_name("nothing").key("k", AttributeValue::S("a".into())).send().await;
    assert_eq!(missing.expect_err("no table").code(), Some("ResourceNotFoundException"));
}

#[test]
fn a_file_has_one_owner_and_keeps_its_tables() {
    let folder = std::env::temp_dir().join(format!("local-dynamodb-{}", std::process::id()));
    let path = folder.join("one.sqlite");
    let first = Engine::open(&path).expect("opens");
    match Engine::open(&path) {
        Err(OpenError::InUse { holder, .. }) => assert_eq!(holder, std::process::id().to_string()),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("opened twice"),
    }
    drop(first);
    Engine::open(&path).expect("free again");
    std::fs::remove_dir_all(&folder).expect("removed");
}

#[tokio::test]
async fn a_request_that_was_signed_long_ago_is_refused() {
    let fixture = started().await;
    let put = |date: &str| {
        let body = r#"{"TableName":"items","Item":{"k":{"S":"late"}}}"#;
        let call = fixture.http.post(&fixture.url).header("x-amz-target", "DynamoDB_20120810.PutItem");
        call.header("x-amz-date", date).body(body).send()
    };
    let refused = put("20200101T000000Z").await.expect("answers");
    let kind = refused.headers()["x-amzn-errortype"].to_str().expect("text");
    assert_eq!((refused.status().as_u16(), kind), (400, "InvalidSignatureException"));
    let got = fixture.client.get_item().table_name("items").key("k", AttributeValue::S("late".into())).send().await;
    assert!(got.expect("signed now").item.is_none(), "nothing was written");
}

/// The call's answer as the engine gives it.
fn answer(engine: &Engine, operation: &str, request: serde_json::Value) -> serde_json::Value {
    let done = dispatch::run(engine, operation, request.to_string().as_bytes());
    let json = done.unwrap_or_else(|error| panic!("{operation}: {error}")).json;
    serde_json::from_str(&json).expect("JSON")
}

/// The values of the changes after `iterator`, and where to go on.
fn changes(engine: &Engine, iterator: &serde_json::Value) -> (Vec<String>, serde_json::Value) {
    let page = answer(engine, "GetRecords", json!({ "ShardIterator": iterator }));
    let value = |record: &serde_json::Value| record["dynamodb"]["NewImage"]["v"]["S"].as_str().map(str::to_owned);
    (page["Records"].as_array().into_iter().flatten().filter_map(value).collect(), page["NextShardIterator"].clone())
}

#[test]
fn a_stream_has_every_change_in_order_also_after_a_restart() {
    let folder = std::env::temp_dir().join(format!("local-dynamodb-streams-{}", std::process::id()));
    let path = folder.join("db.sqlite");
    let put = |engine: &Engine, value: &str| {
        answer(engine, "PutItem", json!({ "TableName": "items", "Item": { "k": { "S": "a" }, "v": { "S": value } } }));
    };
    let engine = Engine::open(&path).expect("opens");
    let table = json!({
        "TableName": "items",
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{ "AttributeName": "k", "AttributeType": "S" }],
        "KeySchema": [{ "AttributeName": "k", "KeyType": "HASH" }],
        "StreamSpecification": { "StreamEnabled": true, "StreamViewType": "NEW_IMAGE" },
    });
    answer(&engine, "CreateTable", table);
    ["1", "2"].iter().for_each(|value| put(&engine, value));
    let streams = answer(&engine, "ListStreams", json!({ "TableName": "items" }));
    let arn = &streams["Streams"][0]["StreamArn"];
    let stream = answer(&engine, "DescribeStream", json!({ "StreamArn": arn }));
    let shard = &stream["StreamDescription"]["Shards"][0]["ShardId"];
    let from_the_beginning = json!({ "StreamArn": arn, "ShardId": shard, "ShardIteratorType": "TRIM_HORIZON" });
    let begin =
        |engine: &Engine| answer(engine, "GetShardIterator", from_the_beginning.clone())["ShardIterator"].clone();
    let (seen, next) = changes(&engine, &begin(&engine));
    assert_eq!(seen, ["1", "2"]);
    put(&engine, "3");
    assert_eq!(changes(&engine, &next).0, ["3"]);
    drop(engine);
    let engine = Engine::open(&path).expect("opens again");
    put(&engine, "4");
    assert_eq!(changes(&engine, &begin(&engine)).0, ["1", "2", "3", "4"]);
    assert_eq!(changes(&engine, &next).0, ["3", "4"]);
    drop(engine);
    std::fs::remove_dir_all(&folder).expect("removed");
}

#[tokio::test]
async fn the_operations_of_streams_are_those_of_their_own_api() {
    let fixture = started().await;
    let call = async |target: &str| {
        let call = fixture.http.post(&fixture.url).header("x-amz-target", target).body("{}");
        call.send().await.expect("answers").status().as_u16()
    };
    assert_eq!(call("DynamoDBStreams_20120810.ListStreams").await, 200);
    assert_eq!(call("DynamoDB_20120810.ListStreams").await, 400);
    assert_eq!(call("DynamoDBStreams_20120810.ListTables").await, 400);
}
