//! A cell gets its chains back while other cells hold newer parts of them: over real tables, without the cells' processes.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use control_api::restore::{BeginRestore, FinishRestore, FinishedPage, RestoreChain, RestoredChain};
use control_api::{Scope, Wanted};
use ledger::{Append, Block, Guard, canonical, moving};
use mover::{Buckets, Group, Stand};
use store::dynamodb::Identity;
use store::{BlockRange, Chains, HomeKey, HomeState, Homes};
use topology::{Bucket, WalletId};

use super::fixture::{Fixture, Plane, because, cell_id, code};
use super::moves::{buckets, deposited, done, opened};
use crate::restore;
use crate::service::ControlPlane;

const ALL: BlockRange = BlockRange { first: 0, last: u64::MAX, newest_first: false };

/// Two cells; no process of the first one answers.
async fn fixture() -> (Fixture, Plane) {
    archived_at(None).await
}

/// The same, with archives below this URL.
pub(super) async fn archived_at(url: Option<String>) -> (Fixture, Plane) {
    let mut fixture = Fixture { archive: url, ..Fixture::new(2).await };
    fixture.cells[0].instances[0].address = "127.0.0.1:9".into();
    let plane = fixture.plane().await;
    crate::lifecycle::bootstrap::bootstrap(&plane.control.fleet, &fixture.request()).await.expect("published");
    (fixture, plane)
}

pub(super) async fn blocks(plane: &Plane, cell: usize, wallet: WalletId) -> Vec<Block> {
    let side = plane.control.fleet.side(&cell_id(cell)).await.expect("registered");
    side.store.blocks(wallet, ALL, 256).await.expect("answers")
}

pub(super) fn to(wallet: WalletId, cell: usize) -> Wanted {
    Wanted::Migrate { scope: Scope::Wallet(wallet), to: cell_id(cell) }
}

/// A cell's tables are gone; there are empty ones.
pub(super) async fn lose_tables(fixture: &Fixture, number: usize) {
    let cell = &fixture.stand_ins[number - 1];
    for name in tables(fixture, number) {
        cell.client.delete_table().table_name(name).send().await.expect("deleted");
    }
    store::dynamodb::create_tables(&cell.client, &cell.prefix).await.expect("created");
}

fn tables(fixture: &Fixture, number: usize) -> [String; 4] {
    store::dynamodb::TABLES.map(|table| format!("{}{table}", fixture.stand_ins[number - 1].prefix))
}

type Items = Vec<HashMap<String, AttributeValue>>;

/// What the first cell's tables hold now.
async fn remember(fixture: &Fixture) -> Vec<(String, Items)> {
    let mut all = vec![];
    for name in tables(fixture, 1) {
        let scan = fixture.stand_ins[0].client.scan().table_name(&name).send().await.expect("answers");
        assert!(scan.last_evaluated_key.is_none(), "one page");
        all.push((name, scan.items.unwrap_or_default()));
    }
    all
}

/// As point-in-time recovery does it: new tables that hold what the old ones held then.
async fn rewind(fixture: &Fixture, then: Vec<(String, Items)>) {
    lose_tables(fixture, 1).await;
    for (name, items) in then {
        for item in items {
            let put = fixture.stand_ins[0].client.put_item().table_name(&name).set_item(Some(item));
            put.send().await.expect("written");
        }
    }
}

pub(super) fn begin(in_place: bool) -> BeginRestore {
    BeginRestore { in_place, because: because() }
}

async fn take(plane: &Plane, blocks: &[Block]) -> RestoredChain {
    let text = blocks.iter().map(canonical::to_text).collect();
    let wanted = RestoreChain { wallet: blocks[0].wallet, owner: None, blocks: text };
    restore::take(&plane.control.fleet, &cell_id(1), &wanted).await.expect("answered")
}

pub(super) async fn finish(plane: &Plane) -> FinishedPage {
    finish_cell(plane, 1).await
}

async fn finish_cell(plane: &Plane, number: usize) -> FinishedPage {
    let wanted = FinishRestore { from: None, because: because() };
    let ControlPlane { operations, refills, witness, .. } = &*plane.control;
    let page = restore::finish(operations, refills, witness, &cell_id(number), &wanted).await.expect("finished");
    assert_eq!(page.next, None);
    page
}

fn numbers(blocks: &[Block]) -> Vec<u64> {
    blocks.iter().map(|block| block.number).collect()
}

#[tokio::test]
async fn a_restored_cell_has_tombstones_of_those_who_left_it() {
    let (fixture, plane) = fixture().await;
    let (_, unknown) = opened(&plane, 0..0x100).await;
    let (_, exported) = opened(&plane, 0x100..0x200).await;
    let export = blocks(&plane, 1, exported).await;
    for wallet in [unknown, exported] {
        done(&plane, to(wallet, 2)).await;
        deposited(&plane, 2, wallet).await;
    }
    lose_tables(&fixture, 1).await;
    restore::begin(&plane.control.operations, &plane.control.refills, &cell_id(1), &begin(false)).await.expect("begun");
    assert_eq!(take(&plane, &export).await, RestoredChain::Elsewhere { cell: cell_id(2) });
    finish(&plane).await;
    let store = plane.control.fleet.side(&cell_id(1)).await.expect("registered").store;
    for wallet in [unknown, exported] {
        let left = store.head(wallet).await.expect("answers").expect("a tombstone");
        assert!(moving::is_tombstone(&cell_id(1), &left), "{left:?}");
        let row = store.home(HomeKey::Wallet(wallet)).await.expect("answers").expect("a row");
        assert_eq!(row.state, HomeState::Moved { to: cell_id(2) });
        // Home again, and whole.
        done(&plane, to(wallet, 1)).await;
        assert_eq!(numbers(&blocks(&plane, 1, wallet).await), [0, 1, 2, 3]);
    }
}

#[tokio::test]
async fn a_wallet_that_came_and_left_is_not_served_again() {
    let mut fixture = Fixture::new(3).await;
    fixture.cells[2].instances[0].address = "127.0.0.1:9".into();
    let plane = fixture.plane().await;
    crate::lifecycle::bootstrap::bootstrap(&plane.control.fleet, &fixture.request()).await.expect("published");
    let (_, wallet) = opened(&plane, 0..0x100).await;
    // The second cell remembers that it sent the wallet to the third one; the first one has it by
    // now.
    for cell in [2, 3, 1] {
        done(&plane, to(wallet, cell)).await;
    }
    lose_tables(&fixture, 3).await;
    restore::begin(&plane.control.operations, &plane.control.refills, &cell_id(3), &begin(false)).await.expect("begun");
    let page = finish_cell(&plane, 3).await;
    assert_eq!((page.completed, page.missing), (vec![], vec![]));
    let held =
        plane.control.fleet.side(&cell_id(3)).await.expect("registered").store.head(wallet).await.expect("answers");
    // It left by block 3, and cannot be taken for a beginning.
    assert_eq!(held.map(|block| (block.number, block.home)), Some((3, cell_id(1))));
    // It may come back.
    done(&plane, to(wallet, 3)).await;
    assert_eq!(numbers(&blocks(&plane, 3, wallet).await), [0, 1, 2, 3, 4]);
}

#[tokio::test]
async fn a_bucket_that_was_handed_over_unpublished_stays_there() {
    let (fixture, plane) = fixture().await;
    let group = Group { first: Bucket(8), last: Bucket(8) };
    let [first, second] = [1, 2].map(cell_id);
    let (from, to) = (plane.control.fleet.side(&first).await, plane.control.fleet.side(&second).await);
    let (from, to) = (from.expect("registered").store, to.expect("registered").store);
    let source = Buckets { cell: &first, store: &from, group };
    let target = Buckets { cell: &second, store: &to, group };
    let closed = source.close(&second, &source.read().await.expect("answers")).await.expect("it serves it");
    target.open(&first, &closed).await.expect("it is closed");
    source.hand_over(&second, &closed).await.expect("it is open");
    for in_place in [true, false] {
        if !in_place {
            lose_tables(&fixture, 1).await;
        }
        restore::begin(&plane.control.operations, &plane.control.refills, &first, &begin(in_place))
            .await
            .expect("begun");
        finish(&plane).await;
        let serves = |rows: Vec<Stand>| rows[0].is_serving();
        assert!(!serves(source.read().await.expect("answers")), "the placement is behind the rows");
        assert!(serves(target.read().await.expect("answers")));
    }
}

#[tokio::test]
async fn a_wallet_that_was_purged_elsewhere_does_not_stop_a_restore() {
    let (fixture, plane) = fixture().await;
    let (_, wallet) = opened(&plane, 0..0x100).await;
    let (_, other) = opened(&plane, 0x100..0x200).await;
    let (_, unseen) = opened(&plane, 0x200..0x300).await;
    let (old, export) = (blocks(&plane, 1, wallet).await, blocks(&plane, 1, other).await);
    let first = unseen;
    for wallet in [wallet, unseen] {
        let bucket = wallet.bucket().0;
        done(&plane, buckets(bucket, bucket, 2)).await;
        deposited(&plane, 2, wallet).await;
        let back = done(&plane, buckets(bucket, bucket, 1)).await;
        done(&plane, Wanted::Forget { operation: back.id }).await;
    }
    // The last block is in a later export only.
    deposited(&plane, 1, wallet).await;
    let newer = blocks(&plane, 1, wallet).await;
    assert_eq!(numbers(&newer), [0, 1, 2, 3, 4]);
    let first = blocks(&plane, 1, first).await.remove(0);
    lose_tables(&fixture, 1).await;

    restore::begin(&plane.control.operations, &plane.control.refills, &cell_id(1), &begin(false)).await.expect("begun");
    assert_eq!(take(&plane, &old).await, RestoredChain::Written { last: 0 });
    take(&plane, &export).await;
    let page = finish(&plane).await;
    let mut missing: Vec<_> = page.missing.iter().map(|missing| missing.wallet).collect();
    missing.sort_by_key(|missing| *missing == unseen);
    assert_eq!(missing, [wallet, unseen]);
    // Its newest block is above the hole: nothing can be served, or appended after block 0.
    assert_eq!(numbers(&blocks(&plane, 1, wallet).await), [0, 3]);
    assert_eq!(numbers(&blocks(&plane, 1, other).await), [0]);
    let store = plane.control.fleet.side(&cell_id(1)).await.expect("registered").store;
    let second = Append::of(vec![newer[3].clone()], None);
    store.append(&second).await.expect_err("it is there");
    // Of one that no export had, block 0 is missing too: its user gets no second wallet.
    assert_eq!(numbers(&blocks(&plane, 1, unseen).await), [3]);
    let created = Append::of(vec![first.clone()], Some(Guard::Bucket { genesis: true }));
    store.append(&created).await.expect_err("not created again");

    restore::begin(&plane.control.operations, &plane.control.refills, &cell_id(1), &begin(false))
        .await
        .expect("a further export is taken");
    assert_eq!(take(&plane, &newer).await, RestoredChain::Written { last: 4 });
    let missing = finish(&plane).await.missing;
    assert_eq!(missing.iter().map(|missing| missing.wallet).collect::<Vec<_>>(), [unseen]);
    assert_eq!(blocks(&plane, 1, wallet).await, newer);
}

#[tokio::test]
async fn rewound_tables_are_noticed_and_reconciled_in_place() {
    let (fixture, plane) = fixture().await;
    let side = plane.control.fleet.side(&cell_id(1)).await.expect("registered");
    assert_eq!(side.store.identity().await, Ok(Identity::Own), "signed at the first start");
    let (_, stays) = opened(&plane, 0..0x100).await;
    let (_, leaves) = opened(&plane, 0x100..0x200).await;
    let (_, returns) = opened(&plane, 0x200..0x300).await;
    done(&plane, to(returns, 2)).await;
    let then = remember(&fixture).await;
    deposited(&plane, 1, stays).await;
    let bucket = leaves.bucket().0;
    done(&plane, buckets(bucket, bucket, 2)).await;
    deposited(&plane, 2, leaves).await;
    deposited(&plane, 2, returns).await;
    done(&plane, to(returns, 1)).await;
    rewind(&fixture, then).await;

    assert_eq!(side.store.identity().await, Ok(Identity::Copied));
    assert_eq!(side.store.identity().await, Ok(Identity::Copied), "looking is not accepting");
    let plain = restore::begin(&plane.control.operations, &plane.control.refills, &cell_id(1), &begin(false)).await;
    assert_eq!(code(plain.map(|_| ())), "not_empty");
    restore::begin(&plane.control.operations, &plane.control.refills, &cell_id(1), &begin(true)).await.expect("begun");
    let page = finish(&plane).await;
    assert_eq!((page.completed, page.missing), (vec![returns], vec![]));
    assert_eq!(side.store.identity().await, Ok(Identity::Own));
    // What only this cell knew is gone; what others know is there.
    assert_eq!(numbers(&blocks(&plane, 1, stays).await), [0]);
    assert_eq!(blocks(&plane, 1, leaves).await, blocks(&plane, 2, leaves).await);
    let whole = blocks(&plane, 1, returns).await;
    assert_eq!(numbers(&whole), [0, 1, 2, 3]);
    assert_eq!(whole[3].home, cell_id(1));
    let row = side.store.home(HomeKey::Bucket(leaves.bucket())).await.expect("answers").expect("a row");
    assert_eq!(row.state, HomeState::Moved { to: cell_id(2) }, "it creates no wallets of a bucket that left");
    // Moves go on from there.
    done(&plane, buckets(bucket, bucket, 1)).await;
    assert_eq!(side.store.head(leaves).await.expect("answers").map(|head| head.home), Some(cell_id(1)));
}
