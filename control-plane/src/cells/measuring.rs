//! Measures every few seconds, at the processes of each cell, what the cell is asked for.
//!
//! It must never keep a figure where a cell's processes do not answer.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;
use topology::{CellEntry, CellId, CellState, InstanceId};

use crate::cells::fleet::Fleet;
use crate::cells::loads::Load;
use crate::cells::scrape::Samples;

const MEASURE_EVERY: Duration = Duration::from_secs(5);
/// Entries that were committed: what `max_tps` of a cell counts.
const WRITES: &str = "cell_commit_entries_sum";
const REQUESTS: &str = "cell_requests_total";

/// What a process had counted at a moment.
struct Counted {
    at: Instant,
    writes: f64,
    requests: f64,
}

/// Measures for ever.
pub async fn keep_measuring(fleet: &Fleet) {
    let mut before = HashMap::new();
    loop {
        let cells = fleet.placements.known().map(|known| known.placement.cells().to_vec()).unwrap_or_default();
        for cell in &cells {
            let instances = metrics::gauge!("control_plane_cell_instances", "cell" => cell.id.to_string());
            instances.set(cell.instances.len() as f64);
        }
        let looks = cells.iter().filter(|cell| cell.state != CellState::Removed).map(|cell| look(fleet, cell));
        let mut now = HashMap::new();
        for (cell, found) in join_all(looks).await {
            let load = rates(&before, &found);
            if let Some(load) = load {
                let label = cell.to_string();
                metrics::gauge!("control_plane_cell_writes_per_second", "cell" => label).set(load.writes_per_second);
            }
            fleet.loads.set(&cell, load);
            now.extend(found.into_iter().filter_map(|(instance, counted)| Some((instance, counted?))));
        }
        before = now;
        tokio::time::sleep(MEASURE_EVERY).await;
    }
}

async fn look(fleet: &Fleet, cell: &CellEntry) -> (CellId, Vec<(InstanceId, Option<Counted>)>) {
    let one = async |instance: &topology::InstanceEntry| {
        let at = Instant::now();
        let count =
            |samples: Samples| Counted { at, writes: samples.sum(WRITES, &[]), requests: samples.sum(REQUESTS, &[]) };
        let page = fleet.instances.metrics(instance).await;
        (instance.id.clone(), page.ok().map(|text| count(Samples::parse(&text))))
    };
    (cell.id.clone(), join_all(cell.instances.iter().map(one)).await)
}

/// `None` unless every process answered both times and none was restarted in between.
fn rates(before: &HashMap<InstanceId, Counted>, now: &[(InstanceId, Option<Counted>)]) -> Option<Load> {
    let mut load = Load { writes_per_second: 0.0, requests_per_second: 0.0 };
    for (instance, counted) in now {
        let (counted, earlier) = (counted.as_ref()?, before.get(instance)?);
        let seconds = (counted.at - earlier.at).as_secs_f64();
        let (writes, requests) = (counted.writes - earlier.writes, counted.requests - earlier.requests);
        if seconds <= 0.0 || writes < 0.0 || requests < 0.0 {
            return None;
        }
        load.writes_per_second += writes / seconds;
        load.requests_per_second += requests / seconds;
    }
    (!now.is_empty()).then_some(load)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(at: Instant, writes: f64) -> Counted {
        Counted { at, writes, requests: writes * 2.0 }
    }

    #[test]
    fn a_rate_needs_every_process_twice_and_none_that_began_anew() {
        let (start, id) = (Instant::now(), |name: &str| InstanceId(name.to_owned()));
        let later = start + Duration::from_secs(10);
        let before = HashMap::from([(id("a"), counted(start, 100.0)), (id("b"), counted(start, 0.0))]);
        let both = [(id("a"), Some(counted(later, 200.0))), (id("b"), Some(counted(later, 50.0)))];
        let load = rates(&before, &both).expect("all there");
        assert!((load.writes_per_second - 15.0).abs() < 1e-9 && (load.requests_per_second - 30.0).abs() < 1e-9);
        assert_eq!(rates(&before, &[(id("a"), None)]), None);
        assert_eq!(rates(&before, &[(id("c"), Some(counted(later, 1.0)))]), None);
        assert_eq!(rates(&before, &[(id("a"), Some(counted(later, 1.0)))]), None, "it has started again");
        assert_eq!(rates(&before, &[]), None);
    }
}
