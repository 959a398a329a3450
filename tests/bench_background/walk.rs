//! A cell that gets its first archive: how long it takes until all wallets are in it, and in the log of checkpoints.

use std::time::{Duration, Instant};

use store::log::Log;

use super::filling::{Caught, filled};
use super::site::{Duty, Site};

const PATIENCE: Duration = Duration::from_secs(600);
const POLL: Duration = Duration::from_millis(200);

pub async fn run(wallets: usize, latency_ms: u64) {
    let (site, _) = filled(wallets, Caught::Nothing).await;
    let instance = site.start(Duty::All).await;
    site.slow_down(latency_ms).await;
    let (began, log) = (Instant::now(), Log::new(site.store().await, Site::cell()));
    while instance.metric("cell_archive_blocks_total").await.is_none_or(|blocks| blocks < wallets as f64) {
        assert!(began.elapsed() < PATIENCE, "it is not archived");
        tokio::time::sleep(POLL).await;
    }
    let archived = began.elapsed().as_secs_f64();
    while log.newest().await.expect("it answers").is_none_or(|entry| entry.signed.checkpoint.size < wallets as u64) {
        assert!(began.elapsed() < PATIENCE, "it is not committed to");
        tokio::time::sleep(POLL).await;
    }
    let committed = began.elapsed().as_secs_f64();
    println!(
        "A first archive of {wallets} wallets, {latency_ms} ms for each call of the database: walked in {archived:.1} s \
         ({:.0} wallets/s), committed to after {committed:.1} s.
",
        wallets as f64 / archived
    );
}
