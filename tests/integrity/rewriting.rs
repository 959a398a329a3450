//! An attacker that can write to all of a cell's tables rewrites a wallet's past, and with it every
//! hash, row and snapshot, so that the wallet itself is without fault. What was signed reveals it.

use ledger::checkpoint::{Leaf, SigningKey};
use ledger::{EntryKind, Money};
use store::log::{Audit, Witnessed};
use store::{CellRow, CellRows};
use topology::WalletId;
use uuid::Uuid;

use super::database::Database;
use super::ledgers::{Ledgers, breaks_of, log};
use super::{Chain, START};
use crate::fleet::within;

const VICTIM: &str = "long";

/// Replaces the wallet's chain with one in which an early deposit was a hundred times as much, and every row with it.
async fn rewrite(database: &Database, ledgers: &mut Ledgers) -> WalletId {
    let mut forged = Chain::new(VICTIM);
    let wallet = forged.wallet();
    let honest = &ledgers.chains[&wallet];
    for (index, block) in honest.blocks.iter().enumerate().skip(1) {
        let amount = |entry: &ledger::Entry| entry.amount.minor() * if index == 3 { 100 } else { 1 };
        let again = block.entries.iter().map(|entry| (EntryKind::Deposit, amount(entry), Some(entry.id)));
        forged.push(again.collect());
    }
    let earned = forged.blocks.last().expect("block 0").state.balance;
    assert!(earned > honest.blocks.last().expect("block 0").state.balance && earned > Money::ZERO);
    for table in ["ledger", "snapshots"] {
        for item in database.items(table).await {
            if item["w"].as_s().is_ok_and(|owner| *owner == wallet.to_string()) {
                database.delete(table, &item).await;
            }
        }
    }
    forged.store(&database.store).await;
    ledgers.chains.insert(wallet, forged);
    wallet
}

/// Removes the cell's log whole.
async fn burn_the_log(database: &Database) {
    for item in database.items("snapshots").await {
        if item["w"].as_s().is_ok_and(|owner| owner.starts_with("cell#")) {
            database.delete("snapshots", &item).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rewritten_past_differs_from_what_was_signed() {
    within(120, "the test", async {
        let database = Database::start().await;
        let mut ledgers = Ledgers::write(&database.store).await;
        let newest = log(&database.store).newest().await.expect("sound").expect("two were signed");
        let witnessed: Witnessed = [(newest.signed.checkpoint.number, newest.signed.clone())].into();
        let wallet = rewrite(&database, &mut ledgers).await;

        // The wallet alone looks flawless …
        assert_eq!(breaks_of(&database.store, wallet, &Audit::default()).await, []);
        // … but is not what the cell committed to.
        let audit = ledgers.audit(&database.store, &witnessed).await;
        assert_eq!(audit.breaks, []);
        let breaks = breaks_of(&database.store, wallet, &audit).await;
        assert!(breaks.iter().any(|found| found.what.contains("committed")), "{breaks:?}");
        let others = ledgers.chains.keys().filter(|other| **other != wallet);
        for other in others {
            assert_eq!(breaks_of(&database.store, *other, &audit).await, [], "{other}");
        }

        // So the attacker writes the log again, with a key of its own: the signatures reveal it.
        burn_the_log(&database).await;
        let (honest, forger) =
            (ledgers.key, SigningKey::from_pem(&SigningKey::generate().expect("random")).expect("own"));
        ledgers.key = forger;
        ledgers.checkpoint(&database.store, 9).await;
        ledgers.key = honest;
        let audit = ledgers.audit(&database.store, &Witnessed::new()).await;
        assert!(audit.breaks.iter().any(|found| found.what.contains("key")), "{:?}", audit.breaks);

        // Even with the cell's own key: the witness was shown something else.
        burn_the_log(&database).await;
        ledgers.checkpoint(&database.store, 10).await;
        assert_eq!(ledgers.audit(&database.store, &Witnessed::new()).await.breaks, [], "nothing else could tell");
        let audit = ledgers.audit(&database.store, &witnessed).await;
        assert!(audit.breaks.iter().any(|found| found.what.contains("witness")), "{:?}", audit.breaks);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_signed_over_a_log_that_was_changed() {
    within(120, "the test", async {
        let database = Database::start().await;
        let ledgers = Ledgers::write(&database.store).await;
        let log = log(&database.store);
        let newest = log.newest().await.expect("sound").expect("two were signed");
        let leaf =
            |number| Leaf { block: number, ..Leaf::of(0, &ledgers.chains.values().next().expect("many").blocks[0]) };
        let other = SigningKey::from_pem(&SigningKey::generate().expect("random")).expect("own");
        let signed = log.append(Some(&newest), &[leaf(1)], &other, START, Uuid::from_u128(1)).await;
        assert!(signed.is_err(), "the last one was signed with another key");

        let mut edged = newest.clone();
        edged.edge.push(leaf(7).tree_hash());
        let signed = log.append(Some(&edged), &[leaf(1)], &ledgers.key, START, Uuid::from_u128(2)).await;
        assert!(signed.is_err(), "the edge is not the tree's");

        // A tile that was changed breaks the proof that the tree only grows, or none that needs it: then it is found by
        // the audit. Here the first 256 leaves are one.
        let tile = database.store.cell_row("tiles", "0#00000000000000000000").await.expect("answers").expect("is full");
        let spoilt = CellRow { version: 2, bytes: tile.bytes.iter().map(|byte| byte ^ 1).collect() };
        assert_eq!(database.store.put_cell_row("tiles", "0#00000000000000000000", Some(1), &spoilt).await, Ok(true));
        let audit = ledgers.audit(&database.store, &Witnessed::new()).await;
        assert!(audit.breaks.iter().any(|found| found.what.contains("tile")), "{:?}", audit.breaks);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_signers_at_once_one_wins_and_the_other_has_no_leaves() {
    within(120, "the test", async {
        let database = Database::start().await;
        let ledgers = Ledgers::write(&database.store).await;
        let log = log(&database.store);
        let newest = log.newest().await.expect("sound").expect("two were signed");
        let chain = ledgers.chains.values().next().expect("many");
        let mut grown = chain.clone();
        grown.deposits(1, 1);
        let leaf = Leaf::of(0, grown.blocks.last().expect("just made"));
        let sign = |batch| log.append(Some(&newest), std::slice::from_ref(&leaf), &ledgers.key, START, batch);
        let (one, two) = tokio::join!(sign(Uuid::from_u128(31)), sign(Uuid::from_u128(32)));
        let won: Vec<_> = [one, two].into_iter().map(|signed| signed.expect("a sound log")).collect();
        assert_eq!(won.iter().filter(|entry| entry.is_some()).count(), 1, "{won:?}");
        let audit = ledgers.audit(&database.store, &Witnessed::new()).await;
        assert_eq!((audit.breaks, audit.checkpoints), (vec![], 3));
        // The winner died before the rest was recorded: another does it.
        let winner = log.newest().await.expect("sound").expect("three were signed");
        log.finish(&winner).await.expect("it answers");
        let proof = log.prove(leaf.wallet).await.expect("sound").expect("committed to");
        assert_eq!(proof.leaf, leaf);
    })
    .await;
}
