//! Which cells exist, which cell owns which bucket, and how new customers get their cell: the control plane's HTTP API
//! over its own DynamoDB tables, and `ctl`, the operators' command line over that API.
//!
//! It must never be on the path of a customer's request: routers keep the last placement they were given.

pub mod api;
pub mod bootstrap;
pub mod canaries;
pub mod capacity;
pub mod cells;
pub mod conservation;
pub mod counts;
pub mod deploys;
pub mod dynamo;
pub mod error;
pub mod flows;
pub mod holds;
pub mod homes;
pub mod instances;
pub mod ledgers;
pub mod loads;
pub mod logs;
pub mod onboarding;
pub mod operations;
pub mod page;
mod panics;
pub mod placements;
pub mod registry;
pub mod restore;
pub mod scrape;
pub mod state;
pub mod states;
pub mod whereabouts;
pub mod witness;
pub mod zones;

/// Who this process is, to whoever reads its metrics, logs and traces.
pub fn identity() -> telemetry::metrics::Identity {
    let process = telemetry::catalogue::CONTROL_PLANE;
    telemetry::metrics::Identity { process, version: env!("CARGO_PKG_VERSION"), labels: vec![] }
}

#[cfg(test)]
mod tests;
