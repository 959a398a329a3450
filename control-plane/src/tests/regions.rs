//! A cell goes to its other Region: over real tables, without the cells' processes.

use std::sync::Arc;
use std::time::Duration;

use archive::{Archive, Draft, Segment};
use control_api::regions::{FailedOver, Failover, Step};
use control_api::{CellTables, SetAddresses, Standby};
use ledger::{Block, Entry, EntryKind, Money, chain};
use store::place::{Place, Walk};
use store::{CellRows, Chains, Genesis, HomeKey, HomeState, Homes};
use tokio::time::{Instant, sleep};
use topology::config::Replication;
use topology::homed::{Homed, KEY, LIST};
use topology::placement::InstanceEntry;
use topology::{InstanceId, Role, UserId, WalletId};

use super::archived::{Folder, archive, owner, refilled};
use super::cell::NAMESPACE;
use super::fixture::{Fixture, Plane, at, because, cell_id, code, database};
use super::moves::{deposited, done, opened};
use super::restore::{begin, blocks, finish, to};
use crate::dynamo::connect;
use crate::error::Result;
use crate::lifecycle::registration::set_addresses;
use crate::regions::failover::failover;
use crate::regions::mirror;
use crate::regions::reconcile::reconcile;
use crate::regions::standby;
use crate::restore;

const THERE: &str = "eu-central-1";
const SOON: Duration = Duration::from_secs(20);

/// Two cells, of which the first one has a second Region. No process of either answers.
async fn with_standby(folder: &Folder) -> (Fixture, Plane) {
    let mut fixture = Fixture { archive: Some(folder.url()), ..Fixture::new(2).await };
    let endpoint = database().await;
    let client = connect(&at(&endpoint)).await;
    store::dynamodb::create_tables(&client, "cell-1-").await.expect("created");
    fixture.cells[0].instances[0].address = "127.0.0.1:9".into();
    let (region, table_prefix) = (THERE.to_owned(), "cell-1-".to_owned());
    fixture.cells[0].standby = Some(Standby {
        dynamodb: CellTables { endpoint: Some(endpoint), region, table_prefix, role: None },
        instances: vec![InstanceEntry {
            id: InstanceId("cell-1-b".into()),
            address: "127.0.0.1:10".into(),
            role: Role::All,
            zone: None,
        }],
        replication: Replication::Archive,
    });
    let plane = fixture.plane().await;
    crate::lifecycle::bootstrap::bootstrap(&plane.control.fleet, &fixture.request()).await.expect("published");
    (fixture, plane)
}

async fn asked(plane: &Plane, to: &str) -> Result<FailedOver> {
    let wanted = Failover { to: to.into(), because: because() };
    failover(&plane.control.operations, &plane.control.refills, &cell_id(1), &wanted).await
}

async fn home(plane: &Plane, tables: &CellTables) -> Option<(String, u64)> {
    let row = plane.control.fleet.store(tables).await.cell_row(LIST, KEY).await.expect("answers")?;
    let homed: Homed = serde_json::from_slice(&row.bytes).expect("sound");
    Some((homed.region, homed.epoch))
}

#[tokio::test]
async fn a_cell_goes_to_its_other_region_with_all_that_was_archived() {
    let folder = Folder::new("regions");
    let (fixture, plane) = with_standby(&folder).await;
    let [here, there] = [fixture.cells[0].dynamodb.clone(), fixture.cells[0].standby.clone().expect("given").dynamodb];
    let (_, wallet) = opened(&plane, 0..0x100).await;
    deposited(&plane, 1, wallet).await;
    let archived = folder.archive();
    archived.put_owner(wallet, &owner()).await.expect("put");
    archive(&archived, &[blocks(&plane, 1, wallet).await]).await;

    // The second Region follows.
    let (fleet, refills) = (Arc::clone(&plane.control.fleet), Arc::clone(&plane.control.refills));
    let following = tokio::spawn(async move { mirror::keep_following(&fleet, &refills).await });
    let second = plane.control.fleet.store(&there).await;
    let began = Instant::now();
    while second.head(wallet).await.expect("answers").is_none_or(|head| head.number < 1) {
        assert!(began.elapsed() < SOON, "it does not follow");
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(home(&plane, &there).await, Some(("us-east-1".into(), 0)), "it waits");
    deposited(&plane, 1, wallet).await;
    archive(&archived, &[blocks(&plane, 1, wallet).await[2..].to_vec()]).await;
    let kept = blocks(&plane, 1, wallet).await;
    // Of what follows, the archive learns nothing.
    deposited(&plane, 1, wallet).await;
    deposited(&plane, 1, wallet).await;
    let all = blocks(&plane, 1, wallet).await;

    assert_eq!(code(asked(&plane, "us-west-2").await), "no_standby");
    let before = plane.control.fleet.registry.get(&cell_id(1)).await.expect("answers").expect("registered");
    let state = loop {
        let state = asked(&plane, THERE).await.expect("begun");
        assert!(state.fenced && began.elapsed() < SOON, "{state:?}");
        assert_eq!(home(&plane, &here).await, Some((THERE.into(), 1)), "its processes stop first");
        if !matches!(state.step, Step::Waiting { .. }) {
            break state;
        }
        sleep(Duration::from_millis(200)).await;
    };
    assert_eq!((state.step, state.epoch), (Step::Restore, 1));
    assert_eq!(home(&plane, &there).await, Some(("us-east-1".into(), 0)), "it is not whole yet");
    let fence = archived.newest(0).await.expect("answers").expect("written");
    assert_eq!((fence.epoch, fence.blocks), (1, 0));
    assert_eq!(Place::parse(&fence.position).map(|place| place.walk), Some(Walk::Done));

    restore::begin(&plane.control.operations, &plane.control.refills, &cell_id(1), &begin(false)).await.expect("begun");
    let report = refilled(&plane).await.expect("refilled");
    assert_eq!(report.missing, vec![]);
    assert_eq!(report.newest_at, kept.last().map(|block| block.at.to_string()), "the fence is no block");
    finish(&plane).await;
    assert_eq!(blocks(&plane, 1, wallet).await, kept);
    assert_eq!(home(&plane, &there).await, Some((THERE.into(), 1)));
    let state = asked(&plane, THERE).await.expect("asked again");
    assert_eq!((state.step, state.epoch), (Step::Serving, 1));
    let now = plane.control.fleet.placements.refresh().await.expect("answers").expect("published");
    assert_eq!(now.placement.cell_named(&cell_id(1)).expect("listed").instances[0].id.0, "cell-1-b");

    // A process that read the record before, and slept, undoes nothing.
    let registry = &plane.control.fleet.registry;
    assert_eq!(code(registry.change(&before, &before.spec).await), "try_again");
    assert_eq!(registry.get(&cell_id(1)).await.expect("answers").expect("registered").spec.region_epoch, 1);

    let back = SetAddresses { instances: vec![], dynamodb: here.clone(), because: because() };
    assert_eq!(code(set_addresses(&plane.control.fleet, &cell_id(1), &back).await), "unsound_change");

    // The Region that was left keeps what it has, and all of it is named.
    let page = reconcile(&plane.control.fleet, &cell_id(1), None).await.expect("compared");
    assert_eq!((page.region, page.wallets, page.next), ("us-east-1".into(), 1, None));
    let named: Vec<_> = page.lost.iter().map(|block| block.hash.clone()).collect();
    assert_eq!(named, all[3..].iter().map(|block| block.hash.to_string()).collect::<Vec<_>>());
    sleep(Duration::from_secs(2)).await;
    assert_eq!(blocks(&plane, 1, wallet).await, kept, "nothing follows into the tables that were left");
    assert!(!following.is_finished());
    following.abort();
}

/// The tables of these cells answer no more.
async fn lose(plane: &Plane, cells: &[usize]) {
    for number in cells {
        let registry = &plane.control.fleet.registry;
        let record = registry.get(&cell_id(*number)).await.expect("answers").expect("registered");
        let mut spec = record.spec.clone();
        spec.dynamodb.endpoint = Some("http://127.0.0.1:9".into());
        registry.change(&record, &spec).await.expect("changed");
    }
}

/// What the archiver of a cell appends that has read all of the stream.
async fn archive_all(archive: &Archive, blocks: Vec<Block>) {
    let newest = archive.newest(0).await.expect("answers");
    let position = Place::after_walk(Default::default()).to_text();
    let draft = Draft { segment: Segment { blocks }, at: mover::wall_clock(), position };
    assert!(archive.append(newest.as_ref(), &draft).await.expect("answers").is_some());
}

#[tokio::test]
async fn a_lost_cell_without_a_standby_holds_up_no_other() {
    let folder = Folder::new("lost-beside");
    let (fixture, plane) = with_standby(&folder).await;
    let there = fixture.cells[0].standby.clone().expect("given").dynamodb;
    let (_, wallet) = opened(&plane, 0..0x100).await;
    deposited(&plane, 1, wallet).await;
    let kept = blocks(&plane, 1, wallet).await;
    archive_all(&folder.archive(), kept.clone()).await;
    lose(&plane, &[1, 2]).await;
    let state = asked(&plane, THERE).await.expect("begun");
    assert_eq!((state.step, state.epoch), (Step::Restore, 1));
    // Twice, as by an operator that repeats the command.
    for _ in 0..2 {
        restore::begin(&plane.control.operations, &plane.control.refills, &cell_id(1), &begin(false))
            .await
            .expect("begun");
    }
    assert_eq!(refilled(&plane).await.expect("refilled").missing, vec![]);
    finish(&plane).await;
    assert_eq!(blocks(&plane, 1, wallet).await, kept);
    assert_eq!(home(&plane, &there).await, Some((THERE.into(), 1)));
    // Above every row that the lost cell may have.
    let store = plane.control.fleet.store(&there).await;
    let row = store.home(HomeKey::Bucket(wallet.bucket())).await.expect("answers").expect("a row");
    assert_eq!(row.state, HomeState::Serving);
    assert!(row.epoch > 1_000_000_000_000, "{row:?}");
    assert_eq!(store.genesis().await.expect("answers"), Some(Genesis::of([])));
}

#[tokio::test]
async fn no_cell_leaves_behind_what_it_moved_and_did_not_archive() {
    let folder = Folder::new("lost-moved");
    let (_fixture, plane) = with_standby(&folder).await;
    let (_, wallet) = opened(&plane, 0..0x100).await;
    done(&plane, to(wallet, 2)).await;
    let moved = blocks(&plane, 1, wallet).await;
    let archived = folder.archive();
    archive_all(&archived, moved.clone()).await;
    lose(&plane, &[1, 2]).await;
    assert_eq!(code(asked(&plane, THERE).await), "cell_tables_unavailable");
    assert_eq!(archived.newest(0).await.expect("answers").map(|newest| newest.epoch), Some(0), "nothing has begun");

    // Later the cell was still archived.
    sleep(Duration::from_secs(2)).await;
    let other = WalletId::for_user(NAMESPACE, &UserId::parse("later").expect("sound"));
    let entry = Entry::new(other.as_uuid(), EntryKind::Opened, Money::ZERO, Money::ZERO);
    let later = chain::open(other, cell_id(1), mover::wall_clock(), entry, None);
    archive_all(&archived, vec![later]).await;
    assert_eq!(asked(&plane, THERE).await.expect("begun").step, Step::Restore);
    restore::begin(&plane.control.operations, &plane.control.refills, &cell_id(1), &begin(false)).await.expect("begun");
    assert_eq!(refilled(&plane).await.expect("refilled").missing, vec![]);
    finish(&plane).await;
    assert_eq!(blocks(&plane, 1, wallet).await, moved, "it says where it went");
}

#[tokio::test]
async fn a_registered_cell_gets_the_second_region_of_the_file_and_loses_it_again() {
    let folder = Folder::new("standby");
    let (mut fixture, _) = with_standby(&folder).await;
    let (cell, because) = (cell_id(1), because());
    let with = fixture.plane().await;
    let registered = async || with.control.fleet.registry.get(&cell).await.expect("answers").expect("registered").spec;
    let asks = async |plane: &Plane| {
        code(standby::as_configured(&plane.control.fleet, &plane.control.refills, &cell, &because).await)
    };
    let configured = fixture.cells[0].standby.take().expect("given");
    let without = fixture.plane().await;
    assert_eq!(asks(&without).await, "done");
    assert_eq!(registered().await.standby, None);
    assert_eq!(asks(&with).await, "done");
    assert_eq!(registered().await.standby.as_ref(), Some(&configured));
    let version = with.control.fleet.placements.refresh().await.expect("answers").expect("there").placement.version();
    assert_eq!(asks(&with).await, "done", "it may be repeated");
    let history = with.control.fleet.placements.history(2).await.expect("answers");
    assert_eq!(history[0].change.version, version, "nothing was changed again");
    let reasons: Vec<_> = history.iter().map(|row| row.change.reason.as_str()).collect();
    let gets = format!("cell-1 standby none to {THERE}: to see");
    assert_eq!(reasons, [gets.as_str(), &format!("cell-1 standby {THERE} to none: to see")]);
    // Its tables follow the archive from now on.
    let (fleet, refills) = (with.control.fleet.clone(), with.control.refills.clone());
    let following = tokio::spawn(async move { mirror::keep_following(&fleet, &refills).await });
    let began = Instant::now();
    while home(&with, &configured.dynamodb).await.is_none() {
        assert!(began.elapsed() < SOON, "nothing follows");
        sleep(Duration::from_millis(50)).await;
    }
    following.abort();

    // Once a failover has ended the log, only it can go on.
    archive(&folder.archive(), &[blocks(&with, 1, opened(&with, 0..0x100).await.1).await]).await;
    let newest = folder.archive().newest(0).await.expect("answers");
    folder
        .archive()
        .fence(newest.as_ref(), 1, newest.as_ref().expect("there").at, String::new())
        .await
        .expect("written");
    assert_eq!(asks(&without).await, "unsound_change");
    assert_eq!(registered().await.standby, Some(configured));
}
