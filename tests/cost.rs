//! What operations cost in DynamoDB's own units, counted by the stand-in (transactional writes count double, as they
//! do on AWS).

use serde_json::Value;

use crate::fleet::books::Books;
use crate::fleet::{Call, Client, Fleet, within};

const DEPOSITS: u64 = 40;
const HOT_DEPOSITS: u64 = 2_000;
const HOT_CLIENTS: u64 = 64;
/// How often each operation is done that is measured: a run of blocks, so that its two rows are counted.
const REPEATED: u64 = ledger::limits::RUN_BLOCKS;
const ROWS_OF_A_RUN: f64 = 2.0;
/// Settlements go along with other blocks, or get one after a second.
const SETTLED_WITHIN_S: u64 = 20;
/// What the instances themselves ask for once a second, whatever clients do: their readiness, and the rows of jobs.
const BACKGROUND_READS_A_SECOND: u64 = 5;
/// Leases of jobs.
const BACKGROUND_WRITES_A_SECOND: u64 = 1;

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

/// Of one kind of operation: what each costs at most, when it is done again and again on warm wallets.
async fn costs_at_most(fleet: &Fleet, cells: &[u16], name: &str, most: f64, calls: impl Fn(u64) -> Vec<Call>) {
    let client = fleet.client();
    for cell in cells {
        fleet.reset_consumed(*cell).await;
    }
    let began = std::time::Instant::now();
    for number in 0..REPEATED {
        for call in calls(number) {
            assert!(client.send(&call).await.is_success(), "{name}");
        }
    }
    // The last settlements wait for a block to go along with.
    Books::read_settled(fleet, SETTLED_WITHIN_S).await;
    let background = (BACKGROUND_WRITES_A_SECOND * (began.elapsed().as_secs() + 1)) as f64;
    let mut units = 0.0;
    for cell in cells {
        let consumed = fleet.consumed(*cell).await;
        units += write_units(&consumed);
        assert_eq!(count(&consumed, "TransactWriteItems", "calls"), 0.0, "{name} needs no transaction: {consumed}");
    }
    let each = units / REPEATED as f64;
    eprintln!("{name}: {each} write units, of which {} may be the cells' own", background / REPEATED as f64);
    assert!(units <= most * REPEATED as f64 + background, "{name}: {each}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operations_cost_what_their_blocks_cost() {
    within(120, "the test", async {
        let fleet = Fleet::quiet(2, 1).await;
        let client = fleet.client();
        let near = fleet.users_in(1, 2).await;
        let far = fleet.users_in(2, 1).await.remove(0);
        let (ann, abe, bob) = (client.create(&near[0]).await, client.create(&near[1]).await, client.create(&far).await);
        client.send(&Call::deposit(ann, "1000").key("enough-for-all")).await.expect(200);
        for wallet in [ann, abe, bob] {
            for number in 0..REPEATED {
                client.send(&Call::deposit(wallet, "100").key(format!("{wallet}-{number}"))).await.expect(200);
            }
        }
        let path = format!("/api/v1/wallets/{ann}/transactions?limit={REPEATED}");
        let listed = client.send(&Call::get(path)).await.expect(200).json()["transactions"].clone();
        let id = |line: &Value| line["transactionId"].as_str().expect("a text").to_owned();
        let deposits: Vec<String> = listed.as_array().expect("a list").iter().map(id).collect();
        let key = |name: &str, number: u64| format!("{name}-{number}");
        let a_block = 1.0 + ROWS_OF_A_RUN / REPEATED as f64;
        costs_at_most(&fleet, &[1], "a keyed deposit", a_block, |n| vec![Call::deposit(ann, "1.23").key(key("d", n))])
            .await;
        let inside = |n| vec![Call::transfer(ann, abe, "1").key(key("near", n))];
        costs_at_most(&fleet, &[1], "a transfer inside a cell", 3.2, inside).await;
        let between = |n| vec![Call::transfer(ann, bob, "1").key(key("far", n))];
        costs_at_most(&fleet, &[1, 2], "a transfer between cells", 3.2, between).await;
        let reversal = |n: u64| {
            let path = format!("/api/v1/wallets/{ann}/transactions/{}/reverse", deposits[n as usize]);
            vec![Call::post(path, "").without("content-type").key(key("reversal", n))]
        };
        costs_at_most(&fleet, &[1], "a reversal", 1.2, reversal).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_balance_costs_one_read_unit() {
    within(60, "the test", async {
        let fleet = Fleet::quiet(1, 1).await;
        let client = fleet.client();
        let ann = client.create("ann").await;
        client.send(&Call::deposit(ann, "100").key("first")).await.expect(200);
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
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deposits_on_a_hot_wallet_share_their_blocks() {
    within(60, "the test", async {
        let fleet = Fleet::quiet(1, 1).await;
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
