//! Measures every few seconds, at the processes of each cell, what the cell is asked for. Writes are those that the cell's
//! feed has read, whichever process made them: none is lost to the figure when a process ends.
//!
//! It must never keep a figure where a cell's processes do not answer, or its feed reads nothing.

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
const WRITES: &str = "cell_feed_entries_total";
const READ_UNTIL: &str = "cell_feed_read_until_timestamp_seconds";
const REQUESTS: &str = "cell_requests_total";

/// What a process had counted at a moment.
struct Counted {
    at: Instant,
    writes: f64,
    /// In seconds since 1970; 0 where the process does not follow the stream.
    read_until: f64,
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
        let count = |samples: Samples| {
            let sum = |name| samples.sum(name, &[]);
            Counted { at, writes: sum(WRITES), read_until: sum(READ_UNTIL), requests: sum(REQUESTS) }
        };
        let page = fleet.instances.metrics(instance).await;
        (instance.id.clone(), page.ok().map(|text| count(Samples::parse(&text))))
    };
    (cell.id.clone(), join_all(cell.instances.iter().map(one)).await)
}

/// `None` unless every process answered both times and the feed has read on in between. A process that was restarted has
/// counted from 0 again.
fn rates(before: &HashMap<InstanceId, Counted>, now: &[(InstanceId, Option<Counted>)]) -> Option<Load> {
    let (mut writes, mut requests_per_second) = (0.0, 0.0);
    let (mut read_until, mut read_before) = (0.0_f64, 0.0_f64);
    for (instance, counted) in now {
        let (counted, earlier) = (counted.as_ref()?, before.get(instance)?);
        let seconds = (counted.at - earlier.at).as_secs_f64();
        if seconds <= 0.0 {
            return None;
        }
        writes += counted_since(earlier.writes, counted.writes);
        requests_per_second += counted_since(earlier.requests, counted.requests) / seconds;
        read_until = read_until.max(counted.read_until);
        read_before = read_before.max(earlier.read_until);
    }
    let seconds = read_until - read_before;
    (read_before > 0.0 && seconds > 0.0).then_some(Load { writes_per_second: writes / seconds, requests_per_second })
}

fn counted_since(before: f64, now: f64) -> f64 {
    if now < before { now } else { now - before }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: f64 = 1_790_000_000.0;

    fn id(name: &str) -> InstanceId {
        InstanceId(name.to_owned())
    }

    fn follower(at: Instant, writes: f64, read_until: f64) -> Option<Counted> {
        Some(Counted { at, writes, read_until, requests: writes * 2.0 })
    }

    fn seen(all: [(&str, Option<Counted>); 2]) -> Vec<(InstanceId, Option<Counted>)> {
        all.map(|(name, counted)| (id(name), counted)).into()
    }

    fn before(start: Instant) -> HashMap<InstanceId, Counted> {
        let all = seen([("a", follower(start, 100.0, NOON)), ("b", follower(start, 40.0, 0.0))]);
        all.into_iter().filter_map(|(id, counted)| Some((id, counted?))).collect()
    }

    #[test]
    fn writes_are_those_that_the_feed_read_in_its_own_time() {
        let start = Instant::now();
        let later = start + Duration::from_secs(10);
        let now = seen([("a", follower(later, 200.0, NOON + 8.0)), ("b", follower(later, 40.0, 0.0))]);
        let load = rates(&before(start), &now).expect("both answered");
        assert!((load.writes_per_second - 12.5).abs() < 1e-9, "100 in 8 s, not in 10: {load:?}");
        assert!((load.requests_per_second - 20.0).abs() < 1e-9, "{load:?}");
    }

    #[test]
    fn a_figure_outlives_a_restart_and_a_change_of_the_follower() {
        let start = Instant::now();
        let later = start + Duration::from_secs(10);
        let now = seen([("a", follower(later, 0.0, 0.0)), ("b", follower(later, 90.0, NOON + 10.0))]);
        let load = rates(&before(start), &now).expect("both answered");
        assert!((load.writes_per_second - 5.0).abs() < 1e-9, "{load:?}");
    }

    #[test]
    fn there_is_none_where_a_process_is_silent_or_nothing_follows() {
        let start = Instant::now();
        let later = start + Duration::from_secs(10);
        let silent = seen([("a", follower(later, 200.0, NOON + 10.0)), ("b", None)]);
        let new = seen([("a", follower(later, 200.0, NOON + 10.0)), ("c", follower(later, 0.0, 0.0))]);
        let idle = seen([("a", follower(later, 100.0, NOON)), ("b", follower(later, 40.0, 0.0))]);
        let lost = seen([("a", follower(later, 100.0, 0.0)), ("b", follower(later, 40.0, 0.0))]);
        for now in [silent, new, idle, lost, vec![]] {
            assert_eq!(rates(&before(start), &now), None);
        }
    }
}
