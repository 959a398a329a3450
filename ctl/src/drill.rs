//! `ctl drill`: lists the drills, runs one, and prints its report.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use command_line::{FAILED, MISMATCH, USAGE, columns, failure};
use drills::check::About;
use drills::report::{Report, blast_line, checks_table, report, save};
use drills::runner::{self, Played, Size};
use drills::table::{DRILLS, Drill, Network, named};
use load_generator::running;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::flags::drill::{DrillVerb, INSTANCES, RunArgs};
use crate::flags::{Common, Output};
use crate::output::show;

const DEFAULT_OUT: &str = ".drills";
impl RunArgs {
    fn size(&self, drill: &Drill) -> Size {
        // Both Regions are written to for some seconds.
        let small_ms = if drill.network == Network::Regions { 10_000 } else { 6_000 };
        let small = (60, small_ms, 60, drill.small_cells);
        let (rate, duration_ms, wallets, cells) = if self.small { small } else { (150, 16_000, 90, 3) };
        let duration = self.duration.map(|duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
        Size {
            rate: self.rate.unwrap_or(rate),
            duration_ms: duration.unwrap_or(duration_ms),
            wallets: self.wallets.map_or(wallets, |wallets| wallets as usize),
            cells: self.cells.unwrap_or(cells),
            instances: self.instances.unwrap_or(INSTANCES),
            seed: self.seed.unwrap_or_else(|| fastrand::u64(..)),
        }
    }
}

/// Shortest load that has all its phases.
const DURATION_MIN_MS: u64 = 5_000;

pub async fn run(common: &Common, verb: &DrillVerb) -> Result<()> {
    match verb {
        DrillVerb::List => list(common),
        DrillVerb::Run(wanted) => run_one(common, wanted).await,
        DrillVerb::Report { name, out } => print(common, &out.clone().unwrap_or_else(|| default_out(name))),
    }
}

fn default_out(name: &str) -> PathBuf {
    Path::new(DEFAULT_OUT).join(name)
}

fn list(common: &Common) -> Result<()> {
    let drills: Vec<_> = DRILLS.iter().map(|drill| json!({ "name": drill.name, "about": drill.about })).collect();
    show(common, &drills, |_| {
        let rows: Vec<_> = DRILLS.iter().map(|drill| vec![drill.name.to_owned(), drill.about.to_owned()]).collect();
        columns(&["NAME", "WHAT"], &rows)
    })
}

fn print(common: &Common, out: &Path) -> Result<()> {
    let file = out.join(if common.output == Output::Json { "report.json" } else { "report.md" });
    let text = std::fs::read_to_string(&file)
        .with_context(|| format!("cannot read {}: run the drill first, or name its --out", file.display()))?;
    print!("{text}");
    Ok(())
}

async fn run_one(common: &Common, wanted: &RunArgs) -> Result<()> {
    let unknown = || failure(USAGE, format!("there is no drill {:?}: see `ctl drill list`", wanted.name));
    let drill = named(&wanted.name).ok_or_else(unknown)?;
    let size = wanted.size(drill);
    if size.duration_ms < DURATION_MIN_MS {
        return Err(failure(USAGE, format!("--duration: a drill needs at least {DURATION_MIN_MS} ms")));
    }
    if u64::from(size.rate).saturating_mul(size.duration_ms) / 1_000 > running::OPERATIONS_MAX {
        let most = running::OPERATIONS_MAX;
        return Err(failure(USAGE, format!("--rate times --duration is more than {most} requests")));
    }
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let played = played(drill, size, wanted).await?;
    let report = report(drill, size, played);
    let out = wanted.out.clone().unwrap_or_else(|| default_out(drill.name));
    save(&report, &out)?;
    eprintln!("wrote {}", out.join("report.md").display());
    show(common, &report, |report| format!("{}\n{}\n", checks_table(report), blast_line(report)))?;
    verdict(&report)
}

/// Runs the drill until a signal stops it: then the fleet goes with it.
async fn played(drill: &Drill, size: Size, wanted: &RunArgs) -> Result<Played> {
    let data = std::env::temp_dir().join(format!("wallet-drill-{}", std::process::id()));
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        played = runner::run(drill, size, wanted.port, &data, wanted.keep) => played,
        _ = terminate.recv() => Err(failure(FAILED, "interrupted")),
        _ = interrupt.recv() => Err(failure(FAILED, "interrupted")),
    }
}

fn verdict(report: &Report) -> Result<()> {
    let failed = |about: About| report.checks.iter().filter(|check| !check.passed && check.about == about).count();
    let books = failed(About::Books);
    let others = failed(About::Expectation) + failed(About::Drill);
    match (books, others) {
        (0, 0) => Ok(()),
        (0, count) => Err(failure(FAILED, format!("{count} checks failed"))),
        (count, _) => {
            Err(failure(MISMATCH, format!("the books are wrong: {count} checks failed, and {others} others")))
        }
    }
}
