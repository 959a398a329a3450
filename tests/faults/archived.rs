//! After its database was destroyed under load, a cell gets its chains back from its archive, up to the last segment. Each
//! payment that was confirmed and is lost is named.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use archive::Archive;
use ledger::{Block, EntryKind, Timestamp};
use serde_json::Value;
use store::{BlockRange, Chains, Homes};
use topology::{Bucket, CellId, WalletId};
use uuid::Uuid;

use super::recovery::{CELL, Fixture};
use crate::fleet::open_transfers::now;
use crate::fleet::{Call, Client, Fleet, until, within};

type AllChains = BTreeMap<WalletId, Vec<Block>>;

const ALL: BlockRange = BlockRange { first: 0, last: u64::MAX, newest_first: false };
const MOST_BLOCKS: usize = 10_000;
/// Blocks after which the cell's database is destroyed.
const PAID_BLOCKS: usize = 300;
/// Of confirmed payments, on a machine that is busy with other things.
const LOST_AT_MOST_S: f64 = 10.0;

/// What a cell's tables hold now.
async fn chains(fleet: &Fleet, cell: u16) -> AllChains {
    let store = fleet.store(cell).await;
    let members = store.members((Bucket(0), Bucket(u16::MAX)), None, MOST_BLOCKS).await.expect("answers");
    let mut chains = AllChains::new();
    for wallet in members {
        let mut blocks: Vec<Block> = Vec::new();
        loop {
            let first = blocks.last().map_or(0, |last| last.number + 1);
            let page = store.blocks(wallet, BlockRange { first, ..ALL }, MOST_BLOCKS).await.expect("answers");
            if page.is_empty() {
                break;
            }
            blocks.extend(page);
        }
        chains.insert(wallet, blocks);
    }
    chains
}

/// What the cell has archived of each chain, from its beginning.
async fn archived(fleet: &Fleet) -> AllChains {
    let url = format!("file://{}", fleet.data().join("archive").display());
    let archive = Archive::open_to_read(&url, CellId::parse(CELL).expect("sound")).expect("a folder");
    let newest = archive.newest(0).await.expect("answers").expect("something is archived");
    let mut reader = archive.reader(1..=newest.number);
    let mut found: BTreeMap<WalletId, BTreeMap<u64, Block>> = BTreeMap::new();
    while let Some(fetched) = reader.next().await.expect("answers") {
        for block in fetched.sound().expect("sound").segment.expect("fetched").blocks {
            found.entry(block.wallet).or_default().insert(block.number, block);
        }
    }
    let unbroken =
        |blocks: BTreeMap<u64, Block>| (0..).zip(blocks).map_while(|(n, (at, block))| (n == at).then_some(block));
    found.into_iter().map(|(wallet, blocks)| (wallet, unbroken(blocks).collect())).collect()
}

/// A payment of the cell's wallets that was confirmed to a client, and when.
struct Confirmed {
    id: Uuid,
    at: Timestamp,
}

/// Deposits and transfers until one is not confirmed: then the cell is dead.
async fn pay(client: Client, call: impl Fn(u64) -> Call) -> Vec<Confirmed> {
    let mut confirmed = Vec::new();
    for number in 0.. {
        let answer = client.send(&call(number)).await;
        if answer.status != 200 {
            break;
        }
        let (at, answer) = (now(), answer.json());
        let of = |name: &str| answer[name].as_str().and_then(|id| id.parse::<Uuid>().ok());
        let id = of("transferId").or_else(|| of("transactionId")).expect("it has an id");
        confirmed.push(Confirmed { id, at });
    }
    confirmed
}

/// What the books of both cells differ by without these blocks: a transfer of which the other cell has the end alone. A
/// credit that the other cell has not recorded as settled is sent again.
fn difference(lost: &[Block], others: &AllChains) -> i64 {
    let (mut arrived, mut settled) = (BTreeSet::new(), BTreeSet::new());
    for entry in others.values().flatten().flat_map(|block| &block.entries) {
        match entry.kind {
            EntryKind::TransferIn { .. } => drop(arrived.insert(entry.id)),
            EntryKind::TransferSettled { transfer } => drop(settled.insert(transfer)),
            _ => {}
        }
    }
    let minor = |entry: &ledger::Entry| i64::try_from(entry.amount.minor()).expect("small");
    let entries = lost.iter().flat_map(|block| &block.entries);
    entries
        .map(|entry| match entry.kind {
            EntryKind::TransferOut { .. } if arrived.contains(&entry.id) => minor(entry),
            EntryKind::TransferIn { .. } if settled.contains(&entry.id) => -minor(entry),
            _ => 0,
        })
        .sum()
}

/// Names each confirmed payment that is lost, and says how many seconds of them are.
fn report_lost(confirmed: &[Confirmed], lost: &[Block]) {
    let gone: BTreeMap<Uuid, (&Block, &ledger::Entry)> =
        lost.iter().flat_map(|block| block.entries.iter().map(move |entry| (entry.id, (block, entry)))).collect();
    let died = confirmed.iter().map(|one| one.at).max().expect("something was confirmed");
    let seconds = |at: Timestamp| (died.micros() - at.micros()) as f64 / 1e6;
    let mut oldest = 0.0_f64;
    let mut named = 0;
    for one in confirmed {
        let Some((block, entry)) = gone.get(&one.id) else { continue };
        (oldest, named) = (oldest.max(seconds(one.at)), named + 1);
        println!(
            "lost: {} {} of {} in block {} of {}, confirmed {:.3} s before the end",
            entry.kind.name(),
            one.id,
            entry.amount,
            block.number,
            block.wallet,
            seconds(one.at)
        );
    }
    println!("LOST: {oldest:.3} s of confirmed payments: {named} of {}", confirmed.len());
    assert!(oldest <= LOST_AT_MOST_S, "{oldest} s of confirmed payments are lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destroyed_cell_is_restored_from_its_archive() {
    within(240, "the test", async {
        let fixture = Fixture::start().await;
        let Fixture { fleet, client, ann, bob, ben, leaves, .. } = &fixture;
        let (ann, bob, ben) = (*ann, *bob, *ben);
        let spawn = |call: Box<dyn Fn(u64) -> Call + Send + Sync>| tokio::spawn(pay(fleet.client(), call));
        let paying = [
            spawn(Box::new(move |number| Call::deposit(bob, "0.02").key(format!("bob-{number}")))),
            spawn(Box::new(move |number| Call::deposit(ben, "0.03").key(format!("ben-{number}")))),
            spawn(Box::new(move |number| Call::transfer(bob, ann, "0.01").key(format!("away-{number}")))),
            spawn(Box::new(move |number| Call::transfer(ann, ben, "0.01").key(format!("here-{number}")))),
        ];
        until(30, "much was paid", async || chains(fleet, 2).await.values().map(Vec::len).sum::<usize>() > PAID_BLOCKS)
            .await;
        fleet.ctl(&["migrate", "--wallet", &leaves.to_string(), "--to", "cell-1", "--yes"]).await;
        // In the middle of it.
        let blocks = async || chains(fleet, 2).await.values().map(Vec::len).sum::<usize>();
        let moved = blocks().await;
        until(30, "more was paid", async || blocks().await > moved + PAID_BLOCKS).await;
        fleet.kill_for_good("cell-2-a").await;
        let mut confirmed = Vec::new();
        for one in paying {
            confirmed.extend(one.await.expect("it pays"));
        }
        let before = chains(fleet, 2).await;
        fleet.destroy(CELL).await;
        let archived = archived(fleet).await;

        let began = Instant::now();
        let words = ["--reason", "its database is gone", "cell", "restore", CELL, "--from", "archive"];
        let report = fleet.try_ctl(&words).await.expect("restored");
        println!("{report}\nrestored in {:?}", began.elapsed());
        assert_eq!(
            (&report["archive"]["damages"], &report["missing"]),
            (&Value::from(0), &Value::from(Vec::<Value>::new()))
        );
        let archived_at = archived.values().flatten().map(|block| block.at).max().expect("not empty");
        assert_eq!(report["archive"]["newestAt"], archived_at.to_string());

        // Block by block what was archived, but for the wallet that left.
        let after = chains(fleet, 2).await;
        for (wallet, blocks) in &archived {
            if wallet != leaves {
                assert_eq!(&after[wallet], blocks, "{wallet}");
            }
        }
        assert_eq!(after[leaves].len(), 1, "the block by which it left");
        // Each confirmed payment is there, or comes after what was archived.
        let lost: Vec<Block> = before
            .iter()
            .filter(|(wallet, _)| *wallet != leaves)
            .flat_map(|(wallet, blocks)| blocks[archived.get(wallet).map_or(0, Vec::len)..].to_vec())
            .collect();
        let ids = |blocks: &mut dyn Iterator<Item = &Block>| -> BTreeSet<Uuid> {
            blocks.flat_map(|block| &block.entries).map(|entry| entry.id).collect()
        };
        let (there, gone) = (ids(&mut after.values().flatten()), ids(&mut lost.iter()));
        assert!(confirmed.iter().all(|one| there.contains(&one.id) != gone.contains(&one.id)));
        report_lost(&confirmed, &lost);
        // What the other cell recorded before this one serves again.
        let others = chains(fleet, 1).await;

        fleet.restart("cell-2-a").await;
        fleet.until_all_ready(&[]).await;
        let verified = fleet.ctl(&["ledger", "verify"]).await;
        assert_eq!(verified["breaks"], Value::from(Vec::<Value>::new()), "{verified}");
        let replayed = client.insist(&Call::deposit(bob, "0.02").key("bob-0")).await;
        assert!(replayed.is_replay(), "its keys are there");
        client.insist(&Call::deposit(ben, "1").key("after")).await.expect(200);
        let expected = difference(&lost, &others);
        until(60, "the books differ by exactly what was lost", async || {
            let text = match fleet.try_ctl(&["audit", "conservation"]).await {
                Ok(books) => books.to_string(),
                Err(said) => said.split_once('{').map(|(_, rest)| format!("{{{rest}")).unwrap_or_default(),
            };
            let books = serde_json::Deserializer::from_str(&text).into_iter::<Value>().next();
            books.and_then(Result::ok).is_some_and(|books| books["difference"] == expected)
        })
        .await;
    })
    .await;
}
