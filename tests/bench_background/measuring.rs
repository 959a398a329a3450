//! One cell of a number of wallets: what deposits cost alone, what background work costs alone, and both together.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use ledger::Timestamp;
use store::log::Log;
use tokio::time::{Instant, interval, sleep, timeout};
use topology::WalletId;

use super::deposits::{self, Paid};
use super::events::{self, Seen};
use super::figures::{Spread, Units, row};
use super::filling::{Caught, filled};
use super::site::{CHECKPOINT_SECONDS, Duty, Instance, Site, metric};
use super::{checkpoints, site};

/// How often metrics are read.
const SCRAPE: Duration = Duration::from_millis(200);
/// From the start of a process to all its jobs, and from the last deposit to its event.
const PATIENCE: Duration = Duration::from_secs(120);

/// The figures of one number of wallets.
pub struct Column {
    wallets: usize,
    deposits_a_second: f64,
    deposit_ms: Spread,
    alone: Units,
    quiet: Units,
    both: Units,
    entries_a_second: f64,
    checkpoints: checkpoints::Figures,
    event_age: Spread,
    feed_lag: Spread,
    archive_lag: Spread,
}

/// What the metrics said while deposits were made.
#[derive(Default)]
struct Watched {
    feed_lag: Vec<f64>,
    archive_lag: Vec<f64>,
    completed: Vec<Timestamp>,
}

pub async fn run(wallets: usize, rate: u64, seconds: u64) -> Column {
    let (site, all) = filled(wallets, Caught::Up).await;
    let count = usize::try_from(rate * seconds).expect("small");
    let (first, second) = chosen(&all, count);
    let serving = site.start(Duty::Serve).await;
    site.consumed().await;
    let began = Instant::now();
    deposits::run(&serving.base, first, rate).await;
    let alone = Units::of(&site.consumed().await, began.elapsed().as_secs_f64());
    drop(serving);

    let working = site.start(Duty::All).await;
    until_settled(&site, &working).await;
    site.consumed().await;
    sleep(Duration::from_secs(seconds)).await;
    let quiet = Units::of(&site.consumed().await, seconds as f64);

    // Both parts begin with a process that has loaded no wallet.
    let serving = site.start(Duty::Serve).await;
    let log = Log::new(site.store().await, Site::cell());
    let before = log.newest().await.expect("it answers").map_or(0, |entry| entry.signed.checkpoint.number);
    let entry = working.metric("cell_archive_entry").await.expect("it archives") as u64;
    let following = events::follow(&working, entry, count).await;
    site.consumed().await;
    let (began, watched) = (Instant::now(), RefCell::new(Watched::default()));
    let paid = tokio::select! {
        paid = deposits::run(&serving.base, second, rate) => paid,
        () = watch(&working, &watched) => unreachable!("it has no end"),
    };
    let took = began.elapsed().as_secs_f64();
    let both = Units::of(&site.consumed().await, took);
    let entries = working.metric("cell_archive_entry").await.expect("it archives") as u64 - entry;
    let seen = timeout(PATIENCE, following).await.expect("every deposit is an event").expect("no panic");
    // The round that was due last.
    let rest = timeout(Duration::from_secs(CHECKPOINT_SECONDS * 2), watch(&working, &watched)).await;
    assert!(rest.is_err());
    let watched = watched.into_inner();
    let signed = checkpoints::after(&site.store().await, before).await;
    Column {
        wallets,
        deposits_a_second: paid.len() as f64 / took,
        deposit_ms: Spread::of(paid.iter().map(|paid| paid.took.as_secs_f64() * 1e3)),
        alone,
        quiet,
        both,
        entries_a_second: entries as f64 / took,
        checkpoints: checkpoints::figures(&watched.completed, &signed, &paid, &seen),
        event_age: Spread::of(ages(&paid, &seen)),
        feed_lag: Spread::of(watched.feed_lag),
        archive_lag: Spread::of(watched.archive_lag),
    }
}

/// Wallets for two parts, spread over all, none of them in both if there are enough. The last ones come again if not.
fn chosen(all: &[WalletId], count: usize) -> (Vec<WalletId>, Vec<WalletId>) {
    let mut mixed = all.to_vec();
    fastrand::Rng::with_seed(7).shuffle(&mut mixed);
    let mut in_turn = mixed.into_iter().cycle();
    (in_turn.by_ref().take(count).collect(), in_turn.take(count).collect())
}

/// Until what was written before is archived and committed to.
async fn until_settled(site: &Site, working: &Instance) {
    let deadline = Instant::now() + PATIENCE;
    let completed = async || working.metric("cell_checkpoint_round_completed_timestamp_seconds").await;
    let log = Log::new(site.store().await, Site::cell());
    let size = async || log.newest().await.expect("it answers").map_or(0, |entry| entry.signed.checkpoint.size);
    let (mut known, mut rounds, mut last) = (size().await, 0, completed().await);
    // A round that adds nothing.
    while rounds < 2 {
        assert!(Instant::now() < deadline, "it is not caught up");
        sleep(SCRAPE).await;
        let now = completed().await;
        if now == last {
            continue;
        }
        let grown = size().await;
        rounds = if grown == known { rounds + 1 } else { 0 };
        (known, last) = (grown, now);
    }
}

async fn watch(working: &Instance, watched: &RefCell<Watched>) {
    let mut ticks = interval(SCRAPE);
    loop {
        ticks.tick().await;
        let page = working.metrics().await;
        let mut watched = watched.borrow_mut();
        watched.feed_lag.extend(metric(&page, "cell_feed_lag_seconds"));
        watched.archive_lag.extend(metric(&page, "cell_archive_lag_seconds"));
        let completed = metric(&page, "cell_checkpoint_round_completed_timestamp_seconds");
        let completed = completed.map(|seconds| Timestamp::from_micros((seconds * 1e6) as i64));
        if let Some(completed) = completed.filter(|completed| watched.completed.last() < Some(completed)) {
            watched.completed.push(completed);
        }
    }
}

fn ages(paid: &[Paid], seen: &HashMap<String, Seen>) -> Vec<f64> {
    let age = |paid: &Paid| (seen[&paid.transaction].at.micros() - paid.answered.micros()) as f64 / 1e6;
    paid.iter().map(age).collect()
}

pub fn print(columns: &[Column]) {
    let heads: Vec<String> = columns.iter().map(|column| format!("{} wallets", column.wallets)).collect();
    println!("| | {} | ratio |", heads.join(" | "));
    println!("|---|{}--:|", "--:|".repeat(columns.len()));
    let figure = |name: &str, decimals: usize, of: &dyn Fn(&Column) -> f64| {
        row(name, &columns.iter().map(of).collect::<Vec<f64>>(), decimals);
    };
    let background = |column: &Column| column.both.without(column.alone);
    figure("deposits/s", 0, &|one| one.deposits_a_second);
    figure("a deposit, p99 ms", 1, &|one| one.deposit_ms.at(99));
    figure("read units/s of deposits alone", 1, &|one| one.alone.read);
    figure("write units/s of deposits alone", 1, &|one| one.alone.write);
    figure("read units/s of background work, no deposits", 1, &|one| one.quiet.read);
    figure("write units/s of background work, no deposits", 1, &|one| one.quiet.write);
    figure("read units/s of background work", 1, &|one| background(one).read);
    figure("write units/s of background work", 1, &|one| background(one).write);
    figure("calls/s of the change stream", 1, &|one| one.both.stream_calls);
    figure("entries/s of the archive, two objects each", 2, &|one| one.entries_a_second);
    figure("wallets of a checkpoint, median", 0, &|one| one.checkpoints.leaves.at(50));
    figure("a checkpoint signed after it was due, median s", 2, &|one| one.checkpoints.late.at(50));
    figure("the same, longest s", 2, &|one| one.checkpoints.late.at(100));
    figure("all of it recorded after it was due, longest s", 2, &|one| one.checkpoints.recorded.at(100));
    figure("confirmed before it was due and not covered, oldest s", 2, &|one| one.checkpoints.uncovered.at(100));
    figure("age of an event, p50 s", 2, &|one| one.event_age.at(50));
    figure("age of an event, p99 s", 2, &|one| one.event_age.at(99));
    figure("lag of the feed, longest s", 2, &|one| one.feed_lag.at(100));
    figure("lag of the archive, p99 s", 2, &|one| one.archive_lag.at(99));
    figure("lag of the archive, longest s", 2, &|one| one.archive_lag.at(100));
    println!(
        "\nA checkpoint every {} s. Background work: what both parts cost together less deposits alone.",
        site::CHECKPOINT_SECONDS
    );
}
