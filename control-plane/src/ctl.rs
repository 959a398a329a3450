//! `ctl`: the operators' command line over the control plane's HTTP API, and the local fleet (`ctl up`).
//!
//! Data goes to stdout, everything else to stderr. It must never change a table itself: what a command does, the API
//! does.

pub mod api;
pub mod builds;
mod child;
mod commands;
pub mod conservation;
mod deploys;
mod drill;
pub(crate) mod flags;
pub mod fleet;
mod keys;
mod ledger;
pub mod load;
mod local;
mod log;
mod observe;
pub mod operations;
pub mod ports;
pub mod process;
mod recovery;
pub mod relay;
mod running;
pub mod secrets;
pub mod socket;
pub mod supervisor;
mod tables;
mod token;
mod up;
mod zones;

use std::process::ExitCode;

use clap::Parser;

/// Exit codes: 0 done, 1 failed, 2 usage, 3 a dry run would change something, 4 a precondition does not hold, 5 still
/// running after the wait, 6 what was verified differs.
pub const FAILED: u8 = 1;
pub const USAGE: u8 = 2;
pub const CHANGES: u8 = 3;
pub const PRECONDITION: u8 = 4;
pub const STILL_RUNNING: u8 = 5;
pub const MISMATCH: u8 = 6;

/// An error with the exit code it ends in; what is not one of these ends in [`FAILED`].
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    pub code: u8,
    pub message: String,
}

pub fn failure(code: u8, message: impl Into<String>) -> anyhow::Error {
    Failure { code, message: message.into() }.into()
}

/// An exit code for what has been said already.
fn silent(code: u8) -> anyhow::Error {
    failure(code, "")
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let flags = flags::Flags::parse();
    // One thread: a child process is killed by the kernel when the thread that started it ends.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(commands::run(flags)));
    ExitCode::from(done.map_or_else(|error| told(&error), |()| 0))
}

/// Says what is wrong, unless that has been said, and answers the exit code.
fn told(error: &anyhow::Error) -> u8 {
    match told_once(error) {
        told if told.is_empty() => {}
        told => eprintln!("error: {told}"),
    }
    error.downcast_ref::<Failure>().map_or(FAILED, |failure| failure.code)
}

/// One command line, as a process would run it; its exit code.
#[cfg(test)]
pub async fn run_line(line: Vec<String>) -> u8 {
    let flags = flags::Flags::try_parse_from(line).expect("sound flags");
    commands::run(flags).await.map_or_else(|error| told(&error), |()| 0)
}

/// The error and its causes, without those that repeat what was said.
fn told_once(error: &anyhow::Error) -> String {
    let mut told = String::new();
    for cause in error.chain().map(|cause| cause.to_string().trim_end().to_owned()) {
        if !told.contains(&cause) {
            told = if told.is_empty() { cause } else { format!("{told}: {cause}") };
        }
    }
    told
}
