//! `ctl load` asks a secure fleet as a program does, of the cells that were named, and judges what it gets.

use serde_json::Value;
use topology::WalletId;

use super::support::Secure;
use crate::fleet::within;

/// Objectives that any machine keeps, or none.
fn objectives(p50_ms: u32) -> String {
    let latency = |class| format!("[latency.{class}]\np50_ms = {p50_ms}\np90_ms = 30000\np99_ms = 30000\n");
    let classes = ["movement", "transfers", "accounts", "reads", "history"].map(latency).concat();
    format!("[availability]\ngood_percent = 1.0\nwindow_days = 30\n{classes}")
}

/// The wallets of a journal.
fn wallets(journal: &str) -> Vec<WalletId> {
    let line = |line: &str| serde_json::from_str::<Value>(line).expect("JSON");
    let wallets = journal.lines().map(line).filter_map(|line| line["wallet"].as_str()?.parse().ok());
    wallets.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_runs_on_a_secure_fleet_and_keeps_to_its_cells() {
    within(90, "the test", async {
        use store::Chains;
        let secure = Secure::start(2).await;
        let (fleet, data) = (&secure.fleet, secure.fleet.data());
        let (journal, slo) = (data.join("journal"), data.join("slo.toml"));
        let (journal, slo) = (journal.to_str().expect("text"), slo.to_str().expect("text"));
        let load = ["load", "--rate", "80", "--duration", "4s", "--wallets", "10", "--cells", "cell-2"];
        let load = [&load[..], &["--mix", "deposits:50,reads:50", "--journal", journal, "--slo", slo]].concat();
        std::fs::write(slo, objectives(30_000)).expect("written");
        let summary = fleet.ctl(&load).await;
        assert!(summary["all"]["ok"].as_u64() > Some(200), "{summary}");
        assert!(summary["objectives"].as_array().is_some_and(|all| all.len() == 7), "{summary}");
        let wallets = wallets(&std::fs::read_to_string(journal).expect("a journal"));
        assert_eq!(wallets.len(), 10, "{wallets:?}");
        let (first, second) = (fleet.store(1).await, fleet.store(2).await);
        for wallet in wallets {
            assert!(second.head(wallet).await.expect("it answers").is_some(), "{wallet} is in its cell");
            assert!(first.head(wallet).await.expect("it answers").is_none(), "{wallet} is in no other");
        }

        std::fs::write(slo, objectives(0)).expect("written");
        let said = fleet.try_ctl(&load).await.expect_err("no answer takes no time");
        assert!(said.contains("exit status: 6"), "{said}");
        let elsewhere = ["load", "--duration", "1s", "--router", "https://wallet.example"];
        let said = fleet.try_ctl(&elsewhere).await.expect_err("not without a bound");
        assert!(said.contains("--most-customers") && said.contains("exit status: 4"), "{said}");
        let few = ["load", "--wallets", "10", "--most-customers", "5"];
        assert!(fleet.try_ctl(&few).await.expect_err("too many").contains("exit status: 2"));
    })
    .await;
}
