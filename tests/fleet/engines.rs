//! The engines that replace DynamoDB in tests: the local fleet's, and Amazon's own.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use store::dynamodb::Connection;
use uuid::Uuid;

use super::stand_in::{NOT_AVAILABLE, StandIn};
use super::{REGION, ports, programs};

/// An engine that runs until this is dropped. Its data goes with it.
pub struct Engine {
    port: u16,
    _process: StandIn,
    /// After the process, so that it goes after it.
    _file: Option<Scratch>,
}

/// A database file, gone at the end of the test, with what is kept beside it.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        for ending in ["", "-wal", "-shm", ".lock"] {
            let _ = std::fs::remove_file(format!("{}{ending}", self.0.display()));
        }
    }
}

impl Engine {
    pub async fn local() -> Self {
        let port = ports::free_port();
        let file = Scratch(std::env::temp_dir().join(format!("wallet-engine-{}.sqlite", Uuid::new_v4())));
        let mut command = Command::new(programs::program("local-dynamodb"));
        command.args(["--listen", &format!("127.0.0.1:{port}"), "--data"]).arg(&file.0).stderr(Stdio::null());
        let mut process = StandIn::start(command);
        process.listens(port).await.expect("it starts");
        Self { port, _process: process, _file: Some(file) }
    }

    /// DynamoDB Local. `None`, and it is said, where it cannot be had.
    pub async fn amazons() -> Option<Self> {
        let port = ports::free_port();
        let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/fetch/dynamodb-local");
        let mut command = Command::new(script);
        command.arg(port.to_string()).stdout(Stdio::null());
        let mut process = StandIn::start(command);
        match process.listens(port).await {
            Err(Some(NOT_AVAILABLE)) => {
                eprintln!("SKIPPED: Amazon's DynamoDB Local is not available here");
                return None;
            }
            ended => ended.expect("it starts"),
        }
        Some(Self { port, _process: process, _file: None })
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn connection(&self) -> Connection {
        Connection { endpoint: Some(self.url()), region: REGION.into(), role: None }
    }
}
