//! The process with the feed is killed with SIGKILL at each of its durable steps, right before and right after the write:
//! the job is taken, the position is saved with the set of wallets, money arrives, its end is recorded. The next process
//! carries on what is open.

use std::time::Instant;

use super::one_cell::{OneCell, is_long};
use super::writes::Plan;
use crate::fleet::engines::Engine;
use crate::fleet::{until, within};

/// More writes than there are until all is carried on.
const WRITES_MAX: u64 = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_killed_at_any_step_is_followed_by_the_next() {
    within(3_600, "the walk", walk(Engine::local().await)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_it_is_on_amazons_dynamodb_local() {
    if !is_long() {
        return eprintln!("SKIPPED: only in the long version, with WALLET_EVERY_STEP=1");
    }
    let Some(engine) = Engine::amazons().await else { return };
    within(3_600, "the walk", walk(engine)).await;
}

/// Each step in both ways; in the short version one: the position is saved.
async fn walk(engine: Engine) {
    let mut cell = OneCell::over(engine).await;
    if !is_long() {
        return assert!(die_and_recover(&mut cell, Plan { answered: 1, applied: true }).await);
    }
    for answered in 0..WRITES_MAX {
        for applied in [false, true] {
            if !die_and_recover(&mut cell, Plan { answered, applied }).await {
                return eprintln!("{answered} writes and no more");
            }
        }
    }
    panic!("there are more writes than are walked through");
}

/// Whether there was such a write before all was carried on.
async fn die_and_recover(cell: &mut OneCell, plan: Plan) -> bool {
    cell.leave_open().await;
    cell.writes.plan(Some(plan));
    cell.start("dies").await;
    until(20, "a write hangs, or all is carried on", async || cell.writes.hangs() || cell.is_settled().await).await;
    let met = cell.writes.hangs();
    cell.kill("dies");
    cell.writes.plan(None);
    cell.start("follows").await;
    cell.carried_on(Instant::now(), &format!("{plan:?}")).await;
    cell.kill_at_rest("follows").await;
    met
}
