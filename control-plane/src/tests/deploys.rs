//! A deploy over real tables, with a replacer that breaks.

use std::sync::Arc;

use control_api::{DeployLimits, DeployState, InstancePlan, PartId, PartPlan, Program, now_rfc3339};
use topology::{InstanceEntry, InstanceId, Role, Version, ZoneId};

use super::fixture::{Fixture, because, cell_id};
use crate::clock::now_ms;
use crate::deploys::record::{Deploy, Wave};
use crate::deploys::replacer::{Order, Replaced, Replacer};
use crate::deploys::worker::{Memory, Worker, ordered};
use crate::jobs::worker::Advanced;

struct Breaks;

impl Replacer for Breaks {
    fn replace<'a>(&'a self, _: &'a Order) -> Replaced<'a> {
        Box::pin(async { panic!("a replacer that breaks") })
    }
}

fn version(name: &str) -> Version {
    Version::parse(name).expect("sound")
}

/// One wave of one instance.
pub fn rolling() -> Deploy {
    let instance = InstancePlan { id: InstanceId("cell-1-a".into()), before: version("1.0.0") };
    let wave = Wave {
        parts: vec![PartPlan { part: PartId("cell-1".into()), instances: vec![instance] }],
        replaced: 0,
        began_at: None,
        replaced_at: None,
        ended_at: None,
        verdict: None,
    };
    let limits =
        DeployLimits { baseline_seconds: 0, bake_seconds: 0, wait_seconds: 0, rise_percent: 1.0, slower_by_ms: 1 };
    Deploy {
        number: 0,
        row: 0,
        of: Program::Cells,
        version: version("2.0.0"),
        limits,
        because: because(),
        state: DeployState::Rolling,
        why: None,
        created_at: now_rfc3339(),
        updated_at: now_rfc3339(),
        finished_at: None,
        waves: vec![wave],
        wave: 0,
        restored: 0,
        since_ms: now_ms(),
        before: Default::default(),
        others: Default::default(),
        seen: Default::default(),
        touched: None,
        lease: None,
    }
}

#[test]
fn a_deploy_that_was_stored_before_there_were_routers_is_of_cells() {
    let deploy = rolling();
    let mut stored = serde_json::to_value(&deploy).expect("plain data");
    let row = stored.as_object_mut().expect("an object");
    assert_eq!(row.remove("of"), Some("cells".into()));
    assert_eq!(stored["waves"][0]["cells"][0]["cell"], "cell-1", "as it has always been stored");
    let read: Deploy = serde_json::from_value(stored).expect("an earlier row");
    assert_eq!(read, deploy);
}

#[test]
fn an_order_names_the_zone_and_the_role_of_its_instance() {
    let zone = ZoneId::parse("z1").ok();
    for role in Role::EACH {
        let id = InstanceId("cell-1-a".into());
        let entry = InstanceEntry { id: id.clone(), address: "h:1".into(), role, zone: zone.clone() };
        let order = ordered(&rolling(), &PartId("cell-1".into()), &entry, &version("2.0.0"));
        assert_eq!((order.role, order.zone, order.instance), (role, zone.clone(), id));
    }
}

#[test]
fn customers_of_all_cells_could_have_met_a_router() {
    let begun = |mut deploy: Deploy| {
        deploy.waves[0].began_at = Some(now_rfc3339());
        deploy
    };
    let of_routers = Deploy { of: Program::Routers, ..rolling() };
    let met = |deploy: &Deploy| [1, 2].map(|cell| deploy.has_met(&cell_id(cell)));
    assert_eq!(met(&begun(rolling())), [true, false]);
    assert_eq!(met(&begun(of_routers.clone())), [true, true]);
    assert_eq!(met(&of_routers), [false, false], "nothing was replaced yet");
}

#[tokio::test]
async fn a_worker_that_panics_leaves_a_deploy_that_says_why() {
    let (_fixture, plane) = Fixture::idle(1).await;
    let worker = Worker::new(Arc::clone(&plane.control.deploys), Arc::new(Breaks));
    let number = plane.control.deploys.table.create(rolling()).await.expect("answers").expect("alone").number;
    let mut memory = Memory::default();
    while worker.advance(number, &mut memory).await.expect("answers") != Advanced::Rest {}
    let stopped = plane.control.deploys.table.get(number).await.expect("answers").expect("there");
    assert_eq!(stopped.state, DeployState::Paused);
    assert!(stopped.why.is_some_and(|why| why.contains("a replacer that breaks")));
}
