//! A fleet of the drill's own: a child process `ctl up` in a directory of its own, gone when the drill ends, however
//! it ends. The kernel kills `ctl up` with this process, and the fleet with `ctl up`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use command_line::{PRECONDITION, failure};
use local_fleet::child;
use local_fleet::fleet::{Fleet, FleetCell};
use local_fleet::regions::Side;
use local_fleet::socket::{self, Request};
use local_fleet::supervisor::View;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use store::dynamodb::{Connection, DynamoStore, connect};
use tokio::process::Child;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use crate::table::{Network, OTHER_REGION};

/// Namespace of the wallet ids of a drill's fleet.
pub const NAMESPACE: Uuid = Uuid::from_u128(0x6f1a_0c52_9f35_4d0e_8a3d_3c1c_6a6b_1f10);
const REGION: &str = "us-east-1";
/// From `ctl up` to every process ready.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// From SIGTERM to the end of `ctl up`; SIGKILL follows. Longer than it gives its own processes.
const STOP_PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);
/// One command of an operator, such as a restore of the drill's small cell.
const CTL_PATIENCE: Duration = Duration::from_secs(60);
/// What `ctl up` says, once everything is ready.
const READY: &str = "try, in another terminal";

pub struct DrillFleet {
    up: Up,
    pub fleet: Fleet,
}

/// The process `ctl up` and its directory.
struct Up {
    process: Child,
    data: PathBuf,
    /// Leave the directory behind, to be looked at.
    keep: bool,
}

#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub port: u16,
    pub cells: u16,
    pub instances: u16,
    pub network: Network,
}

impl DrillFleet {
    /// Starts the fleet in `data`, which is created, and waits until it serves.
    pub async fn start(data: &Path, shape: Shape, keep: bool) -> Result<Self> {
        std::fs::create_dir_all(data).with_context(|| format!("cannot create {}", data.display()))?;
        // Beside the fleet's directory, which `--fresh` empties.
        let (fleet_data, log) = (data.join("fleet"), data.join("up.log"));
        let config = data.join("cells.toml");
        std::fs::write(&config, cells_toml(shape.cells))?;
        let program = std::env::current_exe().context("cannot find out where this program is")?;
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let (port, instances) = (shape.port.to_string(), shape.instances.to_string());
        let mut args = vec!["--data".to_owned(), text(&fleet_data), "--reason".into(), "drill".into(), "up".into()];
        args.extend(["--config".to_owned(), text(&config), "--port".into(), port]);
        args.extend(["--instances".to_owned(), instances, "--fresh".into()]);
        let network: &[&str] = match shape.network {
            Network::Plain => &[],
            Network::Relays => &["--relays"],
            Network::Regions => &["--regions", "2"],
        };
        args.extend(network.iter().map(|word| (*word).to_owned()));
        let process = child::spawn(&program, &args, &[], &log).context("cannot start `ctl up`")?;
        let mut up = Up { process, data: data.to_owned(), keep };
        up.until_ready(&log).await?;
        let fleet = Fleet::load(&fleet_data)?.context("`ctl up` has written no fleet.json")?;
        Ok(Self { up, fleet })
    }

    fn fleet_data(&self) -> PathBuf {
        self.up.data.join("fleet")
    }

    /// The one that clients use: of two Regions, that of the one that is not lost.
    pub fn router(&self) -> String {
        match self.fleet.regions {
            Some(_) => self.router_of(OTHER_REGION),
            None => format!("http://{}", self.fleet.ports().router()),
        }
    }

    pub fn router_of(&self, region: &str) -> String {
        format!("http://{}", self.fleet.router_ports(region).router())
    }

    pub fn control_plane(&self) -> String {
        format!("http://{}", self.fleet.ports().control_plane())
    }

    pub fn cell_db(&self, cell: &FleetCell) -> String {
        format!("http://{}", self.fleet.ports().cell_db(cell.number))
    }

    pub fn cell(&self, id: &str) -> Result<&FleetCell> {
        let found = self.fleet.cells.iter().find(|cell| cell.id.as_str() == id);
        found.with_context(|| format!("the fleet has no {id}: it needs more --cells"))
    }

    /// Where the drill keeps an export of a cell.
    pub fn export(&self) -> String {
        self.up.data.join("export.jsonl").to_string_lossy().into_owned()
    }

    /// Runs `ctl` against this fleet, as an operator would.
    pub async fn ctl(&self, words: &[&str]) -> Result<()> {
        let program = std::env::current_exe().context("cannot find out where this program is")?;
        let mut command = tokio::process::Command::new(program);
        command.args(["--server", &self.control_plane(), "--reason", "drill"]).args(words);
        let output =
            timeout(CTL_PATIENCE, command.kill_on_drop(true).output()).await.context("it takes too long")??;
        match output.status.success() {
            true => Ok(()),
            false => bail!("ctl {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim()),
        }
    }

    /// What a database has stored is gone. It must have been killed.
    pub fn remove_database(&self, name: &str) -> Result<()> {
        let folder = self.fleet_data().join("db");
        for file in std::fs::read_dir(&folder)?.flatten() {
            if file.file_name().to_string_lossy().starts_with(&format!("{name}.sqlite")) {
                std::fs::remove_file(file.path())?;
            }
        }
        Ok(())
    }

    /// Names of a cell's processes.
    pub fn instances(&self, id: &str) -> Result<Vec<String>> {
        Ok(self.fleet.instances_of(self.cell(id)?).map(|(name, _)| name).collect())
    }

    /// A cell's tables, read past its processes.
    pub async fn store(&self, cell: &FleetCell, side: Side) -> DynamoStore {
        let endpoint = format!("http://{}", self.fleet.ports_of(side).cell_db(cell.number));
        let connection = Connection { endpoint: Some(endpoint), region: REGION.into(), role: None };
        DynamoStore::new(connect(&connection).await, &format!("{}-", cell.id))
    }

    pub async fn order(&self, request: Request) -> Result<Vec<View>> {
        socket::ask(&self.fleet_data(), &request).await
    }

    /// Cuts or mends lines: answered with nothing.
    pub async fn line(&self, request: Request) -> Result<()> {
        socket::ask(&self.fleet_data(), &request).await
    }

    /// Stops everything and removes what it stored, unless it is to be kept.
    pub async fn stop(mut self) -> Result<()> {
        let up = &mut self.up.process;
        terminate(up);
        if timeout(STOP_PATIENCE, up.wait()).await.is_err() {
            eprintln!("`ctl up` did not stop in time; killed");
            up.kill().await?;
        }
        Ok(())
    }
}

impl Up {
    async fn until_ready(&mut self, log: &Path) -> Result<()> {
        let deadline = Instant::now() + START_PATIENCE;
        loop {
            let said = std::fs::read_to_string(log).unwrap_or_default();
            if said.contains(READY) {
                return Ok(());
            }
            if let Some(status) = self.process.try_wait()? {
                // What it said last may have come after it was read.
                let said = std::fs::read_to_string(log).unwrap_or(said);
                let why = said.lines().last().unwrap_or("nothing was said").trim_start_matches("error: ").to_owned();
                return match status.code() {
                    Some(code) if code == i32::from(PRECONDITION) => Err(failure(PRECONDITION, why)),
                    _ => bail!("the drill's fleet did not start:\n{said}"),
                };
            }
            if Instant::now() > deadline {
                bail!("the drill's fleet is not ready after {} s:\n{said}", START_PATIENCE.as_secs());
            }
            sleep(POLL).await;
        }
    }
}

impl Drop for Up {
    /// On the way out of an error or a panic there is no time for grace: with `ctl up` the kernel kills the rest.
    fn drop(&mut self) {
        if matches!(self.process.try_wait(), Ok(None)) {
            terminate(&self.process);
            let _ = self.process.start_kill();
        }
        if self.keep {
            eprintln!("kept {}", self.data.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.data);
        }
    }
}

fn terminate(up: &Child) {
    if let Some(pid) = up.id().and_then(|pid| i32::try_from(pid).ok()) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
}

fn cells_toml(cells: u16) -> String {
    let mut text = format!("[deployment]\nname = \"drill\"\nnamespace = \"{NAMESPACE}\"\nregion = \"{REGION}\"\n");
    for cell in 1..=cells {
        let _ = write!(text, "\n[[cells]]\nid = \"cell-{cell}\"\n");
    }
    text
}
