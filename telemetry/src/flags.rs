//! Flags that all binaries have in common.

use clap::{Args, ValueEnum};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// Logs and traces.
#[derive(Debug, Clone, Args)]
pub struct TelemetryFlags {
    /// What is logged at first: a level, or `level,target=level,…`; can be changed while the process runs
    #[arg(long, global = true, env = "WALLET_LOG", default_value = "info")]
    pub log: String,
    /// Base URL of an OTLP collector (HTTP, protobuf), such as http://127.0.0.1:4318; without it nothing is traced
    #[arg(long, global = true, env = "WALLET_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<String>,
    /// Of the requests that say nothing about it, which part is traced: 0 to 1. Others are as their traceparent says
    #[arg(long, global = true, env = "WALLET_TRACE_RATIO", default_value_t = 0.0)]
    pub trace_ratio: f64,
}
