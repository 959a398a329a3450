//! One call of the DynamoDB JSON protocol: parse, run on the engine, print; with the capacity that it consumed.
//!
//! Blocking: call it on a thread that may wait for the disk.

use dynoxide::DynoxideError;
use dynoxide::actions::{
    batch_get_item, batch_write_item, delete_item, get_item, put_item, query, scan, transact_get_items,
    transact_write_items, update_item,
};
use dynoxide::types::ConsumedCapacity;
use serde::de::DeserializeOwned;

use crate::engine::Engine;

/// The answer's JSON and the capacity units of the call; 0 for calls that consume none.
pub struct Answer {
    pub json: String,
    pub units: f64,
    /// What was committed for it.
    pub commit: Option<u64>,
}

/// The engine reports units only to callers that ask for them: ask always, and leave them out of
/// the answer unless the caller asked too.
macro_rules! metered {
    ($database:ident . $call:ident ( $request:expr )) => {{
        let mut request = $request;
        let silent = matches!(request.return_consumed_capacity.as_deref(), None | Some("NONE"));
        if silent {
            request.return_consumed_capacity = Some("TOTAL".to_owned());
        }
        let mut response = $database.$call(request)?;
        let units = response.consumed_capacity.as_ref().map_or(0.0, Units::units);
        if silent {
            response.consumed_capacity = None;
        }
        print(&response, units)
    }};
}

macro_rules! plain {
    ($database:ident . $call:ident ( $request:expr )) => {
        print(&$database.$call($request)?, 0.0)
    };
}

/// A call that writes: one at a time, once its request was read.
macro_rules! written {
    ($engine:ident: $how:ident!($database:ident . $call:ident ( $request:expr ))) => {{
        let request = $request;
        let turn = $engine.turn();
        let answer = $how!($database.$call(request))?;
        Ok(Answer { commit: turn.map(|turn| turn.commit()), ..answer })
    }};
}

/// Runs `operation` (one of [`crate::consumed::OPERATIONS`]) with the JSON `body`.
pub fn run(engine: &Engine, operation: &str, body: &[u8]) -> Result<Answer, DynoxideError> {
    let answer = answered(engine, operation, body);
    if matches!(operation, "CreateTable" | "UpdateTable" | "DeleteTable") {
        engine.forget_descriptions();
    }
    answer
}

fn answered(engine: &Engine, operation: &str, body: &[u8]) -> Result<Answer, DynoxideError> {
    let database = &engine.database;
    match operation {
        "PutItem" => written!(engine: metered!(database.put_item(parse::<put_item::PutItemRequest>(body)?))),
        "GetItem" => metered!(database.get_item(parse::<get_item::GetItemRequest>(body)?)),
        "UpdateItem" => {
            written!(engine: metered!(database.update_item(parse::<update_item::UpdateItemRequest>(body)?)))
        }
        "DeleteItem" => {
            written!(engine: metered!(database.delete_item(parse::<delete_item::DeleteItemRequest>(body)?)))
        }
        "Query" => metered!(database.query(parse::<query::QueryRequest>(body)?)),
        "Scan" => metered!(database.scan(parse::<scan::ScanRequest>(body)?)),
        "TransactWriteItems" => {
            let mut request = parse::<transact_write_items::TransactWriteItemsRequest>(body)?;
            // The engine keeps ten minutes of tokens and reads them all on each call: the time of a call grew fivefold
            // within 17,000 calls. Without the token a repeated transaction runs again and meets its own conditions.
            request.client_request_token = None;
            written!(engine: metered!(database.transact_write_items(request)))
        }
        "TransactGetItems" => {
            metered!(database.transact_get_items(parse::<transact_get_items::TransactGetItemsRequest>(body)?))
        }
        "BatchGetItem" => metered!(database.batch_get_item(parse::<batch_get_item::BatchGetItemRequest>(body)?)),
        "BatchWriteItem" => {
            written!(engine: metered!(database.batch_write_item(parse::<batch_write_item::BatchWriteItemRequest>(body)?)))
        }
        "CreateTable" => written!(engine: plain!(database.create_table(parse(body)?))),
        "DescribeTable" => {
            let describe = || plain!(database.describe_table(parse(body)?)).map(|answer| answer.json);
            engine.described(body, describe).map(|json| Answer { json, units: 0.0, commit: None })
        }
        "DeleteTable" => written!(engine: plain!(database.delete_table(parse(body)?))),
        "ListTables" => plain!(database.list_tables(parse(body)?)),
        "UpdateTable" => written!(engine: plain!(database.update_table(parse(body)?))),
        "UpdateTimeToLive" => written!(engine: plain!(database.update_time_to_live(parse(body)?))),
        "DescribeTimeToLive" => plain!(database.describe_time_to_live(parse(body)?)),
        "ListStreams" => plain!(database.list_streams(parse(body)?)),
        "DescribeStream" => plain!(database.describe_stream(parse(body)?)),
        "GetShardIterator" => plain!(database.get_shard_iterator(parse(body)?)),
        "GetRecords" => plain!(database.get_records(parse(body)?)),
        unknown => Err(DynoxideError::UnsupportedCapability(unknown.to_owned())),
    }
}

trait Units {
    fn units(&self) -> f64;
}

impl Units for ConsumedCapacity {
    fn units(&self) -> f64 {
        self.capacity_units
    }
}

impl Units for Vec<ConsumedCapacity> {
    fn units(&self) -> f64 {
        self.iter().map(Units::units).sum()
    }
}

fn print(response: &impl serde::Serialize, units: f64) -> Result<Answer, DynoxideError> {
    let json =
        serde_json::to_string(response).map_err(|error| DynoxideError::InternalServerError(error.to_string()))?;
    Ok(Answer { json, units, commit: None })
}

/// Prefixes by which the engine's request types mark a rule that was broken, as against JSON of the wrong shape.
const RULE_MARKERS: [&str; 3] = ["VALIDATION_REQUEST:", "VALIDATION_AS_READ:", "VALIDATION:"];
const SHAPE_MARKERS: [&str; 2] = ["SERIALIZATION_AS_READ:", "SERIALIZATION:"];

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, DynoxideError> {
    serde_json::from_slice(body).map_err(|error| {
        let message = error.to_string();
        if let Some(rule) = RULE_MARKERS.iter().find_map(|marker| message.strip_prefix(marker)) {
            return DynoxideError::ValidationException(rule.to_owned());
        }
        let shape = SHAPE_MARKERS.iter().find_map(|marker| message.strip_prefix(marker));
        let missing = message.contains("missing field") || message.contains("Supplied AttributeValue");
        match shape {
            None if missing => DynoxideError::ValidationException(message),
            shape => DynoxideError::SerializationException(shape.unwrap_or(&message).to_owned()),
        }
    })
}
