//! What a balance of long ago costs: two queries, whatever the length of the chain and the size of its blocks.

use cell::reads::history::{Past, past};
use ledger::Timestamp;

use super::Chain;
use super::database::Database;
use crate::fleet::{setting, within};

/// Entries of each chain; a million in the nightly run.
const ENTRIES: u64 = 20_000;
/// What the database holds in its own memory, with the records of its change stream.
const MOST_IN_PROCESS: usize = 100_000;
const ASKED: usize = 100;
/// Entries of a full block.
const FULL: usize = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_balance_of_any_time_takes_two_queries() {
    let entries = setting("WALLET_HISTORY", ENTRIES) as usize;
    within(120 + entries as u64 / 500, "the test", async {
        let database = if entries > MOST_IN_PROCESS { Database::start_large().await } else { Database::start().await };
        let mut single = Chain::new("blocks of one");
        single.deposits(entries, 1);
        let mut full = Chain::new("full blocks");
        full.deposits(entries / FULL, FULL);
        // Now light blocks, now heavy ones.
        let mut mixed = Chain::new("both");
        for round in 0..entries / (50 * 3) {
            mixed.deposits(1 + round % 3, 48 + round % 5);
            mixed.deposits(round % 70, 1);
        }
        for (name, chain) in [("blocks of one", single), ("full blocks", full), ("both", mixed)] {
            chain.store(&database.store).await;
            ask(&database, name, &chain).await;
        }
    })
    .await;
}

async fn ask(database: &Database, name: &str, chain: &Chain) {
    let mut random = fastrand::Rng::with_seed(7);
    let blocks = &chain.blocks;
    let (first, last) = (blocks[0].at.micros(), blocks[blocks.len() - 1].at.micros());
    let times = (0..ASKED).map(|_| random.i64(first - 1_000_000..=last + 1_000_000));
    let times: Vec<i64> = times.chain([first - 1, first, last - 1, last, last + 1]).collect();
    let (mut units, mut most) = (0.0, 0.0_f64);
    for at in times.iter().copied().map(Timestamp::from_micros) {
        database.reset_consumed().await;
        let found = past(&database.store, chain.wallet(), at).await.expect("a sound chain");
        let consumed = database.consumed().await;
        let expected = match blocks.partition_point(|block| block.at <= at) {
            0 => Past::Before(blocks[0].clone()),
            count if count == blocks.len() => Past::Head(blocks[count - 1].clone()),
            count => Past::Block(blocks[count - 1].clone()),
        };
        assert_eq!(found, expected, "{name} at {at}");
        assert!(consumed["calls"].as_u64().expect("a number") <= 2, "{name} at {at}: {consumed}");
        let read = consumed["read_units"].as_f64().expect("a number");
        (units, most) = (units + read, most.max(read));
    }
    let each = units / times.len() as f64;
    eprintln!(
        "a balance of the past, {name} ({} blocks): 2 queries, {each:.1} read units on average, {most:.1} at most",
        blocks.len()
    );
}
