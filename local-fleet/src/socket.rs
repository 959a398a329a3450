//! How other `ctl` commands talk to the running `ctl up`: one JSON line each way over a unix socket in the fleet's
//! directory.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use command_line::{FAILED, PRECONDITION, failure};
use control_api::CellSpec;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use topology::Version;

use crate::fleet::FleetCell;
use crate::relay::Line;

const LINE_MAX_BYTES: u64 = 64 * 1024;

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Request {
    Status,
    Stop {
        name: String,
    },
    Start {
        name: String,
    },
    Kill {
        name: String,
        keep_down: bool,
    },
    /// SIGSTOP: the process is suspended, its connections stay open.
    Pause {
        name: String,
    },
    Resume {
        name: String,
    },
    /// Cuts or mends the lines to instances of a fleet with relays.
    Line {
        names: Vec<String>,
        line: Line,
    },
    AddCell(NewCell),
    /// Runs a process as this version of its program and waits until it is ready.
    Replace {
        name: String,
        version: Version,
        /// Rises from one deploy's order to the next; `None`: by hand.
        order: Option<u64>,
    },
}

/// A cell to start; its number is the fleet's to give.
#[derive(Debug, Serialize, Deserialize)]
pub struct NewCell {
    /// `number` and `instances` 0: as the fleet sees fit.
    pub cell: FleetCell,
}

/// A cell with running processes.
#[derive(Debug, Serialize, Deserialize)]
pub struct Started {
    pub cell: CellSpec,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Reply {
    Ok(serde_json::Value),
    Error(String),
}

pub fn path(data: &Path) -> PathBuf {
    data.join("ctl.sock")
}

/// Listens for requests. The fleet's lock is held, so a socket that is there already is a dead one's.
pub fn listen(data: &Path) -> Result<UnixListener> {
    let path = path(data);
    let _ = std::fs::remove_file(&path);
    UnixListener::bind(&path).with_context(|| format!("cannot listen on {}; a shorter --data may help", path.display()))
}

pub async fn ask<T: DeserializeOwned>(data: &Path, request: &Request) -> Result<T> {
    let stream = UnixStream::connect(path(data)).await.map_err(|_| {
        failure(PRECONDITION, format!("no local fleet is running in {}: start it with `ctl up`", data.display()))
    })?;
    let (read, mut write) = stream.into_split();
    let line = serde_json::to_string(request)? + "\n";
    write.write_all(line.as_bytes()).await?;
    let mut answer = String::new();
    BufReader::new(read).read_line(&mut answer).await.context("the running `ctl up` went away")?;
    match serde_json::from_str(&answer).context("the running `ctl up` went away")? {
        Reply::Ok(value) => Ok(serde_json::from_value(value)?),
        Reply::Error(message) => Err(failure(FAILED, message)),
    }
}

/// Reads one request; `None` if the other side sent none.
pub async fn receive(stream: &mut UnixStream) -> Option<Request> {
    let mut line = String::new();
    BufReader::new(stream.take(LINE_MAX_BYTES)).read_line(&mut line).await.ok()?;
    serde_json::from_str(&line).ok()
}

pub async fn reply(mut stream: UnixStream, answer: Result<serde_json::Value>) {
    let reply = match answer {
        Ok(value) => Reply::Ok(value),
        Err(error) => Reply::Error(format!("{error:#}")),
    };
    let line = serde_json::to_string(&reply).expect("plain data") + "\n";
    let _ = stream.write_all(line.as_bytes()).await;
}
