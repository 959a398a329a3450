//! The two customers of the brochure: money goes in, across and out, and the past stays readable.

use std::path::Path;
use std::process::{Command, Stdio};

use ledger::Timestamp;
use topology::WalletId;

use crate::fleet::books::{Books, Moment};
use crate::fleet::{Answer, Call, Client, Fleet, programs, within};

/// The balance at a moment that many microseconds from when `answer` says that it happened.
async fn balance_at(client: &Client, wallet: WalletId, answer: &Answer, offset_micros: i64) -> String {
    let at = Timestamp::parse(&answer.string("updatedAt")).expect("a time").plus_micros(offset_micros);
    let path = format!("/api/v1/wallets/{wallet}/balance/historical?timestamp={at}");
    client.send(&Call::get(path)).await.expect(200).raw("balance")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn money_crosses_cells_and_past_balances_can_be_read() {
    within(60, "the test", async {
        let fleet = Fleet::start(2, 1).await;
        let client = fleet.client();
        let ann = client.create(&fleet.users_in(1, 1).await[0]).await;
        let bob = client.create(&fleet.users_in(2, 1).await[0]).await;
        assert_eq!(client.balance(ann).await, "0.00");

        let step = async |call: Call| client.send(&call.key(uuid::Uuid::new_v4().to_string())).await.expect(200);
        let opened = client.send(&Call::show(ann)).await;
        let first = step(Call::deposit(ann, "500")).await;
        let second = step(Call::deposit(bob, "300.00")).await;
        let moved = step(Call::transfer(ann, bob, "150")).await;
        assert_eq!(moved.string("status"), "SETTLED");
        let received = client.send(&Call::show(bob)).await;
        let last = step(Call::withdraw(bob, "100")).await;
        assert_eq!((first.raw("balance"), second.raw("balance")), ("500.00".into(), "300.00".into()));
        assert_eq!((client.balance(ann).await, client.balance(bob).await), ("350.00".into(), "350.00".into()));

        let left = client.send(&Call::get(format!("/api/v1/wallets/{ann}/transactions"))).await.expect(200).json();
        let left =
            left["transactions"].as_array().and_then(|lines| lines.iter().find(|line| line["type"] == "TRANSFER_OUT"));
        let left = left.expect("the transfer is in the history")["timestamp"].as_str().expect("a time").to_owned();
        let left = Answer { text: format!(r#"{{"updatedAt":"{left}"}}"#), ..moved.clone() };
        for (wallet, answer, before, after) in [
            (ann, &opened, "0.00", "0.00"),
            (ann, &first, "0.00", "500.00"),
            (ann, &left, "500.00", "350.00"),
            (bob, &second, "0.00", "300.00"),
            (bob, &received, "300.00", "450.00"),
            (bob, &last, "450.00", "350.00"),
        ] {
            assert_eq!(balance_at(&client, wallet, answer, -1).await, before, "before {answer:?}");
            assert_eq!(balance_at(&client, wallet, answer, 0).await, after, "after {answer:?}");
        }
        let totals = Books::read(&fleet).await.audit(Moment::Still);
        assert_eq!((totals.deposits, totals.withdrawals, totals.in_flight), (80_000, 10_000, 0));
        for (cell, wallet) in [(1, ann), (2, bob)] {
            verify_elsewhere(&fleet, cell, wallet);
        }
    })
    .await;
}

/// The chain as it is exported, verified by the program that shares no line with the service.
fn verify_elsewhere(fleet: &Fleet, cell: u16, wallet: WalletId) {
    let verifier = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/verify-chain");
    if !verifier.is_file() || Command::new("python3").arg("--version").output().is_err() {
        return eprintln!("SKIPPED: scripts/verify-chain or python3 is missing");
    }
    let endpoint = fleet.ports.cell_db(cell);
    let mut export = Command::new(programs::program("cell"))
        .args(["ledger", "export", "--wallet", &wallet.to_string(), "--table-prefix", &format!("cell-{cell}-")])
        .args(["--dynamodb-endpoint", &endpoint])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the cell's program can be run");
    let chain = export.stdout.take().expect("a pipe");
    let verified = Command::new(verifier).stdin(chain).output().expect("it can be run");
    assert!(export.wait().expect("a child of this process").success());
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    eprint!("{}", String::from_utf8_lossy(&verified.stdout));
}
