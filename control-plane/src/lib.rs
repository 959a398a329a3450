//! Which cells exist, which cell owns which bucket, and how new customers get their cell: the control plane's HTTP API
//! over its own DynamoDB tables.
//!
//! It must never be on the path of a customer's request: routers keep the last placement they were given.

pub mod api;
pub mod audit;
mod because;
pub mod cells;
mod clock;
pub mod customers;
pub mod deploys;
mod dynamo;
pub mod error;
pub mod jobs;
pub mod lifecycle;
pub mod operations;
pub mod packing;
pub mod page;
pub mod placement;
pub mod regions;
pub mod restore;
pub mod service;
pub mod zones;

pub use dynamo::Connection;

/// What this process calls itself in its metrics, logs and traces.
pub fn identity(build: &topology::Version) -> telemetry::metrics::Identity {
    let process = telemetry::catalogue::CONTROL_PLANE;
    telemetry::metrics::Identity { process, version: build.to_string(), labels: vec![] }
}

#[cfg(test)]
mod tests;
