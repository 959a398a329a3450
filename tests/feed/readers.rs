//! A reader that is paused and wakes when another one has its job, a saved position that is gone, shards that end, and
//! records that expire unread.

use std::time::Instant;

use nix::sys::signal::Signal;

use super::one_cell::{OneCell, is_long};
use crate::fleet::engines::Engine;
use crate::fleet::{until, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transfers_are_carried_on_whatever_becomes_of_the_reader() {
    within(120, "the test", async {
        let mut cell = OneCell::over(Engine::local().await).await;
        two_at_once(&mut cell).await;
        position_lost(&mut cell).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_they_are_on_amazons_dynamodb_local_where_shards_end() {
    if !is_long() {
        return eprintln!("SKIPPED: only in the long version, with WALLET_EVERY_STEP=1");
    }
    let Some(engine) = Engine::amazons().await else { return };
    within(180, "the test", async {
        let mut cell = OneCell::over(engine).await;
        two_at_once(&mut cell).await;
        position_lost(&mut cell).await;
        shards_end(&mut cell).await;
        records_expire(&mut cell).await;
    })
    .await;
}

/// Ends with one process, `other`, which has the job.
async fn two_at_once(cell: &mut OneCell) {
    cell.start("one").await;
    until(10, "it has the job", async || cell.reads("one").await).await;
    cell.start("other").await;
    cell.signal("one", Signal::SIGSTOP);
    cell.leave_open().await;
    cell.carried_on(Instant::now(), "the reader is paused").await;
    assert!(cell.reads("other").await, "the other one has the job");
    // It believes that the job is its own until it writes.
    cell.leave_open().await;
    cell.signal("one", Signal::SIGCONT);
    cell.carried_on(Instant::now(), "the reader that was paused wakes up").await;
    assert!(cell.reads("other").await, "the other one has the job");
    cell.kill("one");
}

/// Ends, in the long version, with one process, `one`.
async fn position_lost(cell: &mut OneCell) {
    cell.leave_open().await;
    cell.lose_position().await;
    cell.carried_on(Instant::now(), "the saved position is lost").await;
    if !is_long() {
        return;
    }
    cell.kill_at_rest("other").await;
    cell.leave_open().await;
    cell.lose_position().await;
    cell.start("one").await;
    cell.carried_on(Instant::now(), "the saved position is lost while no process is there").await;
}

async fn shards_end(cell: &mut OneCell) {
    let before = cell.shards().await;
    cell.leave_open().await;
    cell.control(&[("ACTION", "ROLLOVER")]).await;
    cell.leave_open().await;
    cell.carried_on(Instant::now(), "shards end under the reader").await;
    cell.kill_at_rest("one").await;
    for _ in 0..2 {
        cell.leave_open().await;
        cell.control(&[("ACTION", "ROLLOVER")]).await;
    }
    cell.leave_open().await;
    cell.start("one").await;
    cell.carried_on(Instant::now(), "shards ended while no process was there").await;
    let after = cell.shards().await;
    assert!(after >= before + 3, "{before} shards, then {after}");
}

async fn records_expire(cell: &mut OneCell) {
    cell.kill_at_rest("one").await;
    cell.leave_open().await;
    cell.control(&[("ACTION", "DILATE_TIME"), ("HOURS", "25")]).await;
    cell.start("one").await;
    cell.carried_on(Instant::now(), "the records expired unread").await;
}
