//! One process beside a fleet, of the fleet's first cell, its control plane or its router: started by the test itself, which
//! decides about its limits and its log, and sees how it ends.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::ports::{Ports, free_block};
use super::programs::{die_with_this_thread, program};
use super::{Fleet, NAMESPACE, until};

static NUMBER: AtomicU32 = AtomicU32::new(0);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Router,
    Cell,
    ControlPlane,
}

pub const KINDS: [Kind; 3] = [Kind::Router, Kind::Cell, Kind::ControlPlane];

pub struct Alone {
    pub child: Child,
    pub kind: Kind,
    ports: Ports,
    data: PathBuf,
}

/// How a process is started; `first` is what a shell does before it becomes the process.
pub struct Start {
    pub first: &'static str,
    pub log: &'static str,
    pub stderr: Stdio,
    /// Of a router: what it keeps its placement in, and where it asks for a newer one.
    pub data: Option<PathBuf>,
    pub control_plane: Option<String>,
}

impl Default for Start {
    fn default() -> Self {
        Self { first: ":", log: "info", stderr: Stdio::null(), data: None, control_plane: None }
    }
}

impl Alone {
    pub fn start(fleet: &Fleet, kind: Kind, start: Start) -> Self {
        let ports = free_block(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let own = || std::env::temp_dir().join(format!("wallet-alone-{}-{number}", std::process::id()));
        let data = start.data.unwrap_or_else(own);
        let control_plane = start.control_plane.unwrap_or_else(|| fleet.ports.control_plane());
        let mut command = Command::new("sh");
        let name = ["router", "cell", "control-plane"][kind as usize];
        command.args(["-c", &format!("{} && exec \"$@\"", start.first), "sh"]).arg(program(name));
        match kind {
            Kind::Router => {
                command.args(["--listen", &address(ports.router()), "--internal-listen"]);
                command.args([&address(ports.router_internal()), "--admin-listen", &address(ports.router_admin())]);
                command.args(["--namespace", &NAMESPACE.to_string(), "--control-plane", &control_plane]);
                command.arg("--data-dir").arg(&data);
            }
            Kind::Cell => {
                let archive = format!("file://{}", fleet.data().join("archive").display());
                command.args(["serve", "--id", "cell-1", "--instance", "cell-1-x", "--table-prefix", "cell-1-"]);
                command.args(["--listen", &address(ports.router()), "--router", &fleet.ports.router_internal()]);
                command.args(["--dynamodb-endpoint", &fleet.ports.cell_db(1), "--config"]).arg(fleet.config());
                command.env("CELL_ARCHIVE", archive);
            }
            Kind::ControlPlane => {
                command.args(["--listen", &address(ports.router()), "--config"]).arg(fleet.config());
                command.args(["--dynamodb-endpoint", &fleet.ports.control_plane_db()]);
            }
        }
        command.args(["--log-format", "json", "--log", start.log]).stdin(Stdio::null()).stdout(Stdio::null());
        die_with_this_thread(&mut command);
        let child = command.stderr(start.stderr).spawn().expect("a shell");
        Self { child, kind, ports, data }
    }

    /// Base URL of what it serves.
    pub fn url(&self) -> String {
        self.ports.router()
    }

    /// Base URL of `/livez` and `/metrics`.
    pub fn admin(&self) -> String {
        if self.kind == Kind::Router { self.ports.router_admin() } else { self.ports.router() }
    }

    pub async fn until_ready(&mut self) {
        let (url, http) = (format!("{}/readyz", self.admin()), super::client::http());
        until(30, "it is ready", async || {
            assert!(self.child.try_wait().expect("a child").is_none(), "{:?} ended", self.kind);
            http.get(&url).send().await.is_ok_and(|answer| answer.status() == 200)
        })
        .await;
    }

    /// SIGTERM; its exit code (or minus the signal that ended it), and how long that took.
    pub async fn stop(&mut self) -> (i32, Duration) {
        let began = Instant::now();
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM).expect("it runs");
        let mut ended = None;
        until(60, "it ends", async || {
            ended = self.child.try_wait().expect("a child");
            ended.is_some()
        })
        .await;
        let status = ended.expect("it was waited for");
        let code = status.code().unwrap_or_else(|| -status.signal().expect("it was ended"));
        (code, began.elapsed())
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

/// `host:port` of a URL.
pub fn address(url: String) -> String {
    url.trim_start_matches("http://").to_owned()
}

/// Of a running process: `prlimit LIMIT`, such as `--nofile=10:`.
pub fn limit(pid: i32, limit: &str) {
    let done = Command::new("prlimit").args(["--pid", &pid.to_string(), limit]).status().expect("prlimit runs");
    assert!(done.success(), "prlimit {limit}");
}
