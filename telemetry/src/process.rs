//! What the process is and takes: version, start, memory, processor time, files, threads, as /proc tells. Written as text
//! for each look at the page: a counter of the recorder counts whole numbers, and processor time is none.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::signal::unix::{SignalKind, signal};

use crate::metrics::Identity;

/// "File size limit exceeded", on every architecture of Linux but MIPS.
const SIGXFSZ: i32 = 25;
/// Clock ticks a second in /proc; fixed in the kernel's interface for every architecture that this runs on.
const TICKS_PER_SECOND: f64 = 100.0;

#[derive(Clone)]
pub struct Process {
    build_info: String,
    labels: String,
    started: f64,
}

#[derive(Debug, Default, PartialEq)]
struct Taken {
    resident_bytes: Option<f64>,
    threads: Option<f64>,
    cpu_seconds: Option<f64>,
    open_fds: Option<f64>,
    max_fds: Option<f64>,
}

/// Beyond the limit of a file's size, which a log may reach, a write fails from now on, as on a full disk; by itself the
/// system ends the process. Called within the runtime.
pub fn outlive_full_files() -> std::io::Result<()> {
    // Its handler stays for as long as the process runs.
    signal(SignalKind::from_raw(SIGXFSZ)).map(drop)
}

/// Whether a metric is written here, and not by the recorder.
pub fn is_own(name: &str) -> bool {
    name.starts_with("process_") || name.ends_with("_build_info")
}

impl Process {
    /// One that starts now.
    #[allow(clippy::disallowed_methods)]
    pub fn new(identity: &Identity) -> Self {
        let pairs: Vec<String> = identity.labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        let labels = if pairs.is_empty() { String::new() } else { format!("{{{}}}", pairs.join(",")) };
        let with_version = [pairs, vec![format!("version={:?}", identity.version)]].concat().join(",");
        let name = identity.process.replace('-', "_");
        let build_info = format!(
            "# HELP {name}_build_info Always 1; the version is a label.\n# TYPE {name}_build_info gauge\n\
             {name}_build_info{{{with_version}}} 1\n\n"
        );
        let started = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        Self { build_info, labels, started }
    }

    pub fn write(&self, into: &mut String) {
        let taken = Taken::now();
        into.push_str(&self.build_info);
        let mut line = |name: &str, kind: &str, help: &str, value: Option<f64>| {
            let Some(value) = value else { return };
            let labels = &self.labels;
            write!(into, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name}{labels} {value}\n\n")
                .expect("a string takes everything");
        };
        let memory = "Memory that is in RAM.";
        line("process_start_time_seconds", "gauge", "When the process started.", Some(self.started));
        line("process_cpu_seconds_total", "counter", "Processor time, user and system.", taken.cpu_seconds);
        line("process_resident_memory_bytes", "gauge", memory, taken.resident_bytes);
        line("process_open_fds", "gauge", "Open files and sockets.", taken.open_fds);
        line("process_max_fds", "gauge", "How many there may be.", taken.max_fds);
        line("process_threads", "gauge", "Threads.", taken.threads);
    }
}

impl Taken {
    fn now() -> Self {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        let open_fds = std::fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as f64);
        Self { open_fds, ..Self::of(&read("status"), &read("stat"), &read("limits")) }
    }

    fn of(status: &str, stat: &str, limits: &str) -> Self {
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.split_whitespace().next()?.parse::<f64>().ok()
        };
        // The name of the program is in brackets and may hold anything.
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks = |index: usize| after_name.split_whitespace().nth(index)?.parse::<f64>().ok();
        let max = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
        Self {
            resident_bytes: field("VmRSS").map(|kilobytes| kilobytes * 1024.0),
            threads: field("Threads"),
            cpu_seconds: ticks(11).zip(ticks(12)).map(|(user, system)| (user + system) / TICKS_PER_SECOND),
            open_fds: None,
            max_fds: max.and_then(|line| line.split_whitespace().next()?.parse().ok()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_proc_says_is_read() {
        let taken = Taken::of(
            "Name:\tx\nVmRSS:\t    2048 kB\nThreads:\t3\n",
            "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 3 0 100 1 2",
            "Max cpu time  unlimited unlimited seconds\nMax open files            1024                 4096     files\n",
        );
        let expected = Taken {
            resident_bytes: Some(2_097_152.0),
            threads: Some(3.0),
            cpu_seconds: Some(3.0),
            open_fds: None,
            max_fds: Some(1024.0),
        };
        assert_eq!(taken, expected);
        let now = Taken::now();
        assert!(now.resident_bytes > Some(0.0) && now.open_fds > Some(0.0) && now.cpu_seconds.is_some(), "{now:?}");
    }
}
