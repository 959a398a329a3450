//! A whole local fleet for one test: real processes started by `ctl up` on ports and in a directory of its own, gone
//! when the test ends, however it ends.
//!
//! It must never touch a process that it did not start, nor listen beyond the loopback interface.

pub mod alone;
pub mod books;
pub mod client;
pub mod engines;
pub mod journal;
pub mod open_transfers;
pub mod ports;
pub mod programs;
pub mod seen;
pub mod stand_in;

use std::fmt::Write as _;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use store::dynamodb::{Connection, DynamoStore, connect};
use topology::{UserId, WalletId};
use uuid::Uuid;

pub use client::{Answer, Call, Client};
pub use ports::Ports;

/// Namespace of the wallet ids of every test fleet.
pub const NAMESPACE: Uuid = Uuid::from_u128(0x6f1a_0c52_9f35_4d0e_8a3d_3c1c_6a6b_1f10);
pub const REGION: &str = "us-east-1";
/// From `ctl up` to every process ready.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// From SIGTERM to the end of `ctl up`; SIGKILL follows.
const STOP_PATIENCE: Duration = Duration::from_secs(40);
/// Attempts to find a block of ports that no process takes meanwhile.
const START_ATTEMPTS: u32 = 8;
const POLL: Duration = Duration::from_millis(10);
/// Lines shown of each process's log when a test fails.
const LOG_LINES: usize = 12;

static DIRECTORIES: AtomicU32 = AtomicU32::new(0);

/// What to start; three cells of one instance unless a test says otherwise.
#[derive(Clone)]
pub struct Shape {
    pub cells: u16,
    pub instances: u16,
    /// Environment of all processes.
    pub environment: Vec<(String, String)>,
    /// Further flags of `ctl up`.
    pub flags: Vec<&'static str>,
    /// Where instances stand, in turn.
    pub zones: Vec<&'static str>,
    /// Of each cell; empty: all alike.
    pub weights: Vec<u32>,
    /// The folder of another build's programs; `None`: those beside this test.
    pub programs: Option<PathBuf>,
}

impl Shape {
    fn ctl(&self) -> PathBuf {
        self.programs.as_ref().map_or_else(|| programs::program("ctl"), |folder| folder.join("ctl"))
    }
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            cells: 3,
            instances: 1,
            environment: vec![],
            flags: vec![],
            zones: vec![],
            weights: vec![],
            programs: None,
        }
    }
}

pub struct Fleet {
    pub shape: Shape,
    pub ports: Ports,
    data: PathBuf,
    up: Child,
    http: reqwest::Client,
}

impl Fleet {
    /// `cells` cells of `instances` processes each, ready to serve.
    pub async fn start(cells: u16, instances: u16) -> Self {
        Self::of(Shape { cells, instances, ..Shape::default() }).await
    }

    /// A fleet in which a cell writes nothing for itself, for tests that count writes.
    pub async fn quiet(cells: u16, instances: u16) -> Self {
        let environment = vec![("CELL_FEED".to_owned(), "false".to_owned())];
        Self::of(Shape { cells, instances, environment, ..Shape::default() }).await
    }

    pub async fn of(shape: Shape) -> Self {
        for _ in 0..START_ATTEMPTS {
            let ports = ports::free_block(shape.cells);
            let data = new_directory(&shape);
            let up = spawn(&data, ports, &shape);
            let mut fleet = Self { shape: shape.clone(), ports, data, up, http: client::http() };
            match fleet.until_ready().await {
                Ok(()) => return fleet,
                // Another process was faster: another block.
                Err(output) if output.contains("is in use") => {}
                Err(output) => panic!("the fleet did not start:\n{output}"),
            }
        }
        panic!("no free block of ports in {START_ATTEMPTS} attempts");
    }

    /// `ctl up` says on its standard output where everything is once all of it is ready.
    async fn until_ready(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + START_PATIENCE;
        loop {
            let output = std::fs::read_to_string(self.data.join("up.log")).unwrap_or_default();
            if output.contains("try, in another terminal") {
                return Ok(());
            }
            let ended = self.up.try_wait().expect("`ctl up` is a child of this process");
            if ended.is_some() || Instant::now() > deadline {
                return Err(std::fs::read_to_string(self.data.join("up.log")).unwrap_or(output));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// A client of the public API, through the router.
    pub fn client(&self) -> Client {
        Client::new(self.http.clone(), self.ports.router())
    }

    /// A client of the public API that goes straight to one instance of a cell; both count from 1 and 0.
    pub fn instance_client(&self, cell: u16, instance: u16) -> Client {
        Client::new(self.http.clone(), self.ports.instance(cell, instance))
    }

    pub fn internal_client(&self) -> Client {
        Client::new(self.http.clone(), self.ports.router_internal())
    }

    /// Where `ctl up` keeps everything.
    pub fn data(&self) -> &Path {
        &self.data
    }

    pub fn config(&self) -> PathBuf {
        self.data.join("cells.toml")
    }

    /// A cell's tables, read past its processes.
    pub async fn store(&self, cell: u16) -> DynamoStore {
        let connection = Connection { endpoint: Some(self.ports.cell_db(cell)), region: REGION.into(), role: None };
        DynamoStore::new(connect(&connection).await, &format!("cell-{cell}-"))
    }

    /// Users that get their wallets in `cell`, the same ones every time.
    pub async fn users_in(&self, cell: u16, count: usize) -> Vec<String> {
        let genesis = self.genesis(cell).await;
        let named = (0..).map(|number| format!("user-{number}"));
        named.filter(|user| genesis.contains(wallet_of(user).bucket())).take(count).collect()
    }

    async fn genesis(&self, cell: u16) -> store::Genesis {
        use store::Homes;
        self.store(cell).await.genesis().await.expect("the tables answer").expect("the cell owns buckets")
    }

    /// `ctl <words>` on this fleet; its JSON output.
    pub async fn ctl(&self, words: &[&str]) -> Value {
        self.try_ctl(words).await.unwrap_or_else(|said| panic!("ctl {words:?}: {said}"))
    }

    /// The same, or what it said when it failed.
    pub async fn try_ctl(&self, words: &[&str]) -> Result<Value, String> {
        self.ctl_within(60, words).await
    }

    /// The same, of something that takes its time. The last of what it printed, if that is one value a line.
    pub async fn ctl_within(&self, seconds: u64, words: &[&str]) -> Result<Value, String> {
        let mut command = tokio::process::Command::new(self.shape.ctl());
        command.arg("--data").arg(&self.data).args(["-o", "json"]).args(words).stdin(Stdio::null()).kill_on_drop(true);
        let output = within(seconds, "ctl", command.output()).await.expect("ctl can be run");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            return Err(format!("{}: {text}{}", output.status, String::from_utf8_lossy(&output.stderr)));
        }
        let values: Vec<Value> = serde_json::Deserializer::from_str(&text).into_iter().filter_map(Result::ok).collect();
        Ok(values.into_iter().next_back().unwrap_or(Value::Null))
    }

    /// SIGKILL; the supervisor starts the process again. Returns when the kernel has reaped the old one.
    pub async fn kill(&self, name: &str) {
        self.ctl(&["local", "kill", name]).await;
    }

    /// The database of a cell and everything in it is gone; a new one has empty tables.
    pub async fn destroy(&self, cell: &str) {
        self.kill_for_good(&format!("{cell}-a")).await;
        let database = format!("{cell}-db");
        self.kill_for_good(&database).await;
        for entry in std::fs::read_dir(self.data().join("db")).expect("a folder").flatten() {
            if entry.file_name().to_string_lossy().starts_with(&database) {
                std::fs::remove_file(entry.path()).expect("removed");
            }
        }
        self.restart(&database).await;
        let made =
            Command::new(programs::program("cell")).args(["tables", "create"]).args(self.tables_of(cell)).output();
        assert!(made.expect("it runs").status.success());
    }

    /// Which tables are a cell's, as its processes are given them.
    pub fn tables_of(&self, cell: &str) -> [String; 4] {
        let number: u16 = cell.trim_start_matches("cell-").parse().expect("its number");
        let endpoint = self.ports.cell_db(number);
        ["--dynamodb-endpoint".into(), endpoint, "--table-prefix".into(), format!("{cell}-")]
    }

    /// SIGKILL, and it stays down.
    pub async fn kill_for_good(&self, name: &str) {
        self.ctl(&["local", "kill", name, "--keep-down"]).await;
    }

    /// Stops a process gracefully and keeps it down.
    pub async fn stop(&self, name: &str) {
        self.ctl(&["local", "stop", name]).await;
    }

    pub async fn restart(&self, name: &str) {
        self.ctl(&["local", "start", name]).await;
    }

    /// Waits until the named processes (all, if none are named) say that they are ready.
    pub async fn until_all_ready(&self, names: &[&str]) {
        until(60, "every process is ready", async || {
            let views = self.ctl(&["local", "status"]).await;
            let views = views.as_array().expect("a list of processes");
            let wanted = |view: &&Value| names.is_empty() || names.iter().any(|name| view["name"] == *name);
            views.iter().filter(wanted).all(|view| view["ready"] == true)
        })
        .await;
    }

    pub async fn pid(&self, name: &str) -> i32 {
        let views = self.ctl(&["local", "status"]).await;
        let view = views.as_array().and_then(|views| views.iter().find(|view| view["name"] == name));
        let pid = view.and_then(|view| view["pid"].as_i64()).unwrap_or_else(|| panic!("{name} is not running"));
        i32::try_from(pid).expect("a process id")
    }

    /// Sets (`Some`) or clears the faults of a cell's database.
    pub async fn faults(&self, cell: u16, plan: Option<Value>) {
        self.faults_at(&self.ports.cell_db(cell), plan).await;
    }

    /// Writes that a database has let hang since its faults were set.
    pub async fn hung_at(&self, database: &str) -> u64 {
        let answer = self.http.get(format!("{database}/_faults")).send().await.expect("the database answers");
        let faults: Value = answer.json().await.expect("faults");
        faults["hung"].as_u64().expect("a number")
    }

    pub async fn faults_at(&self, database: &str, plan: Option<Value>) {
        let url = format!("{database}/_faults");
        let request = match plan {
            Some(plan) => self.http.put(url).json(&plan),
            None => self.http.delete(url),
        };
        let answer = request.send().await.expect("the database answers");
        assert!(answer.status().is_success(), "{}", answer.status());
    }

    /// What a cell's database counted since the last reset.
    pub async fn consumed(&self, cell: u16) -> Value {
        let answer = self.http.get(format!("{}/_consumed", self.ports.cell_db(cell))).send().await;
        answer.expect("the database answers").json().await.expect("counts")
    }

    pub async fn reset_consumed(&self, cell: u16) {
        let answer = self.http.delete(format!("{}/_consumed", self.ports.cell_db(cell))).send().await;
        answer.expect("the database answers");
    }

    /// The end of every process's log.
    fn logs(&self) -> String {
        let mut text = String::new();
        let mut logs: Vec<_> = std::fs::read_dir(self.data.join("logs")).into_iter().flatten().flatten().collect();
        logs.sort_by_key(std::fs::DirEntry::file_name);
        for path in logs.into_iter().map(|entry| entry.path()).chain([self.data.join("up.log")]) {
            let log = std::fs::read_to_string(&path).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let _ = writeln!(text, "== {}, {} lines", path.display(), lines.len());
            for line in &lines[lines.len().saturating_sub(LOG_LINES)..] {
                let _ = writeln!(text, "{line}");
            }
        }
        text
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
        stop(&mut self.up);
        if std::thread::panicking() && std::env::var_os("WALLET_KEEP_FLEET").is_some() {
            eprintln!("kept {}", self.data.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.data);
        }
    }
}

fn stop(up: &mut Child) {
    if matches!(up.try_wait(), Ok(Some(_))) {
        return;
    }
    let pid = Pid::from_raw(i32::try_from(up.id()).expect("a process id"));
    let _ = kill(pid, Signal::SIGTERM);
    let deadline = Instant::now() + STOP_PATIENCE;
    while matches!(up.try_wait(), Ok(None)) {
        if Instant::now() > deadline {
            eprintln!("`ctl up` (process {pid}) did not stop in time; killed");
            let _ = up.kill();
        }
        std::thread::sleep(POLL);
    }
}

fn new_directory(shape: &Shape) -> PathBuf {
    let number = DIRECTORIES.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("wallet-fleet-{}-{number}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).expect("the directory for temporary files can be written");
    std::fs::write(path.join("cells.toml"), config(shape)).expect("the directory was made");
    path
}

fn config(shape: &Shape) -> String {
    let mut text = format!("[deployment]\nname = \"test\"\nnamespace = \"{NAMESPACE}\"\nregion = \"{REGION}\"\n");
    // What is not asked for is not written: the last release reads this file too.
    if !shape.zones.is_empty() {
        let _ = writeln!(text, "zones = {:?}", shape.zones);
    }
    for cell in 1..=shape.cells {
        let weight = shape.weights.get(usize::from(cell) - 1).unwrap_or(&1);
        let _ = write!(text, "\n[[cells]]\nid = \"cell-{cell}\"\nweight = {weight}\n");
    }
    text
}

fn spawn(data: &Path, ports: Ports, shape: &Shape) -> Child {
    let log = std::fs::File::create(data.join("up.log")).expect("the directory was made");
    let mut command = Command::new(shape.ctl());
    command
        .arg("--data")
        .arg(data)
        .args(["--reason", "test", "--actor", "test", "up", "--config"])
        .arg(data.join("cells.toml"))
        .args(&shape.flags)
        .args(["--port", &ports.first().to_string(), "--instances", &shape.instances.to_string()])
        .envs(shape.environment.iter().cloned())
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("an open file"))
        .stderr(log);
    programs::die_with_this_thread(&mut command);
    command.spawn().expect("ctl can be run")
}

pub fn wallet_of(user: &str) -> WalletId {
    WalletId::for_user(NAMESPACE, &UserId::parse(user).expect("a sound user id"))
}

/// Fails the test if `work` takes longer than `seconds`.
pub async fn within<T>(seconds: u64, what: &str, work: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(Duration::from_secs(seconds), work).await;
    done.unwrap_or_else(|_| panic!("{what}: not done within {seconds} s"))
}

/// Waits for a condition; fails the test if it does not hold after `seconds`.
pub async fn until(seconds: u64, what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    while !holds().await {
        assert!(Instant::now() < deadline, "not so within {seconds} s: {what}");
        tokio::time::sleep(POLL).await;
    }
}

/// A number from the environment: the nightly run asks for more than the usual one.
pub fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}
