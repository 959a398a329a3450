//! Every drill at small size, as an operator runs it: a fleet of its own, broken under load, healed, and its books read.

use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;

use crate::fleet::{ports, programs, within};

/// From the start of a drill's fleet to the end of its last check.
const DRILL_MAX_S: u64 = 120;
/// A drill's fleet has at most four cells.
const CELLS: u16 = 4;
const REGION_CELLS: u16 = 2;

async fn passes(name: &str, port: u16) {
    let out = std::env::temp_dir().join(format!("wallet-drill-{}-{name}", std::process::id()));
    let _clean = Removed(out.clone());
    let port = port.to_string();
    let mut command = std::process::Command::new(programs::program("ctl"));
    command.args(["drill", "run", name, "--small", "--seed", "1", "--port", &port, "-o", "json", "--out"]).arg(&out);
    command.stdin(Stdio::null());
    programs::die_with_this_thread(&mut command);
    let mut command = tokio::process::Command::from(command);
    let output = within(DRILL_MAX_S, name, command.kill_on_drop(true).output()).await.expect("ctl can be run");
    let report = std::fs::read_to_string(out.join("report.md")).unwrap_or_default();
    assert!(output.status.success(), "{}\n{report}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    let json: Value = serde_json::from_slice(&output.stdout).expect("a report");
    assert!(json.is_object() && report.contains("Blast radius"), "{report}");
    assert!(out.join("latency.svg").is_file() && out.join("report.json").is_file());
    let line = report.lines().find(|line| line.contains("Blast radius")).unwrap_or_default();
    eprintln!("{name}: {line}");
}

struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

macro_rules! drills {
    ($ports:expr, $($test:ident $name:literal)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            passes($name, $ports.first()).await;
        }
    )*};
}

drills! {
    ports::free_block_with_relays(CELLS),
    kill_a_cell "kill-cell"
    evacuate_a_dead_cell "evacuate-dead"
    wake_a_zombie "zombie"
    restore_a_lost_cell "restore-under-load"
}

drills! {
    ports::free_block_with_regions(REGION_CELLS),
    lose_a_region "lose-a-region"
}

/// With `WALLET_DRILLS=all`: other suites do the same to a fleet in less time, without an operator's commands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_others() {
    if std::env::var_os("WALLET_DRILLS").is_none() {
        return;
    }
    for name in ["kill-instance", "evacuate-live", "control-plane-away", "slow-database", "lost-answers", "network-cut"]
    {
        passes(name, ports::free_block_with_relays(CELLS).first()).await;
    }
    passes("region-cut-off", ports::free_block_with_regions(REGION_CELLS).first()).await;
}
