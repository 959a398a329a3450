//! Medians, percentiles, ratios of rounds, and the processor time of processes.

/// The kernel's unit of processor time in /proc.
const TICKS_A_SECOND: f64 = 100.0;

pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    f64::midpoint(sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2])
}

pub fn percentile_ms(sorted_us: &[u32], percent: usize) -> f64 {
    f64::from(sorted_us[(sorted_us.len() - 1) * percent / 100]) / 1_000.0
}

/// The median of the ratios of rounds, and each of them.
pub fn ratios(these: &[f64], those: &[f64]) -> String {
    let each: Vec<f64> = these.iter().zip(those).map(|(this, that)| this / that).collect();
    let rounds: Vec<String> = each.iter().map(|ratio| format!("{ratio:.2}")).collect();
    format!("{:.2} ({})", median(&each), rounds.join(", "))
}

/// What else the machine does shows in the load before a run.
pub fn machine() -> String {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!("{processors} processors, load {} before the run", load.split(' ').next().unwrap_or("unknown"))
}

/// The processor time of groups of processes; that of this one comes last.
pub struct Meter {
    groups: Vec<Vec<i32>>,
}

impl Meter {
    pub fn new(mut groups: Vec<Vec<i32>>) -> Self {
        groups.push(vec![i32::try_from(std::process::id()).expect("a process id")]);
        Self { groups }
    }

    pub fn seconds(&self) -> Vec<f64> {
        self.groups.iter().map(|pids| pids.iter().map(|pid| processor_time_s(*pid)).sum()).collect()
    }
}

/// utime + stime; the process's name may hold spaces, so fields count from its closing bracket.
fn processor_time_s(pid: i32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |field: usize| fields[field].parse::<f64>().expect("a number");
    (ticks(11) + ticks(12)) / TICKS_A_SECOND
}
