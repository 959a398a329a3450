//! Which delivery is started next. Each destination cell is a lane with places, a queue and a breaker of its own, so that
//! a cell that does not answer holds up nothing but what is on its way to it. Pure: time comes in as an argument.
//!
//! Nothing is ever given up here. What is not answered is tried again, ever less often; what does not fit into a lane
//! is found again by the feed.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;
use topology::{Bucket, CellId};

/// Deliveries to one cell under way at once.
const PLACES: usize = 32;
/// Deliveries to one cell waiting.
pub const MAX_WAITING: usize = 4_096;
/// Cells with a lane of their own; credits for all others share one.
const MAX_LANES: usize = 1_024;
/// Attempts without an answer, one after the other, after which a cell gets a single attempt at a time.
const FAILURES_TO_OPEN: u32 = 4;
/// Between two attempts at one delivery, and between two at a cell that does not answer; doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const LONGEST_PROBE_PAUSE: Duration = Duration::from_secs(2);

/// Where a delivery goes; `None`: no attempt has shown yet which cell has the payee's bucket.
type Destination = Option<CellId>;

/// Deliveries that wait, by destination.
pub struct Lanes<T> {
    lanes: BTreeMap<Destination, Lane<T>>,
    /// As the last answer for a wallet of the bucket showed it.
    cell_of: HashMap<Bucket, CellId>,
    /// Orders what is due at the same moment.
    next: u64,
}

struct Lane<T> {
    /// Handed over by requests that wait for the outcome; they go first.
    fresh: VecDeque<Delivery<T>>,
    left_behind: VecDeque<Delivery<T>>,
    /// Tried before, by the time of the next attempt.
    later: BTreeMap<(Instant, u64), Delivery<T>>,
    under_way: usize,
    /// Attempts without an answer since the last one with an answer.
    failures: u32,
    /// While the cell does not answer: not before this time.
    closed_until: Option<Instant>,
}

impl<T> Default for Lane<T> {
    fn default() -> Self {
        let (fresh, left_behind, later) = (VecDeque::new(), VecDeque::new(), BTreeMap::new());
        Self { fresh, left_behind, later, under_way: 0, failures: 0, closed_until: None }
    }
}

/// A delivery, and how often it was tried.
#[derive(Debug)]
pub struct Delivery<T> {
    pub what: T,
    pub payee: Bucket,
    attempts: u32,
}

/// A delivery that was started, and the lane it was started from.
#[derive(Debug)]
pub struct Started<T> {
    pub delivery: Delivery<T>,
    lane: Destination,
}

/// What an attempt showed of the destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Met {
    pub cell: Option<CellId>,
    pub answered: bool,
}

/// The place of a delivery under way, to be given back.
#[derive(Debug)]
pub struct Place(Destination);

impl<T> Started<T> {
    pub fn into_parts(self) -> (T, Bucket, u32, Place) {
        (self.delivery.what, self.delivery.payee, self.delivery.attempts, Place(self.lane))
    }
}

impl<T> Lanes<T> {
    pub fn new() -> Self {
        Self { lanes: BTreeMap::new(), cell_of: HashMap::new(), next: 0 }
    }

    /// Takes a delivery in; `false` if its lane is full.
    pub fn push(&mut self, what: T, payee: Bucket, is_fresh: bool) -> bool {
        let lane = self.lane_of(payee);
        if lane.waiting() >= MAX_WAITING {
            return false;
        }
        let queue = if is_fresh { &mut lane.fresh } else { &mut lane.left_behind };
        queue.push_back(Delivery { what, payee, attempts: 0 });
        true
    }

    /// The next delivery that may start now.
    pub fn start(&mut self, now: Instant) -> Option<Started<T>> {
        for (destination, lane) in &mut self.lanes {
            if let Some(delivery) = lane.take(now) {
                return Some(Started { delivery, lane: destination.clone() });
            }
        }
        None
    }

    /// When a delivery that waits for its time is due next.
    pub fn next_due(&self) -> Option<Instant> {
        self.lanes.values().filter_map(Lane::next_due).min()
    }

    /// An attempt has ended: its place is free, and what it showed counts for all deliveries to that cell.
    pub fn ended(&mut self, place: Place, payee: Bucket, met: &Met, now: Instant) {
        if let Some(lane) = self.lanes.get_mut(&place.0) {
            lane.under_way -= 1;
        }
        if let Some(cell) = &met.cell
            && self.cell_of.insert(payee, cell.clone()).as_ref() != Some(cell)
        {
            self.regroup(payee);
        }
        let lane = self.lane_of(payee);
        if met.answered {
            lane.opened(now);
        } else {
            lane.failed(now);
        }
        self.lanes.retain(|_, lane| lane.under_way > 0 || lane.waiting() > 0 || lane.failures > 0);
    }

    /// Not done yet: to be tried again later, `jitter` being in [0, 1). Never refused: the delivery had its place here.
    pub fn again(&mut self, what: T, payee: Bucket, attempts: u32, now: Instant, jitter: f64) {
        let due = now + pause(attempts, LONGEST_PAUSE).mul_f64(0.5 + jitter / 2.0);
        self.next += 1;
        let key = (due, self.next);
        self.lane_of(payee).later.insert(key, Delivery { what, payee, attempts: attempts.saturating_add(1) });
    }

    /// Makes a delivery that waits for its time due now.
    pub fn hurry(&mut self, payee: Bucket, is_meant: impl Fn(&T) -> bool, now: Instant) {
        let lane = self.lane_of(payee);
        let found = lane.later.iter().find(|(_, delivery)| is_meant(&delivery.what)).map(|(key, _)| *key);
        if let Some((key, delivery)) = found.and_then(|key| lane.later.remove_entry(&key)) {
            lane.later.insert((now.min(key.0), key.1), delivery);
        }
    }

    fn lane_of(&mut self, payee: Bucket) -> &mut Lane<T> {
        let known = self.cell_of.get(&payee).cloned();
        let has_room = self.lanes.len() < MAX_LANES || self.lanes.contains_key(&known);
        self.lanes.entry(if has_room { known } else { None }).or_default()
    }

    /// The bucket's cell is another one than was known: what waits for it changes lanes.
    fn regroup(&mut self, payee: Bucket) {
        let mut moved = Lane::default();
        for lane in self.lanes.values_mut() {
            for (from, to) in [(&mut lane.fresh, &mut moved.fresh), (&mut lane.left_behind, &mut moved.left_behind)] {
                let (out, rest) = from.drain(..).partition(|delivery| delivery.payee == payee);
                *from = rest;
                to.extend::<VecDeque<_>>(out);
            }
            moved.later.extend(lane.later.extract_if(.., |_, delivery| delivery.payee == payee));
        }
        let lane = self.lane_of(payee);
        lane.fresh.append(&mut moved.fresh);
        lane.left_behind.append(&mut moved.left_behind);
        lane.later.append(&mut moved.later);
    }
}

impl<T> Lane<T> {
    fn waiting(&self) -> usize {
        self.fresh.len() + self.left_behind.len() + self.later.len()
    }

    fn is_open(&self) -> bool {
        self.failures < FAILURES_TO_OPEN
    }

    fn take(&mut self, now: Instant) -> Option<Delivery<T>> {
        let places = if self.is_open() { PLACES } else { 1 };
        if self.under_way >= places || self.closed_until.is_some_and(|until| now < until) {
            return None;
        }
        let is_due = |lane: &Self| lane.later.first_key_value().is_some_and(|((due, _), _)| *due <= now);
        let next = match self.fresh.pop_front() {
            Some(fresh) => Some(fresh),
            None if is_due(self) => self.later.pop_first().map(|(_, delivery)| delivery),
            None => self.left_behind.pop_front(),
        }?;
        self.under_way += 1;
        Some(next)
    }

    fn next_due(&self) -> Option<Instant> {
        let places = if self.is_open() { PLACES } else { 1 };
        if self.under_way >= places {
            return None;
        }
        let first = self.later.first_key_value().map(|((due, _), _)| *due);
        match self.closed_until {
            Some(until) if !self.fresh.is_empty() || !self.left_behind.is_empty() => Some(until),
            Some(until) => first.map(|due| due.max(until)),
            None => first,
        }
    }

    /// The cell answers again: what waited for it is due now.
    fn opened(&mut self, now: Instant) {
        if !self.is_open() {
            let waiting = std::mem::take(&mut self.later);
            self.later = waiting.into_iter().map(|((due, number), what)| ((due.min(now), number), what)).collect();
        }
        (self.failures, self.closed_until) = (0, None);
    }

    fn failed(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        if !self.is_open() {
            self.closed_until = Some(now + pause(self.failures - FAILURES_TO_OPEN, LONGEST_PROBE_PAUSE));
        }
    }
}

fn pause(times: u32, longest: Duration) -> Duration {
    FIRST_PAUSE.saturating_mul(1_u32.checked_shl(times.min(16)).unwrap_or(u32::MAX)).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEAD: Bucket = Bucket(1);
    const ALIVE: Bucket = Bucket(2);

    fn met(cell: &str, answered: bool) -> Met {
        Met { cell: Some(CellId::parse(cell).expect("sound")), answered }
    }

    /// Starts what may start; nothing ends.
    fn start_all(lanes: &mut Lanes<u32>, now: Instant) -> Vec<Started<u32>> {
        std::iter::from_fn(|| lanes.start(now)).collect()
    }

    /// Lanes that know both cells, and of which the first does not answer.
    fn with_a_dead_cell(now: Instant) -> Lanes<u32> {
        let mut lanes = Lanes::new();
        for attempt in 0..FAILURES_TO_OPEN {
            for (bucket, met) in [(DEAD, met("dead", false)), (ALIVE, met("alive", true))] {
                lanes.push(attempt, bucket, true);
                let (_, payee, _, place) = lanes.start(now).expect("a place").into_parts();
                lanes.ended(place, payee, &met, now);
            }
        }
        lanes
    }

    #[test]
    fn a_dead_cell_holds_up_no_other() {
        let now = Instant::now();
        let mut lanes = with_a_dead_cell(now);
        for number in 0..MAX_WAITING as u32 {
            assert!(lanes.push(number, DEAD, true));
        }
        assert!(!lanes.push(0, DEAD, true), "the lane is full; the feed finds it again");
        assert!(lanes.push(7, ALIVE, true));
        let started: Vec<_> = start_all(&mut lanes, now).into_iter().map(|started| started.delivery.payee).collect();
        assert_eq!(started, [ALIVE], "and the dead one is not tried at every turn");
    }

    #[test]
    fn a_dead_cell_is_probed_by_one_delivery_and_ever_more_slowly() {
        let mut now = Instant::now();
        let mut lanes = with_a_dead_cell(now);
        lanes.push(1, DEAD, true);
        lanes.push(2, DEAD, true);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            let due = lanes.next_due().expect("one waits");
            pauses.push(due - now);
            now = due;
            let mut started = start_all(&mut lanes, now);
            assert_eq!(started.len(), 1, "one at a time");
            let (what, payee, attempts, place) = started.remove(0).into_parts();
            lanes.ended(place, payee, &met("dead", false), now);
            lanes.again(what, payee, attempts, now, 0.0);
        }
        assert!(pauses.is_sorted() && pauses[7] == LONGEST_PROBE_PAUSE, "{pauses:?}");
    }

    #[test]
    fn what_waited_for_a_cell_goes_at_once_when_it_answers() {
        let now = Instant::now();
        let mut lanes = with_a_dead_cell(now);
        for number in 0..3 {
            lanes.again(number, DEAD, 9, now, f64::from(number) / 3.0);
        }
        let later = lanes.next_due().expect("they wait");
        let (_, payee, _, place) = lanes.start(later).expect("the probe").into_parts();
        let now = later + Duration::from_millis(1);
        lanes.ended(place, payee, &met("dead", true), now);
        assert_eq!(start_all(&mut lanes, now).len(), 2);
    }

    #[test]
    fn a_delivery_can_be_hurried() {
        let now = Instant::now();
        let mut lanes = Lanes::new();
        for number in 0..3 {
            lanes.again(number, ALIVE, 9, now, 0.9);
        }
        assert!(start_all(&mut lanes, now).is_empty());
        lanes.hurry(ALIVE, |what| *what == 1, now);
        assert_eq!(start_all(&mut lanes, now).iter().map(|s| s.delivery.what).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn fresh_deliveries_go_before_left_behind_ones() {
        let now = Instant::now();
        let mut lanes = Lanes::new();
        for number in 0..3 {
            lanes.push(number, ALIVE, false);
        }
        lanes.push(9, ALIVE, true);
        assert_eq!(start_all(&mut lanes, now).iter().map(|s| s.delivery.what).collect::<Vec<_>>(), [9, 0, 1, 2]);
    }

    #[test]
    fn what_an_attempt_shows_moves_the_rest_to_that_lane() {
        let now = Instant::now();
        let mut lanes = Lanes::new();
        for number in 0..2 * PLACES as u32 {
            lanes.push(number, DEAD, false);
        }
        let started = start_all(&mut lanes, now);
        assert_eq!(started.len(), PLACES, "unknown destinations share the places of one lane");
        for started in started {
            let (what, payee, attempts, place) = started.into_parts();
            lanes.ended(place, payee, &met("dead", false), now);
            lanes.again(what, payee, attempts, now, 0.0);
        }
        lanes.push(7, ALIVE, false);
        let started: Vec<_> = start_all(&mut lanes, now).into_iter().map(|started| started.delivery.payee).collect();
        assert_eq!(started, [ALIVE], "its lane has places, for the dead cell is known");
    }
}
