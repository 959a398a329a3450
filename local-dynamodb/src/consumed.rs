//! Counts calls and consumed capacity per operation, so that a test can say what a write costs.
//!
//! It must never be on the path of a decision: these are sums that someone may read.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::Serialize;

/// Capacity is a multiple of half a unit; sums are kept in tenths to stay exact.
const TENTHS: f64 = 10.0;

/// Every operation that is served; the order is that of the counters.
pub const OPERATIONS: &[&str] = &[
    "PutItem",
    "GetItem",
    "UpdateItem",
    "DeleteItem",
    "Query",
    "Scan",
    "TransactWriteItems",
    "TransactGetItems",
    "BatchGetItem",
    "BatchWriteItem",
    "CreateTable",
    "DescribeTable",
    "DeleteTable",
    "ListTables",
    "UpdateTable",
    "UpdateTimeToLive",
    "DescribeTimeToLive",
    "ListStreams",
    "DescribeStream",
    "GetShardIterator",
    "GetRecords",
];

/// The operation that a request's target names: those of streams are of another API of DynamoDB's.
pub fn operation_of(target: &str) -> Option<usize> {
    let (api, name) = target.split_once('.')?;
    let is_of_streams = matches!(name, "ListStreams" | "DescribeStream" | "GetShardIterator" | "GetRecords");
    let expected = if is_of_streams { "DynamoDBStreams_20120810" } else { "DynamoDB_20120810" };
    operation_index(name).filter(|_| api == expected)
}

/// Position in [`OPERATIONS`].
pub fn operation_index(name: &str) -> Option<usize> {
    OPERATIONS.iter().position(|&known| known == name)
}

fn writes(name: &str) -> bool {
    matches!(name, "PutItem" | "UpdateItem" | "DeleteItem" | "TransactWriteItems" | "BatchWriteItem")
}

#[derive(Default)]
struct Counter {
    calls: AtomicU64,
    errors: AtomicU64,
    tenths: AtomicU64,
}

#[derive(Default)]
pub struct Consumed {
    counters: [Counter; OPERATIONS.len()],
}

/// Body of `GET /_consumed`.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Totals {
    pub write_units: f64,
    pub read_units: f64,
    pub calls: u64,
    /// Only operations that were called.
    pub operations: BTreeMap<&'static str, OperationTotals>,
}

#[derive(Debug, Default, PartialEq, Serialize)]
pub struct OperationTotals {
    pub calls: u64,
    /// Refused calls, a failed condition included. DynamoDB bills a failed condition; the engine reports no units for it.
    pub errors: u64,
    pub units: f64,
}

impl Consumed {
    pub fn record(&self, operation: usize, units: Option<f64>) {
        let counter = &self.counters[operation];
        counter.calls.fetch_add(1, Relaxed);
        match units {
            Some(units) => counter.tenths.fetch_add((units * TENTHS).round() as u64, Relaxed),
            None => counter.errors.fetch_add(1, Relaxed),
        };
    }

    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for (&name, counter) in OPERATIONS.iter().zip(&self.counters) {
            let calls = counter.calls.load(Relaxed);
            if calls == 0 {
                continue;
            }
            let units = counter.tenths.load(Relaxed) as f64 / TENTHS;
            totals.calls += calls;
            *(if writes(name) { &mut totals.write_units } else { &mut totals.read_units }) += units;
            totals.operations.insert(name, OperationTotals { calls, errors: counter.errors.load(Relaxed), units });
        }
        totals
    }

    pub fn reset(&self) {
        for counter in &self.counters {
            for number in [&counter.calls, &counter.errors, &counter.tenths] {
                number.store(0, Relaxed);
            }
        }
    }
}
