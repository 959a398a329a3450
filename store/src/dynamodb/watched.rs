//! Watches every call of the SDK: counts and times it, asks what it consumed, and makes a span of it where the work that
//! it is done for is traced. One hook in the client, so that no call can be forgotten.
//!
//! It must never change what is asked, but for asking what it costs.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use aws_sdk_dynamodb::config::interceptors::{
    BeforeSerializationInterceptorContextMut, FinalizerInterceptorContextRef,
};
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::{BoxError, ProvideErrorMetadata};
use aws_sdk_dynamodb::operation::{
    batch_get_item, batch_write_item, delete_item, get_item, put_item, query, scan, transact_get_items,
    transact_write_items, update_item,
};
use aws_sdk_dynamodb::types::{ConsumedCapacity, ReturnConsumedCapacity};
use aws_sdk_dynamodbstreams::operation::get_records::GetRecordsInput;
use aws_smithy_runtime_api::client::interceptors::context::{Error, Input, Output};
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;
use aws_smithy_types::config_bag::{Storable, StoreReplace};
use metrics::{counter, gauge, histogram};
use telemetry::trace::{self, Span};

/// Codes by which DynamoDB says that it has too much to do.
const THROTTLED: [&str; 3] = ["ThrottlingException", "ProvisionedThroughputExceededException", "RequestLimitExceeded"];
/// Codes by which it says that a condition did not hold.
const CONDITION: [&str; 2] = ["ConditionalCheckFailedException", "TransactionCanceledException"];

#[derive(Debug)]
pub struct Watched;

/// A call under way; over when it is dropped, however it ends.
#[derive(Debug)]
struct Started {
    operation: &'static str,
    at: Instant,
    span: Mutex<Option<Span>>,
}

impl Storable for Started {
    type Storer = StoreReplace<Self>;
}

impl Drop for Started {
    fn drop(&mut self) {
        gauge!("store_requests_in_flight").decrement(1.0);
    }
}

/// For each operation that tells what it consumed: its name, its module, its types, and what kind of units it takes.
macro_rules! operations {
    ($($name:literal, $module:ident, $input:ident, $output:ident, $error:ident, $is_write:literal;)*) => {
        /// Has the call tell what it consumes; its name.
        fn ask(input: &mut Input) -> &'static str {
            $(if let Some(input) = input.downcast_mut::<$module::$input>() {
                input.return_consumed_capacity.get_or_insert(ReturnConsumedCapacity::Total);
                return $name;
            })*
            if input.downcast_ref::<GetRecordsInput>().is_some() { "GetRecords" } else { "other" }
        }

        /// Counts what was consumed.
        fn consumed(output: &Output) {
            $(if let Some(output) = output.downcast_ref::<$module::$output>() {
                return count($is_write, output.consumed_capacity.units());
            })*
        }

        fn code(error: &Error) -> Option<&str> {
            $(if let Some(error) = error.downcast_ref::<$module::$error>() {
                return error.code();
            })*
            None
        }
    };
}

operations! {
    "PutItem", put_item, PutItemInput, PutItemOutput, PutItemError, true;
    "Query", query, QueryInput, QueryOutput, QueryError, false;
    "TransactWriteItems", transact_write_items, TransactWriteItemsInput, TransactWriteItemsOutput, TransactWriteItemsError, true;
    "GetItem", get_item, GetItemInput, GetItemOutput, GetItemError, false;
    "UpdateItem", update_item, UpdateItemInput, UpdateItemOutput, UpdateItemError, true;
    "DeleteItem", delete_item, DeleteItemInput, DeleteItemOutput, DeleteItemError, true;
    "BatchGetItem", batch_get_item, BatchGetItemInput, BatchGetItemOutput, BatchGetItemError, false;
    "BatchWriteItem", batch_write_item, BatchWriteItemInput, BatchWriteItemOutput, BatchWriteItemError, true;
    "TransactGetItems", transact_get_items, TransactGetItemsInput, TransactGetItemsOutput, TransactGetItemsError, false;
    "Scan", scan, ScanInput, ScanOutput, ScanError, false;
}

trait Units {
    fn units(&self) -> f64;
}

impl Units for Option<ConsumedCapacity> {
    fn units(&self) -> f64 {
        self.as_ref().and_then(ConsumedCapacity::capacity_units).unwrap_or(0.0)
    }
}

impl Units for Option<Vec<ConsumedCapacity>> {
    fn units(&self) -> f64 {
        self.iter().flatten().filter_map(ConsumedCapacity::capacity_units).sum()
    }
}

/// In halves: a read that need not be consistent takes half a unit, and a counter counts whole numbers.
fn count(is_write: bool, units: f64) {
    let halves = (units * 2.0).round() as u64;
    match is_write {
        true => counter!("store_consumed_write_half_units_total").increment(halves),
        false => counter!("store_consumed_read_half_units_total").increment(halves),
    }
}

#[dyn_dispatch_hint]
impl Intercept for Watched {
    fn name(&self) -> &'static str {
        "Watched"
    }

    fn modify_before_serialization(
        &self,
        context: &mut BeforeSerializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let operation = ask(context.input_mut());
        gauge!("store_requests_in_flight").increment(1.0);
        let mut span = trace::call(operation);
        if let Some(span) = &mut span {
            span.note("db.system.name", "aws.dynamodb");
            span.note("db.operation.name", operation);
        }
        cfg.interceptor_state().store_put(Started { operation, at: Instant::now(), span: Mutex::new(span) });
        Ok(())
    }

    fn read_after_execution(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Some(started) = cfg.load::<Started>() else { return Ok(()) };
        let outcome = match context.output_or_error() {
            Some(Ok(output)) => {
                consumed(output);
                "ok"
            }
            Some(Err(error)) => match error.as_operation_error().map(code) {
                Some(Some(code)) if THROTTLED.contains(&code) => "throttled",
                Some(Some(code)) if CONDITION.contains(&code) => "condition",
                Some(_) => "failed",
                None => "unanswered",
            },
            None => "unanswered",
        };
        counter!("store_requests_total", "operation" => started.operation, "outcome" => outcome).increment(1);
        histogram!("store_request_seconds", "operation" => started.operation).record(started.at.elapsed());
        if let Some(mut span) = started.span.lock().unwrap_or_else(PoisonError::into_inner).take() {
            span.note("outcome", outcome);
            if !matches!(outcome, "ok" | "condition") {
                span.failed();
            }
        }
        Ok(())
    }
}
