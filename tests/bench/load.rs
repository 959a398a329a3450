//! Load from many connections at once for a bounded time, and what all rounds of one case came to.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::connection::{Answer, Connection, Request};
use super::figures::{Meter, median, percentile_ms};

/// After an answer that does not count: a client that is refused does not hammer.
const PAUSE: Duration = Duration::from_millis(10);

pub struct Load<N> {
    /// `http://address`
    pub base: String,
    pub clients: usize,
    pub duration: Duration,
    /// The next request.
    pub next: N,
    pub counts: fn(&Answer) -> bool,
}

/// What became of the requests of one round.
#[derive(Default)]
pub struct Round {
    pub latencies_us: Vec<u32>,
    /// Requests with an answer that does not count, or none, and what that was.
    pub others: Vec<(Request, String)>,
    pub took: Duration,
    pub cpu_s: Vec<f64>,
}

impl<N: Fn() -> Request + Clone + Send + 'static> Load<N> {
    pub async fn run(self, meter: &Meter) -> Round {
        let (before, began) = (meter.seconds(), Instant::now());
        let end = began + self.duration;
        let mut tasks = JoinSet::new();
        for _ in 0..self.clients {
            tasks.spawn(client(self.base.clone(), self.next.clone(), self.counts, end));
        }
        let mut round = Round::default();
        for part in tasks.join_all().await {
            round.latencies_us.extend(part.latencies_us);
            round.others.extend(part.others);
        }
        round.took = began.elapsed();
        round.cpu_s = meter.seconds().iter().zip(before).map(|(after, before)| after - before).collect();
        round
    }
}

async fn client(base: String, next: impl Fn() -> Request, counts: fn(&Answer) -> bool, end: Instant) -> Round {
    let mut round = Round::default();
    let mut connection = Connection::open(&base).await.expect("it listens");
    while Instant::now() < end {
        let request = next();
        let began = Instant::now();
        let label = match connection.send(&request).await {
            Ok(answer) if counts(&answer) => {
                round.latencies_us.push(u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX));
                continue;
            }
            Ok(answer) => answer.label(),
            Err(error) => {
                connection = Connection::open(&base).await.expect("it listens");
                format!("no answer ({})", error.kind())
            }
        };
        round.others.push((request, label));
        tokio::time::sleep(PAUSE).await;
    }
    round
}

/// What one case came to, over all rounds.
#[derive(Default)]
pub struct Outcome {
    /// Operations a second of each round.
    pub throughputs: Vec<f64>,
    latencies_us: Vec<u32>,
    operations: usize,
    cpu_s: Vec<f64>,
}

impl Outcome {
    /// `each`: operations in one request.
    pub fn add(&mut self, round: &Round, each: usize) {
        let operations = round.latencies_us.len() * each;
        self.throughputs.push(operations as f64 / round.took.as_secs_f64());
        self.operations += operations;
        self.latencies_us.extend(&round.latencies_us);
        self.latencies_us.sort_unstable();
        self.cpu_s.resize(round.cpu_s.len(), 0.0);
        self.cpu_s.iter_mut().zip(&round.cpu_s).for_each(|(sum, seconds)| *sum += seconds);
    }

    /// The columns of [`HEADER`].
    pub fn columns(&self) -> String {
        if self.operations == 0 {
            return vec!["-"; self.cpu_s.len() + 3].join(" | ");
        }
        let cpu = self.cpu_s.iter().map(|seconds| format!("{:.0}", seconds * 1e6 / self.operations as f64));
        let (p50, p99) = (percentile_ms(&self.latencies_us, 50), percentile_ms(&self.latencies_us, 99));
        let times = [format!("{:.0}", median(&self.throughputs)), format!("{p50:.2}"), format!("{p99:.2}")];
        times.into_iter().chain(cpu).collect::<Vec<_>>().join(" | ")
    }
}

/// Of [`Outcome::columns`], where the processor time is that of these three groups and of this process.
pub const HEADER: &str = "a second | p50 ms | p99 ms | router µs | cell µs | database µs | client µs";
