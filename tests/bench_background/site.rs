//! One cell over a database of its own that syncs every write, and its processes, which are started one by one.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use archive::Archive;
use ledger::checkpoint::SigningKey;
use local_dynamodb::engine::Engine;
use serde_json::Value;
use store::dynamodb::{Connection, DynamoStore, connect, create_tables};
use store::{Genesis, Homes};
use topology::{Bucket, CellId};
use uuid::Uuid;

use crate::fleet::stand_in::StandIn;
use crate::fleet::{Call, Client, NAMESPACE, REGION, client, ports, programs, until};

pub const CELL: &str = "cell-1";
pub const PREFIX: &str = "bench-";
pub const CHECKPOINT_SECONDS: u64 = 10;
/// The database counts its items when it is asked for the first time.
const START_S: u64 = 180;

/// Everything is in a folder, which ends with this.
pub struct Site {
    pub key: SigningKey,
    folder: Folder,
    database: Option<(StandIn, u16)>,
}

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What a process of the cell does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Duty {
    /// Serves, and does nothing by itself.
    Serve,
    /// Archives and follows the change stream.
    Archive,
    /// And signs checkpoints.
    All,
}

/// Ends with this.
pub struct Instance {
    pub base: String,
    http: reqwest::Client,
    _process: StandIn,
}

impl Site {
    /// Empty tables of a cell that owns all buckets.
    pub async fn new() -> Self {
        let folder = Folder(std::env::temp_dir().join(format!("wallet-background-{}", Uuid::new_v4())));
        std::fs::create_dir_all(&folder.0).expect("the directory for temporary files can be written");
        let pem = SigningKey::generate().expect("a key is made");
        std::fs::write(folder.0.join("key.pem"), &pem).expect("it is written");
        let mut site = Self { key: SigningKey::from_pem(&pem).expect("sound"), folder, database: None };
        site.start_database().await;
        create_tables(&connect(&site.connection()).await, PREFIX).await.expect("created");
        site.store().await.put_genesis(&Genesis::of(Bucket::all())).await.expect("put");
        site
    }

    pub fn cell() -> CellId {
        CellId::parse(CELL).expect("sound")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.0.join(name)
    }

    async fn start_database(&mut self) {
        let port = ports::free_port();
        let mut command = Command::new(programs::program("local-dynamodb"));
        command.args(["--listen", &format!("127.0.0.1:{port}"), "--data"]).arg(self.path("db")).stderr(Stdio::null());
        let mut process = StandIn::start(command);
        process.listens(port).await.expect("it starts");
        self.database = Some((process, port));
    }

    /// Opens the tables past the database's process, which is stopped meanwhile.
    pub async fn beside<T>(&mut self, work: impl FnOnce(&Engine) -> T) -> T {
        self.database = None;
        let engine = Engine::open(&self.path("db")).expect("it is not in use");
        let done = work(&engine);
        drop(engine);
        self.start_database().await;
        done
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.database.as_ref().expect("it runs").1)
    }

    fn connection(&self) -> Connection {
        Connection { endpoint: Some(self.url()), region: REGION.into(), role: None }
    }

    pub async fn store(&self) -> DynamoStore {
        DynamoStore::new(connect(&self.connection()).await, PREFIX)
    }

    fn archive_url(&self) -> String {
        format!("file://{}", self.path("archive").display())
    }

    pub fn archive(&self) -> Archive {
        Archive::open(&self.archive_url(), Self::cell()).expect("a folder")
    }

    /// A process that is ready.
    pub async fn start(&self, duty: Duty) -> Instance {
        let listen = format!("127.0.0.1:{}", ports::free_port());
        let mut command = Command::new(programs::program("cell"));
        command
            .args(["serve", "--id", CELL, "--listen", &listen, "--namespace", &NAMESPACE.to_string()])
            .args(["--dynamodb-endpoint", &self.url(), "--region", REGION, "--table-prefix", PREFIX])
            .args(["--integrity-seconds", "0", "--feed", if duty == Duty::Serve { "false" } else { "true" }])
            .args(["--checkpoint-seconds", &CHECKPOINT_SECONDS.to_string()])
            .stdout(Stdio::null())
            .stderr(log(&self.path("cell.log")));
        if duty != Duty::Serve {
            command.args(["--archive", &self.archive_url()]);
        }
        if duty == Duty::All {
            command.arg("--checkpoint-key").arg(self.path("key.pem"));
        }
        let (process, base) = (StandIn::start(command), format!("http://{listen}"));
        let http = reqwest::Client::builder().no_proxy().build().expect("a client without TLS");
        let instance = Instance { base, http, _process: process };
        let (client, ready) = (instance.client(), Call::get("/readyz"));
        until(START_S, "the process is ready", async || {
            client.try_send(&ready).await.is_ok_and(|answer| answer.status == 200)
        })
        .await;
        instance
    }

    /// Adds to each call of the database.
    pub async fn slow_down(&self, latency_ms: u64) {
        let plan = serde_json::json!({ "latency_ms": latency_ms });
        let put = client::http().put(format!("{}/_faults", self.url())).json(&plan).send().await;
        assert!(put.expect("it answers").status().is_success());
    }

    /// What the database has counted since the last time, and begins again.
    pub async fn consumed(&self) -> Value {
        let (http, url) = (client::http(), format!("{}/_consumed", self.url()));
        let counted = http.get(&url).send().await.expect("it answers").json().await.expect("counts");
        http.delete(&url).send().await.expect("it answers");
        counted
    }
}

fn log(path: &Path) -> Stdio {
    std::fs::File::options().create(true).append(true).open(path).map_or_else(|_| Stdio::null(), Stdio::from)
}

impl Instance {
    pub fn client(&self) -> Client {
        Client::new(client::http(), self.base.clone())
    }

    /// An answer that is read as it comes, without an end.
    pub async fn follow(&self, path: &str) -> reqwest::Response {
        self.http.get(format!("{}{path}", self.base)).send().await.expect("it answers")
    }

    pub async fn metrics(&self) -> String {
        self.http.get(format!("{}/metrics", self.base)).send().await.expect("it answers").text().await.expect("a text")
    }

    /// The sum of a metric over its labels; `None`: it is not there yet.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        metric(&self.metrics().await, name)
    }
}

pub fn metric(page: &str, name: &str) -> Option<f64> {
    let lines = page.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).reduce(|sum, value| sum + value)
}
