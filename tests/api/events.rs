//! Following a cell: every block comes, in a resumable order, and a reader that starts again from
//! any cursor misses none.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ledger::Timestamp;
use serde_json::Value;

use crate::fleet::{Call, Fleet, client, open_transfers, until, within};

/// One answer: the blocks, as (wallet, number), and the last cursor.
async fn read(fleet: &Fleet, cell: &str, cursor: Option<&str>) -> (Vec<(String, u64)>, String) {
    let after = cursor.map_or(String::new(), |cursor| format!("&cursor={cursor}"));
    let answer = fleet.client().send(&Call::get(format!("/api/v1/events?cell={cell}{after}"))).await.expect(200);
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    let (mut blocks, mut last) = (Vec::new(), String::new());
    for line in answer.text.lines() {
        let line: Value = serde_json::from_str(line).expect("a line of JSON");
        match line["cursor"].as_str() {
            Some(cursor) => cursor.clone_into(&mut last),
            None => {
                let wallet = line["walletId"].as_str().expect("a wallet").to_owned();
                assert!(!line["transactions"].as_array().expect("a list").is_empty());
                blocks.push((wallet, line["blockNumber"].as_u64().expect("a number")));
            }
        }
    }
    (blocks, last)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_block_of_a_cell_is_an_event_from_any_cursor() {
    within(90, "the test", async {
        let fleet = Fleet::start(1, 1).await;
        let client = fleet.client();
        let mut written: BTreeMap<String, u64> = BTreeMap::new();
        for user in fleet.users_in(1, 3).await {
            let wallet = client.create(&user).await;
            for _ in 0..3 {
                client.send(&Call::deposit(wallet, "1")).await.expect(200);
            }
            written.insert(wallet.to_string(), 3);
        }
        let expected: BTreeSet<(String, u64)> =
            written.iter().flat_map(|(wallet, last)| (0..=*last).map(|number| (wallet.clone(), number))).collect();
        let mut seen = BTreeSet::new();
        let mut cursors = vec![None];
        until(30, "all blocks were sent", async || {
            let from: Option<String> = cursors.last().cloned().flatten();
            let (blocks, cursor) = read(&fleet, "cell-1", from.as_deref()).await;
            for block in blocks {
                assert!(seen.insert(block.clone()), "{block:?} came twice to a follower that kept its cursor");
            }
            cursors.push(Some(cursor));
            seen == expected
        })
        .await;
        let (again, _) = read(&fleet, "cell-1", None).await;
        assert_eq!(again.into_iter().collect::<BTreeSet<_>>(), expected);
        // Nothing more until something happens; then just that.
        let last = cursors.pop().flatten().expect("a cursor");
        assert_eq!(read(&fleet, "cell-1", Some(&last)).await.0, []);
        for (path, status, code) in [
            ("/api/v1/events", 400, "missing_cell"),
            ("/api/v1/events?cell=cell-9", 404, "cell_not_found"),
            ("/api/v1/events?cell=cell-1&cursor=x", 400, "invalid_cursor"),
            ("/api/v1/events?cell=cell-1&cursor=cell-2:1:0", 400, "invalid_cursor"),
            ("/api/v1/events?cell=cell-1&follow=maybe", 400, "invalid_follow"),
        ] {
            assert_eq!(client.send(&Call::get(path)).await.expect(status).code(), code, "{path}");
        }
    })
    .await;
}

/// Deposits while an answer is followed, and the time between two.
const FOLLOWED: usize = 100;
const PAUSE: Duration = Duration::from_millis(30);
/// On a machine that is busy with other things.
const FOLLOWED_WITHIN_MS: i64 = 5_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_gets_a_block_soon_after_its_write() {
    within(120, "the test", async {
        let fleet = Fleet::start(1, 1).await;
        let client = fleet.client();
        let wallet = client.create("ann").await;
        let url = format!("{}/api/v1/events?cell=cell-1&follow=true", fleet.ports.router());
        let mut answer = client::http().get(url).send().await.expect("it answers");
        let writer = tokio::spawn(async move {
            for _ in 0..FOLLOWED {
                client.send(&Call::deposit(wallet, "1")).await.expect(200);
                tokio::time::sleep(PAUSE).await;
            }
        });
        let (mut ages, mut text) = (Vec::new(), String::new());
        while ages.len() < FOLLOWED {
            let chunk = answer.chunk().await.expect("it goes on").expect("there is more");
            text.push_str(std::str::from_utf8(&chunk).expect("whole lines"));
            let Some((lines, rest)) = text.rsplit_once('\n') else { continue };
            let now = open_transfers::now();
            for line in lines.lines() {
                let event: Value = serde_json::from_str(line).expect("a line of JSON");
                let Some(at) = event["timestamp"].as_str().filter(|_| event["blockNumber"] != 0) else { continue };
                let at = Timestamp::parse(at).expect("a time");
                ages.push((now.micros() - at.micros()) / 1_000);
            }
            text = rest.to_owned();
        }
        writer.await.expect("it writes");
        ages.sort_unstable();
        let (median, p99) = (ages[ages.len() / 2], ages[ages.len() * 99 / 100]);
        eprintln!("age of an event: median {median} ms, p99 {p99} ms");
        assert!(p99 < FOLLOWED_WITHIN_MS, "{ages:?}");
    })
    .await;
}
