//! A cell gets its chains back from its archive: over real tables, without the cells' processes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use archive::{Archive, Draft, Segment};
use control_api::restore::{FromArchive, Refilled, RestoreChain};
use ledger::{Block, Entry, EntryKind, Key, Money, Owner, WalletKey, canonical, chain};
use mover::wall_clock;
use restoration::around::Around;
use restoration::refill::Refill;
use store::Owners;
use store::memory::{Fate, FaultPlan, MemoryStore};
use topology::restoring::Restoring;
use topology::{Bucket, UserId, WalletId};
use uuid::Uuid;

use super::cell::NAMESPACE;
use super::fixture::{Plane, because, cell_id, code};
use super::moves::{deposited, done, opened};
use super::restore::{archived_at, begin, blocks, finish, lose_tables, to};
use crate::error::Result;
use crate::restore;
use crate::service::ControlPlane;

/// A folder for the archives, which ends with the test.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("{name}-{}", Uuid::new_v4()));
        std::fs::create_dir_all(&path).expect("made");
        Self(path)
    }

    pub(super) fn url(&self) -> String {
        format!("file://{}", self.0.display())
    }

    pub(super) fn archive(&self) -> Archive {
        Archive::open(&self.url(), cell_id(1)).expect("a folder")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(super) fn owner() -> Owner {
    Owner { user: UserId::parse("ada").expect("sound"), key: WalletKey::from_bytes([3; 32]) }
}

pub(super) async fn archive(archive: &Archive, parts: &[Vec<Block>]) {
    let mut last = archive.newest(0).await.expect("answers");
    for blocks in parts {
        let draft = Draft { segment: Segment { blocks: blocks.clone() }, at: wall_clock(), position: String::new() };
        last = archive.append(last.as_ref(), &draft).await.expect("answers");
        assert!(last.is_some());
    }
}

pub(super) async fn refilled(plane: &Plane) -> Result<Refilled> {
    let control = &plane.control;
    loop {
        let wanted = FromArchive { because: because() };
        let page = control.refills.go_on(&control.operations, &cell_id(1), &wanted).await?;
        if page.done {
            return Ok(page);
        }
    }
}

#[tokio::test]
async fn a_cell_gets_back_what_its_archive_holds() {
    let folder = Folder::new("archived");
    let (fixture, plane) = archived_at(Some(folder.url())).await;
    let (_, stays) = opened(&plane, 0..0x100).await;
    let (_, leaves) = opened(&plane, 0x100..0x200).await;
    let (_, cut) = opened(&plane, 0x200..0x300).await;
    for wallet in [stays, cut, cut, cut] {
        deposited(&plane, 1, wallet).await;
    }
    let archived = folder.archive();
    archived.put_owner(stays, &owner()).await.expect("put");
    let [of_stays, of_leaves, of_cut] =
        [blocks(&plane, 1, stays).await, blocks(&plane, 1, leaves).await, blocks(&plane, 1, cut).await];
    let parts = [of_stays.clone(), of_cut[..2].to_vec(), of_cut[2..3].to_vec(), of_cut[3..].to_vec(), of_leaves];
    archive(&archived, &parts).await;
    // What comes later is in no segment.
    deposited(&plane, 1, stays).await;
    done(&plane, to(leaves, 2)).await;
    lose_tables(&fixture, 1).await;
    let third = archived.entry(3).await.expect("answers").expect("archived");
    std::fs::remove_file(folder.0.join(format!("cell-1/segments/{}", third.segment))).expect("removed");

    assert_eq!(code(refilled(&plane).await), "no_restore");
    restore::begin(&plane.control.operations, &plane.control.refills, &cell_id(1), &begin(false)).await.expect("begun");
    let page = refilled(&plane).await.expect("refilled");
    assert_eq!((page.wallets, page.elsewhere, page.entries, page.damages), (2, 1, 5, 1), "{page:?}");
    assert_eq!(page.damaged[0].segment.as_ref().map(|lost| lost.blocks), Some(1));
    assert_eq!(page.missing.iter().map(|missing| missing.wallet).collect::<Vec<_>>(), [cut]);
    finish(&plane).await;
    let store = plane.control.fleet.side(&cell_id(1)).await.expect("registered").store;
    assert_eq!(blocks(&plane, 1, stays).await, of_stays);
    assert_eq!(store.owner(stays).await, Ok(Some(owner())));
    let numbers = |blocks: Vec<Block>| blocks.iter().map(|block| block.number).collect::<Vec<_>>();
    assert_eq!(numbers(blocks(&plane, 1, cut).await), [0, 1, 3], "the newest one alone, above the hole");
    assert_eq!(numbers(blocks(&plane, 1, leaves).await), [1], "the block by which it left");
    // The cell takes a further restore while a wallet is not whole.
    restore::begin(&plane.control.operations, &plane.control.refills, &cell_id(1), &begin(false))
        .await
        .expect("begun again");
}

#[tokio::test]
async fn a_cell_is_not_whole_while_its_archive_is_half_read() {
    let folder = Folder::new("half-read");
    let (fixture, plane) = archived_at(Some(folder.url())).await;
    let (_, wallet) = opened(&plane, 0..0x100).await;
    archive(&folder.archive(), &[blocks(&plane, 1, wallet).await]).await;
    lose_tables(&fixture, 1).await;
    let begun = restore::begin(&plane.control.operations, &plane.control.refills, &cell_id(1), &begin(false))
        .await
        .expect("begun");
    let store = plane.control.fleet.side(&cell_id(1)).await.expect("registered").store;
    let _half = restoration::refill::Refill::resume(folder.archive(), &store, &begun).await.expect("read");
    let wanted = control_api::restore::FinishRestore { from: None, because: because() };
    let ControlPlane { operations, refills, witness, .. } = &*plane.control;
    let ended = restore::finish(operations, refills, witness, &cell_id(1), &wanted).await;
    assert_eq!(code(ended.map(|_| ())), "half_read");
    refilled(&plane).await.expect("refilled");
    finish(&plane).await;

    let (_fixture, plane) = archived_at(None).await;
    assert_eq!(code(refilled(&plane).await), "no_archive");
}

const WALLETS: u32 = 400;
const BLOCKS: u64 = 50;
/// Milliseconds that `scripts/measure/transfer-latency` adds too, and 5 to each read.
const AS_DYNAMODB: &str = r#"{"latency_ms":5,"latency_ms_by_operation":{"PutItem":7,"TransactWriteItems":25}}"#;

/// Chains of wallets in the cell's buckets, each block with a key.
fn chains() -> Vec<Vec<Block>> {
    let wallets =
        (0..).map(|number| WalletId::for_user(NAMESPACE, &UserId::parse(format!("user-{number}")).expect("sound")));
    let ours = wallets.filter(|wallet| wallet.bucket() < Bucket(0x8000)).take(WALLETS as usize);
    ours.map(|wallet| {
        let entry = Entry::new(wallet.as_uuid(), EntryKind::Opened, Money::ZERO, Money::ZERO);
        let mut blocks = vec![chain::open(wallet, cell_id(1), wall_clock(), entry, None)];
        for number in 1..BLOCKS {
            let last = blocks.last().expect("not empty");
            let mut state = last.state.clone();
            state.balance = Money::from_minor(number);
            let key = Key { key: *Uuid::new_v4().as_bytes(), request: [1; 16] };
            let entry = Entry::new(Uuid::new_v4(), EntryKind::Deposit, Money::from_minor(1), state.balance);
            blocks.push(chain::next(&last.head(), state, vec![Entry { key: Some(key), ..entry }], wall_clock()));
        }
        blocks
    })
    .collect()
}

/// Prints how fast a cell is restored chain by chain as from a file, and from its archive. Run it with `--ignored`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn how_fast_a_cell_is_restored() {
    let folder = Folder::new("measured");
    let (fixture, plane) = archived_at(Some(folder.url())).await;
    let chains = chains();
    let in_order: Vec<Block> =
        (0..BLOCKS as usize).flat_map(|number| chains.iter().map(move |chain| chain[number].clone())).collect();
    archive(&folder.archive(), &in_order.chunks(1_000).map(<[Block]>::to_vec).collect::<Vec<_>>()).await;
    let count = in_order.len() as f64;
    let endpoint = fixture.cells[0].dynamodb.endpoint.as_deref().expect("given");
    let slow_down = async |plan: &'static str| {
        let put = reqwest::Client::new().put(format!("{endpoint}/_faults")).body(plan).send().await;
        assert!(put.expect("answers").status().is_success());
    };
    for (how, plan) in [("as fast as it is", "{}"), ("as slow as DynamoDB", AS_DYNAMODB)] {
        let mut rates = Vec::new();
        for archived in [false, true] {
            lose_tables(&fixture, 1).await;
            restore::begin(&plane.control.operations, &plane.control.refills, &cell_id(1), &begin(false))
                .await
                .expect("begun");
            slow_down(plan).await;
            let began = Instant::now();
            if archived {
                refilled(&plane).await.expect("refilled");
            } else {
                from_file(&plane, &chains).await;
            }
            rates.push(count / began.elapsed().as_secs_f64());
            slow_down("{}").await;
            finish(&plane).await;
        }
        let [file, archive] = rates[..] else { unreachable!("two ways") };
        println!(
            "a database {how}: {file:.0} blocks/s from a file, {archive:.0} from the archive, ratio {:.1}",
            archive / file
        );
    }
}

/// As slow as DynamoDB, and as little work for the processors here.
struct Elsewhere;

impl FaultPlan for Elsewhere {
    fn next(&self, write: bool) -> Fate {
        Fate { before: Duration::from_millis(if write { 7 } else { 5 }), ..Fate::default() }
    }
}

/// Prints the same for tables that are on other machines: all that they would do is left out. 16 blocks of a file that are
/// written at once cost what one does; DynamoDB takes longer for them. Run it with `--ignored`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn how_fast_tables_elsewhere_are_restored() {
    let folder = Folder::new("measured");
    let (_fixture, plane) = archived_at(Some(folder.url())).await;
    let chains = chains();
    let in_order: Vec<Block> =
        (0..BLOCKS as usize).flat_map(|number| chains.iter().map(move |chain| chain[number].clone())).collect();
    archive(&folder.archive(), &in_order.chunks(1_000).map(<[Block]>::to_vec).collect::<Vec<_>>()).await;
    let known = plane.control.fleet.placements.refresh().await.expect("answers").expect("there");
    let entry = known.placement.cell_named(&cell_id(1)).expect("registered");
    let mut rates = Vec::new();
    for archived in [false, true] {
        let store = MemoryStore::new(store::Genesis::of([])).with_faults(Arc::new(Elsewhere));
        let around = Around { placement: &known.placement, entry, store: &store, others: &[], clock: &wall_clock };
        let began = Instant::now();
        if archived {
            let restoring = serde_json::json!({ "done": false, "since": "now", "actor": "", "reason": "" });
            let restoring: Restoring = serde_json::from_value(restoring).expect("sound");
            let mut refill = Refill::resume(folder.archive(), &store, &restoring).await.expect("read");
            refill.run(&around, tokio::time::Instant::now() + Duration::from_secs(600)).await.expect("refilled");
        } else {
            for chain in &chains {
                restoration::chains::put(&store, chain[0].wallet, chain).await.expect("written");
            }
        }
        assert_eq!(store.chains().values().map(Vec::len).sum::<usize>(), in_order.len());
        rates.push(in_order.len() as f64 / began.elapsed().as_secs_f64());
    }
    let [file, archive] = rates[..] else { unreachable!("two ways") };
    let ratio = archive / file;
    println!("tables elsewhere: {file:.0} blocks/s from a file, {archive:.0} from the archive, ratio {ratio:.1}");
}

/// Chain by chain, as `ctl` sends them.
async fn from_file(plane: &Plane, chains: &[Vec<Block>]) {
    for chain in chains {
        let blocks = chain.iter().map(canonical::to_text).collect();
        let wanted = RestoreChain { wallet: chain[0].wallet, owner: None, blocks };
        restore::take(&plane.control.fleet, &cell_id(1), &wanted).await.expect("taken");
    }
}
