//! `ctl`: the operators' command line over the control plane's HTTP API, the local fleet (`ctl up`), and what reads an
//! archive (`ctl archive`).
//!
//! Data goes to stdout, everything else to stderr. It must never change a table itself: what a command does, the API
//! does.

mod api;
mod archive;
mod cells;
mod commands;
mod conservation;
mod deploys;
mod drill;
pub mod flags;
mod ledger;
mod load;
mod local;
mod log;
pub mod operations;
mod output;
mod recovery;
mod regions;
mod tables;
mod token;
mod zones;

use std::process::ExitCode;

use clap::Parser;
use command_line::{FAILED, Failure};

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let flags = flags::Flags::parse();
    // One thread: a child process is killed by the kernel when the thread that started it ends.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(commands::run(flags)));
    ExitCode::from(done.map_or_else(|error| report(&error), |()| 0))
}

/// Says what is wrong, unless that has been said, and answers the exit code.
fn report(error: &anyhow::Error) -> u8 {
    match without_repetition(error) {
        text if text.is_empty() => {}
        text => eprintln!("error: {text}"),
    }
    error.downcast_ref::<Failure>().map_or(FAILED, |failure| failure.code)
}

/// Runs one command line as a process would, for tests; returns its exit code.
pub async fn run_line(line: Vec<String>) -> u8 {
    let flags = flags::Flags::try_parse_from(line).expect("sound flags");
    commands::run(flags).await.map_or_else(|error| report(&error), |()| 0)
}

/// The error and its causes, without those that repeat what was said.
fn without_repetition(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(|cause| cause.to_string().trim_end().to_owned()) {
        if !text.contains(&cause) {
            text = if text.is_empty() { cause } else { format!("{text}: {cause}") };
        }
    }
    text
}
