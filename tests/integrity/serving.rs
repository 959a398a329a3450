//! The same on a real fleet: the wallet is frozen, all others are served, the pass survives its
//! process, and what was signed can be checked by a customer.

use std::process::{Command, Stdio};

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use ledger::{Money, canonical, chain};
use serde_json::Value;
use store::dynamodb::DynamoStore;
use store::{CellRows, Chains};
use topology::WalletId;

use super::database::Item;
use crate::fleet::{Call, Fleet, Shape, until, within};

/// Enough that the first run of blocks is recorded, and none of it is read to write.
const DEPOSITS: usize = 100;
const SPOILT_BLOCK: u64 = 5;
const WALLETS: usize = 60;
const PATIENCE_S: u64 = 60;
/// Until a block that was written wrongly is found.
const NEW_FOUND_S: u64 = 15;

fn jobs_every_second(extra: &[(&str, &str)]) -> Vec<(String, String)> {
    let usual =
        [("CELL_INTEGRITY_SECONDS", "1"), ("CELL_CHECKPOINT_SECONDS", "1"), ("CONTROL_PLANE_WITNESS_SECONDS", "1")];
    usual.iter().chain(extra).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

async fn block_item(store: &DynamoStore, wallet: WalletId, number: u64) -> Item {
    let get = store.client().get_item().table_name("cell-1-ledger").consistent_read(true);
    let get = get.key("w", AttributeValue::S(wallet.to_string())).key("n", AttributeValue::N(number.to_string()));
    get.send().await.expect("the table answers").item.expect("the block is there")
}

async fn put(store: &DynamoStore, item: Item) {
    let put = store.client().put_item().table_name("cell-1-ledger").set_item(Some(item));
    put.send().await.expect("the table answers");
}

/// Changes one byte of a block.
async fn spoil(store: &DynamoStore, wallet: WalletId, number: u64) {
    let mut item = block_item(store, wallet, number).await;
    let mut bytes = item["b"].as_b().expect("bytes").as_ref().to_vec();
    bytes[100] ^= 0x10;
    item.insert("b".into(), AttributeValue::B(Blob::new(bytes)));
    put(store, item).await;
}

/// The findings about one wallet, as an operator is shown them.
async fn findings(fleet: &Fleet, wallet: WalletId) -> Vec<Value> {
    let all = fleet.ctl(&["ledger", "findings", "--cell", "cell-1"]).await;
    let all = all.as_array().expect("a list").clone();
    all.into_iter().filter(|finding| finding["wallet"] == wallet.to_string()).collect()
}

async fn job(store: &DynamoStore) -> Value {
    let row = store.cell_row("jobs", "integrity").await.expect("it answers");
    row.map_or(Value::Null, |row| serde_json::from_slice::<Value>(&row.bytes).expect("JSON")["progress"].clone())
}

async fn exit_code(fleet: &Fleet, words: &[&str]) -> i32 {
    match fleet.try_ctl(words).await {
        Ok(_) => 0,
        Err(said) => {
            let code = said.split("exit status: ").nth(1).and_then(|rest| rest.split([':', ' ']).next());
            code.and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("ctl {words:?}: {said}"))
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_wallet_is_frozen_while_all_others_are_served() {
    within(240, "the test", async {
        let fleet =
            Fleet::of(Shape { cells: 1, instances: 2, environment: jobs_every_second(&[]), ..Shape::default() }).await;
        let client = fleet.client();
        let (ann, bob, eve) = (client.create("ann").await, client.create("bob").await, client.create("eve").await);
        for number in 0..DEPOSITS {
            client.insist(&Call::deposit(ann, "1").key(format!("d{number}"))).await.expect(200);
        }
        for wallet in [bob, eve] {
            client.insist(&Call::deposit(wallet, "7").key("once")).await.expect(200);
        }
        let store = fleet.store(1).await;
        let proof = async |wallet| client.send(&Call::get(format!("/api/v1/wallets/{wallet}/proof"))).await;
        for (wallet, block) in [(ann, DEPOSITS as u64), (bob, 1), (eve, 1)] {
            until(PATIENCE_S, "the wallet's head is committed to", async || {
                let proof = proof(wallet).await;
                proof.is_success() && proof.json()["leaf"]["blockNumber"] == block
            })
            .await;
        }
        check_offline(&fleet, ann, &proof(ann).await.json()).await;
        until(PATIENCE_S, "the witness keeps the newest checkpoint", async || {
            let kept = fleet.ctl(&["ledger", "checkpoint", "list", "--cell", "cell-1"]).await;
            let newest = kept.as_array().and_then(|kept| kept.first().cloned()).unwrap_or(Value::Null);
            newest["number"] == proof(eve).await.json()["checkpoint"]["number"] && newest["signed"] == true
        })
        .await;
        assert_eq!(exit_code(&fleet, &["ledger", "verify"]).await, 0);
        assert_eq!(exit_code(&fleet, &["ledger", "checkpoint", "verify"]).await, 0);
        assert_eq!(findings(&fleet, ann).await, Vec::<Value>::new());

        // One byte of an old block.
        spoil(&store, ann, SPOILT_BLOCK).await;
        // A whole past, hashes and all: eve has a hundred times as much.
        let honest = store.blocks(eve, store::BlockRange { first: 0, last: 1, newest_first: false }, 2).await;
        let honest = honest.expect("sound");
        let (mut state, mut entries) = (honest[1].state.clone(), honest[1].entries.clone());
        state.balance = Money::from_minor(70_000);
        (entries[0].amount, entries[0].balance_after) = (state.balance, state.balance);
        let forged = chain::next(&honest[0].head(), state, entries, honest[1].at);
        let mut item = block_item(&store, eve, 1).await;
        item.insert("b".into(), AttributeValue::B(Blob::new(canonical::encode(&forged))));
        item.insert("h".into(), AttributeValue::B(Blob::new(forged.hash.0)));
        item.remove("p");
        assert_eq!(exit_code(&fleet, &["ledger", "verify", "--wallet", &eve.to_string()]).await, 0);
        put(&store, item).await;

        for (wallet, place) in [(ann, format!("block {SPOILT_BLOCK}")), (eve, "block 1".to_owned())] {
            until(PATIENCE_S, "the wallet is frozen and the finding is listed", async || {
                let found = findings(&fleet, wallet).await;
                found.iter().any(|finding| finding["place"] == place && finding["times"].as_u64() > Some(1))
            })
            .await;
            // By an instance that knows the wallet from before it was broken, and by one that has to load it.
            for instance in 0..2 {
                let refused = fleet.instance_client(1, instance).send(&Call::deposit(wallet, "1")).await;
                let code = refused.code();
                assert!(matches!(code.as_str(), "wallet_frozen" | "ledger_corrupt"), "{refused:?}");
            }
            client.send(&Call::show(wallet)).await.expect(200);
        }
        let newest = format!("/api/v1/wallets/{ann}/transactions?limit=1");
        let newest = client.send(&Call::get(newest)).await.expect(200).json();
        assert_eq!(newest["transactions"][0]["type"], "FROZEN");
        assert_eq!(newest["transactions"][0]["blockNumber"], DEPOSITS as u64 + 1, "it is frozen once");
        let found = findings(&fleet, eve).await;
        assert!(found.iter().any(|finding| finding["what"].as_str().is_some_and(|what| what.contains("committed"))));

        client.send(&Call::deposit(bob, "1")).await.expect(200);
        let all = fleet.ctl(&["ledger", "findings"]).await;
        let broken = [ann.to_string(), eve.to_string()];
        let about = |finding: &Value| finding["wallet"].as_str().is_some_and(|of| broken.iter().any(|id| id == of));
        assert!(all.as_array().expect("a list").iter().all(about), "nothing else is accused: {all}");
        assert_eq!(exit_code(&fleet, &["ledger", "verify", "--wallet", &bob.to_string()]).await, 0);
        assert_eq!(exit_code(&fleet, &["ledger", "verify", "--wallet", &ann.to_string()]).await, 6);
        assert_eq!(exit_code(&fleet, &["ledger", "verify", "--cell", "cell-1"]).await, 6);
        assert_eq!(exit_code(&fleet, &["ledger", "checkpoint", "verify", "--cell", "cell-1"]).await, 6);
        let breaks = metric(&fleet, "cell_integrity_breaks_total").await;
        assert!(breaks >= 2.0, "{breaks}");
        // Two instances, and each pass was one's alone.
        let last = job(&store).await["last"].clone();
        assert_eq!(last["workers"].as_array().map(Vec::len), Some(1), "{last}");
        assert_eq!(last["wallets"], 3, "{last}");
    })
    .await;
}

/// The next pass is an hour away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_block_that_was_changed_is_found_between_two_passes() {
    within(240, "the test", async {
        let environment = jobs_every_second(&[("CELL_INTEGRITY_SECONDS", "3600")]);
        let fleet = Fleet::of(Shape { cells: 1, instances: 2, environment, ..Shape::default() }).await;
        let (client, store) = (fleet.client(), fleet.store(1).await);
        until(PATIENCE_S, "the first pass is done", async || job(&store).await["last"]["pass"] == 1).await;
        let (ann, bob) = (client.create("ann").await, client.create("bob").await);
        for wallet in [ann, bob] {
            client.insist(&Call::deposit(wallet, "7").key("once")).await.expect(200);
            client.insist(&Call::deposit(wallet, "1").key("twice")).await.expect(200);
        }
        spoil(&store, ann, 1).await;
        until(NEW_FOUND_S, "the wallet is frozen and the finding is listed", async || {
            findings(&fleet, ann).await.iter().any(|finding| finding["place"] == "block 1")
        })
        .await;
        for instance in 0..2 {
            let refused = fleet.instance_client(1, instance).send(&Call::deposit(ann, "1")).await;
            assert!(matches!(refused.code().as_str(), "wallet_frozen" | "ledger_corrupt"), "{refused:?}");
        }
        assert_eq!(job(&store).await["last"]["pass"], 1, "no pass has found it");
        assert!(metric(&fleet, "cell_integrity_breaks_total").await >= 1.0);
        // Others are archived, served and not accused.
        client.send(&Call::deposit(bob, "1").key("later")).await.expect(200);
        until(PATIENCE_S, "the other wallet's newest block is archived and committed to", async || {
            let proof = client.send(&Call::get(format!("/api/v1/wallets/{bob}/proof"))).await;
            proof.is_success() && proof.json()["leaf"]["blockNumber"] == 3
        })
        .await;
        assert_eq!(findings(&fleet, bob).await, Vec::<Value>::new());
    })
    .await;
}

/// The sum over both instances.
async fn metric(fleet: &Fleet, name: &str) -> f64 {
    let mut sum = 0.0;
    for instance in 0..2 {
        let page = fleet.instance_client(1, instance).send(&Call::get("/metrics")).await.text;
        let values = page.lines().filter(|line| line.starts_with(name)).filter_map(|line| line.rsplit(' ').next());
        sum += values.filter_map(|value| value.parse::<f64>().ok()).sum::<f64>();
    }
    sum
}

/// As a customer does it: the proof, the cell's public key, and the wallet's own chain.
async fn check_offline(fleet: &Fleet, wallet: WalletId, proof: &Value) {
    let folder = fleet.config().parent().expect("a file is in a folder").to_owned();
    let chain = folder.join("chain.jsonl");
    let export = Command::new(crate::fleet::programs::program("ctl"))
        .arg("--data")
        .arg(&folder)
        .args(["ledger", "export", "--wallet", &wallet.to_string()])
        .output()
        .expect("ctl can be run");
    assert!(export.status.success(), "{}", String::from_utf8_lossy(&export.stderr));
    std::fs::write(&chain, &export.stdout).expect("the folder can be written");
    let verify = |proof: &Value| {
        let path = folder.join("proof.json");
        std::fs::write(&path, proof.to_string()).expect("the folder can be written");
        let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/verify-proof");
        let mut command = Command::new("python3");
        command.arg(script).arg("--key").arg(folder.join("keys/cell-1.pub")).arg("--chain").arg(&chain).arg(path);
        command.stdin(Stdio::null()).output().expect("python3 can be run")
    };
    let done = verify(proof);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    eprintln!("{}", String::from_utf8_lossy(&done.stdout).trim());
    for field in ["/checkpoint/bytes", "/checkpoint/signature", "/leaf/bytes"] {
        let mut forged = proof.clone();
        let text = forged.pointer(field).and_then(Value::as_str).expect("a text").to_owned();
        let last = if text.ends_with('0') { "1" } else { "0" };
        *forged.pointer_mut(field).expect("as above") = format!("{}{last}", &text[..text.len() - 1]).into();
        assert_eq!(verify(&forged).status.code(), Some(6), "{field}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pass_whose_process_is_killed_is_gone_on_with_by_the_next() {
    within(240, "the test", async {
        let environment = jobs_every_second(&[("CELL_INTEGRITY_ITEMS_PER_SECOND", "12")]);
        let fleet = Fleet::of(Shape { cells: 1, instances: 1, environment, ..Shape::default() }).await;
        let client = fleet.client();
        for number in 0..WALLETS {
            client.insist(&Call::create(&format!("user-{number}"))).await;
        }
        let store = fleet.store(1).await;
        // A pass that began after the last wallet was there.
        let begun = job(&store).await["pass"].as_u64().unwrap_or(0);
        until(PATIENCE_S, "a pass is in the middle", async || {
            let job = job(&store).await;
            job["pass"].as_u64() > Some(begun) && job["running"] == true && job["wallets"].as_u64() > Some(10)
        })
        .await;
        let pass = job(&store).await["pass"].clone();
        fleet.kill("cell-1-a").await;
        until(PATIENCE_S, "the pass is completed", async || job(&store).await["last"]["pass"] == pass).await;
        let last = job(&store).await["last"].clone();
        assert_eq!(last["workers"].as_array().map(Vec::len), Some(2), "{last}");
        assert_eq!(last["wallets"], WALLETS as u64, "none was passed over, none counted twice: {last}");
        assert_eq!(last["items"], WALLETS as u64, "{last}");
        assert_eq!(last["breaks"], 0, "{last}");
    })
    .await;
}
