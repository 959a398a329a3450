//! A cell goes to its other Region: over real tables, without the cells' processes.

use std::sync::Arc;
use std::time::Duration;

use control_api::regions::{FailedOver, Failover, Step};
use control_api::{CellTables, SetAddresses, Standby};
use store::place::{Place, Walk};
use store::{CellRows, Chains};
use tokio::time::{Instant, sleep};
use topology::config::Replication;
use topology::homed::{Homed, KEY, LIST};
use topology::placement::InstanceEntry;
use topology::{InstanceId, Role};

use super::archived::{Folder, archive, owner, refilled};
use super::fixture::{Fixture, Plane, at, because, cell_id, code, database};
use super::moves::{deposited, opened};
use super::restore::{begin, blocks, finish};
use crate::dynamo::connect;
use crate::error::Result;
use crate::lifecycle::registration::set_addresses;
use crate::regions::failover::failover;
use crate::regions::mirror;
use crate::regions::reconcile::reconcile;
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

    restore::begin(&plane.control.operations, &cell_id(1), &begin(false)).await.expect("begun");
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
