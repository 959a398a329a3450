//! A cell gets its chains back while other cells hold newer parts of them: over real tables, without the cells' processes.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use control_api::restore::{BeginRestore, FinishRestore, FinishedPage, RestoreChain, RestoredChain};
use control_api::{Scope, Wanted};
use ledger::{Append, Block, canonical, moving};
use store::dynamodb::Identity;
use store::{BlockRange, Chains, HomeKey, HomeState, Homes};
use topology::WalletId;

use super::fixture::{Fixture, Plane, because, cell_id, code};
use super::moves::{buckets, deposited, done, opened};
use crate::restore;

const ALL: BlockRange = BlockRange { first: 0, last: u64::MAX, newest_first: false };

/// Two cells; no process of the first one answers.
async fn town() -> (Fixture, Plane) {
    let mut fixture = Fixture::new(2).await;
    fixture.cells[0].instances[0].address = "127.0.0.1:9".into();
    let plane = fixture.plane().await;
    crate::lifecycle::bootstrap::bootstrap(&plane.control.fleet, &fixture.request()).await.expect("published");
    (fixture, plane)
}

async fn blocks(plane: &Plane, cell: usize, wallet: WalletId) -> Vec<Block> {
    let side = plane.control.fleet.side(&cell_id(cell)).await.expect("registered");
    side.store.blocks(wallet, ALL, 256).await.expect("answers")
}

fn to(wallet: WalletId, cell: usize) -> Wanted {
    Wanted::Migrate { scope: Scope::Wallet(wallet), to: cell_id(cell) }
}

/// The first cell's tables are gone; there are empty ones.
async fn lose_tables(fixture: &Fixture) {
    let cell = &fixture.stand_ins[0];
    for name in tables(fixture) {
        cell.client.delete_table().table_name(name).send().await.expect("deleted");
    }
    store::dynamodb::create_tables(&cell.client, &cell.prefix).await.expect("created");
}

fn tables(fixture: &Fixture) -> [String; 4] {
    store::dynamodb::TABLES.map(|table| format!("{}{table}", fixture.stand_ins[0].prefix))
}

type Items = Vec<HashMap<String, AttributeValue>>;

/// What the first cell's tables hold now.
async fn remember(fixture: &Fixture) -> Vec<(String, Items)> {
    let mut all = vec![];
    for name in tables(fixture) {
        let scan = fixture.stand_ins[0].client.scan().table_name(&name).send().await.expect("answers");
        assert!(scan.last_evaluated_key.is_none(), "one page");
        all.push((name, scan.items.unwrap_or_default()));
    }
    all
}

/// As point-in-time recovery does it: new tables that hold what the old ones held then.
async fn rewind(fixture: &Fixture, then: Vec<(String, Items)>) {
    lose_tables(fixture).await;
    for (name, items) in then {
        for item in items {
            let put = fixture.stand_ins[0].client.put_item().table_name(&name).set_item(Some(item));
            put.send().await.expect("written");
        }
    }
}

fn begin(in_place: bool) -> BeginRestore {
    BeginRestore { in_place, because: because() }
}

async fn take(plane: &Plane, blocks: &[Block]) -> RestoredChain {
    let digits = |block: &Block| canonical::encode(block).iter().map(|byte| format!("{byte:02x}")).collect();
    let wanted = RestoreChain { wallet: blocks[0].wallet, blocks: blocks.iter().map(digits).collect() };
    restore::take(&plane.control.fleet, &cell_id(1), &wanted).await.expect("answered")
}

async fn finish(plane: &Plane) -> FinishedPage {
    let wanted = FinishRestore { from: None, because: because() };
    let page =
        restore::finish(&plane.control.fleet, &plane.control.witness, &cell_id(1), &wanted).await.expect("finished");
    assert_eq!(page.next, None);
    page
}

fn numbers(blocks: &[Block]) -> Vec<u64> {
    blocks.iter().map(|block| block.number).collect()
}

#[tokio::test]
async fn a_restored_cell_has_tombstones_of_those_who_left_it() {
    let (fixture, plane) = town().await;
    let (_, unknown) = opened(&plane, 0..0x100).await;
    let (_, exported) = opened(&plane, 0x100..0x200).await;
    let export = blocks(&plane, 1, exported).await;
    for wallet in [unknown, exported] {
        done(&plane, to(wallet, 2)).await;
        deposited(&plane, 2, wallet).await;
    }
    lose_tables(&fixture).await;
    restore::begin(&plane.control.operations, &cell_id(1), &begin(false)).await.expect("begun");
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
async fn a_wallet_that_was_purged_elsewhere_does_not_stop_a_restore() {
    let (fixture, plane) = town().await;
    let (_, wallet) = opened(&plane, 0..0x100).await;
    let (_, other) = opened(&plane, 0x100..0x200).await;
    let (old, export) = (blocks(&plane, 1, wallet).await, blocks(&plane, 1, other).await);
    let bucket = wallet.bucket().0;
    done(&plane, buckets(bucket, bucket, 2)).await;
    deposited(&plane, 2, wallet).await;
    let back = done(&plane, buckets(bucket, bucket, 1)).await;
    let newer = blocks(&plane, 1, wallet).await;
    assert_eq!(numbers(&newer), [0, 1, 2, 3]);
    done(&plane, Wanted::Forget { operation: back.id }).await;
    lose_tables(&fixture).await;

    restore::begin(&plane.control.operations, &cell_id(1), &begin(false)).await.expect("begun");
    assert_eq!(take(&plane, &old).await, RestoredChain::Written { last: 0 });
    take(&plane, &export).await;
    let page = finish(&plane).await;
    assert_eq!(page.missing.iter().map(|missing| missing.wallet).collect::<Vec<_>>(), [wallet]);
    // Its newest block stands over the hole: nothing can be served, or appended after block 0.
    assert_eq!(numbers(&blocks(&plane, 1, wallet).await), [0, 3]);
    assert_eq!(numbers(&blocks(&plane, 1, other).await), [0]);
    let store = plane.control.fleet.side(&cell_id(1)).await.expect("registered").store;
    let second = Append { blocks: vec![newer[3].clone()], guard: None };
    store.append(&second).await.expect_err("it is there");

    restore::begin(&plane.control.operations, &cell_id(1), &begin(false)).await.expect("a further export is taken");
    assert_eq!(take(&plane, &newer).await, RestoredChain::Written { last: 3 });
    assert_eq!(finish(&plane).await.missing, vec![]);
    assert_eq!(blocks(&plane, 1, wallet).await, newer);
}

#[tokio::test]
async fn rewound_tables_are_noticed_and_reconciled_in_place() {
    let (fixture, plane) = town().await;
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
    let plain = restore::begin(&plane.control.operations, &cell_id(1), &begin(false)).await;
    assert_eq!(code(plain.map(|_| ())), "not_empty");
    restore::begin(&plane.control.operations, &cell_id(1), &begin(true)).await.expect("begun");
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
