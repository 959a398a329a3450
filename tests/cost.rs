//! What operations cost in DynamoDB's own units, counted by the stand-in (transactional writes count double, as they
//! do on AWS).

use serde_json::Value;

use crate::fleet::{Call, Client, Fleet, within};

const DEPOSITS: u64 = 40;
const TRANSFERS: u64 = 20;
const HOT_DEPOSITS: u64 = 2_000;
const HOT_CLIENTS: u64 = 64;
/// What the instances themselves ask for once a second, whatever clients do: each of four shards of the index of
/// transfers in flight; and their readiness, if it is asked for.
const BACKGROUND_READS_A_SECOND: u64 = 5;

fn count(consumed: &Value, operation: &str, what: &str) -> f64 {
    consumed["operations"][operation][what].as_f64().unwrap_or(0.0)
}

fn write_calls(consumed: &Value) -> f64 {
    let writes = ["PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems", "BatchWriteItem"];
    writes.iter().map(|operation| count(consumed, operation, "calls")).sum()
}

fn write_units(consumed: &Value) -> f64 {
    consumed["write_units"].as_f64().expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deposit_costs_one_write_unit_and_a_near_transfer_four() {
    within(60, "the test", async {
        let fleet = Fleet::start(1, 1).await;
        let client = fleet.client();
        let (ann, bob) = (client.create("ann").await, client.create("bob").await);
        // The wallets are warm after this: the instance knows their heads and keys.
        for wallet in [ann, bob] {
            client.send(&Call::deposit(wallet, "100").key("first")).await.expect(200);
        }

        fleet.reset_consumed(1).await;
        let began = std::time::Instant::now();
        for number in 0..DEPOSITS {
            let call = Call::deposit(ann, "1.23").key(uuid::Uuid::from_u128(u128::from(number)).to_string());
            client.send(&call).await.expect(200);
        }
        let background = BACKGROUND_READS_A_SECOND * (began.elapsed().as_secs() + 2);
        let consumed = fleet.consumed(1).await;
        let each = |total: f64| total / DEPOSITS as f64;
        eprintln!(
            "a deposit: {} write units, {} write calls",
            each(write_units(&consumed)),
            each(write_calls(&consumed))
        );
        assert_eq!(write_calls(&consumed), DEPOSITS as f64, "{consumed}");
        assert!(each(write_units(&consumed)) <= 1.0, "{consumed}");
        let reads = consumed["calls"].as_f64().expect("a number") - write_calls(&consumed);
        assert!(reads <= background as f64 && background < DEPOSITS, "{reads} reads, {background} allowed: {consumed}");

        fleet.reset_consumed(1).await;
        client.send(&Call::transfer(ann, bob, "5").key("transfer")).await.expect(200);
        let consumed = fleet.consumed(1).await;
        eprintln!("a transfer inside a cell: {} write units", write_units(&consumed));
        assert_eq!(write_calls(&consumed), 1.0, "{consumed}");
        assert!(write_units(&consumed) <= 4.0, "{consumed}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_balance_costs_one_read_unit_and_far_transfers_are_bounded() {
    within(60, "the test", async {
        let fleet = Fleet::start(2, 1).await;
        let client = fleet.client();
        let (ann, bob) = (fleet.users_in(1, 1).await.remove(0), fleet.users_in(2, 1).await.remove(0));
        let (ann, bob) = (client.create(&ann).await, client.create(&bob).await);
        for wallet in [ann, bob] {
            client.send(&Call::deposit(wallet, "100").key("first")).await.expect(200);
        }
        fleet.reset_consumed(1).await;
        let began = std::time::Instant::now();
        for _ in 0..DEPOSITS {
            client.send(&Call::show(ann)).await.expect(200);
        }
        let background = BACKGROUND_READS_A_SECOND * (began.elapsed().as_secs() + 2);
        let units = fleet.consumed(1).await["read_units"].as_f64().expect("a number");
        eprintln!(
            "a balance: at most {} read units, {background} of all {units} may be the instance's own",
            units / DEPOSITS as f64
        );
        assert!(units <= (DEPOSITS + background) as f64, "{units}");

        for cell in [1, 2] {
            fleet.reset_consumed(cell).await;
        }
        for number in 0..TRANSFERS {
            let call = Call::transfer(ann, bob, "1").key(format!("transfer-{number}"));
            assert_eq!(client.send(&call).await.expect(200).string("status"), "SETTLED");
        }
        // The last settlement may wait for the wallet's next block.
        client.send(&Call::deposit(ann, "1")).await.expect(200);
        let units = write_units(&fleet.consumed(1).await) + write_units(&fleet.consumed(2).await);
        let each = units / TRANSFERS as f64;
        eprintln!("a transfer between cells: {each} write units");
        assert!((8.0..=14.1).contains(&each), "{each}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deposits_on_a_hot_wallet_share_their_blocks() {
    within(60, "the test", async {
        let fleet = Fleet::start(1, 1).await;
        let wallet = fleet.client().create("merchant").await;
        let instance = fleet.instance_client(1, 0);
        // Every connection is there before it counts.
        deposit_all(&instance, wallet, "warm", HOT_CLIENTS).await;
        fleet.reset_consumed(1).await;
        deposit_all(&instance, wallet, "hot", HOT_DEPOSITS).await;
        let consumed = fleet.consumed(1).await;
        let each = write_units(&consumed) / HOT_DEPOSITS as f64;
        let a_write = HOT_DEPOSITS as f64 / write_calls(&consumed);
        eprintln!("a deposit on a hot wallet: {each} write units, {a_write} deposits a write call");
        assert!(each <= 0.35, "{consumed}");
    })
    .await;
}

async fn deposit_all(client: &Client, wallet: topology::WalletId, name: &str, deposits: u64) {
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..HOT_CLIENTS {
        let (client, name) = (client.clone(), name.to_owned());
        clients.spawn(async move {
            for step in (number..deposits).step_by(HOT_CLIENTS as usize) {
                client.send(&Call::deposit(wallet, "0.01").key(format!("{name}-{step}"))).await.expect(200);
            }
        });
    }
    clients.join_all().await;
}
