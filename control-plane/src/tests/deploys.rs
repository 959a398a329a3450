//! A deploy over real tables, with a replacer that breaks.

use std::sync::Arc;

use control_api::{CellPlan, DeployLimits, DeployState, InstancePlan, now_rfc3339};
use topology::{InstanceId, Version};

use super::fixture::{Fixture, because, cell_id};
use crate::clock::now_ms;
use crate::deploys::record::{Deploy, Wave};
use crate::deploys::replacer::{Order, Replaced, Replacer};
use crate::deploys::worker::{Memory, Worker};
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
        cells: vec![CellPlan { cell: cell_id(1), instances: vec![instance] }],
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
