//! One of a cell's two instances is stopped under load, as by a debugger or a machine that swaps: customers hardly notice.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep_until};
use topology::WalletId;

use crate::fleet::{Call, Client, Fleet, until, within};

const REQUESTS_PER_S: u32 = 200;
/// In this time after the stop, at most this share of the requests may fail; none of those sent later.
const NOTICING: Duration = Duration::from_secs(5);
const FAILED_SHARE_MAX: f64 = 0.02;
const AFTERWARDS: Duration = Duration::from_secs(1);

/// A process that goes on when the test ends, however it ends.
struct Stopped(Pid);

impl Stopped {
    fn stop(pid: i32) -> Self {
        kill(Pid::from_raw(pid), Signal::SIGSTOP).expect("an instance of this fleet");
        Self(Pid::from_raw(pid))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // The fleet may have ended it.
        let _ = kill(self.0, Signal::SIGCONT);
    }
}

#[derive(Default)]
struct Seen {
    sent: AtomicU32,
    failed: AtomicU32,
    /// What was answered instead.
    answers: Mutex<Vec<String>>,
}

/// Half are reads, and one in ten is a deposit without a key, which must not be sent twice.
fn request(number: u32, wallets: &[WalletId]) -> Call {
    let wallet = wallets[number as usize % wallets.len()];
    let call = match number % 10 {
        0 => Call::deposit(wallet, "0.01"),
        odd if odd % 2 == 1 => Call::show(wallet),
        _ => Call::deposit(wallet, "0.01").key(format!("key-{number}")),
    };
    call.header("x-deadline-ms", "3000")
}

/// Sends at a steady rate, whatever comes back, and counts in `phases[phase]`.
async fn load(
    client: Client,
    wallets: Vec<WalletId>,
    phases: Arc<[Seen; 3]>,
    phase: Arc<AtomicU32>,
    over: Arc<AtomicBool>,
) {
    let (mut ticks, mut requests) = (interval(Duration::from_secs(1) / REQUESTS_PER_S), JoinSet::new());
    for number in 0.. {
        if over.load(Ordering::Acquire) {
            break;
        }
        ticks.tick().await;
        let (client, call, phases) = (client.clone(), request(number, &wallets), Arc::clone(&phases));
        let phase = phase.load(Ordering::Acquire) as usize;
        requests.spawn(async move {
            phases[phase].sent.fetch_add(1, Ordering::Relaxed);
            let answer = client.try_send(&call).await;
            if !answer.as_ref().is_ok_and(|answer| answer.is_success()) {
                phases[phase].failed.fetch_add(1, Ordering::Relaxed);
                phases[phase].answers.lock().expect("no client panicked").push(format!("{answer:?}"));
            }
        });
    }
    requests.join_all().await;
}

async fn served_by(client: &Client) -> u64 {
    let page = client.send(&Call::get("/metrics")).await.expect(200).text;
    let is_it = |line: &&str| line.starts_with("cell_requests_total{");
    page.lines().filter(is_it).filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_stopped_under_load_fails_few_requests() {
    within(90, "the test", async {
        let fleet = Fleet::start(1, 2).await;
        let client = fleet.client();
        let mut wallets = Vec::new();
        for number in 0..16 {
            wallets.push(client.create(&format!("customer-{number}")).await);
        }
        let phases = Arc::<[Seen; 3]>::default();
        let (phase, over) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
        let loading = tokio::spawn(load(client, wallets, Arc::clone(&phases), Arc::clone(&phase), Arc::clone(&over)));
        until(20, "both instances serve", async || phases[0].sent.load(Ordering::Relaxed) > REQUESTS_PER_S / 2).await;
        let pid = fleet.pid("cell-1-a").await;
        let began = Instant::now();
        phase.store(1, Ordering::Release);
        let stopped = Stopped::stop(pid);
        sleep_until(began + NOTICING).await;
        phase.store(2, Ordering::Release);
        sleep_until(began + NOTICING + AFTERWARDS).await;
        drop(stopped);
        let back = fleet.instance_client(1, 0);
        let before = served_by(&back).await;
        until(20, "the instance serves again", async || served_by(&back).await > before + 20).await;
        over.store(true, Ordering::Release);
        loading.await.expect("no client panicked");
        let counts =
            phases.each_ref().map(|seen| (seen.sent.load(Ordering::Relaxed), seen.failed.load(Ordering::Relaxed)));
        eprintln!("sent and failed before, within {NOTICING:?} and afterwards: {counts:?}");
        let [before, noticing, afterwards] = counts;
        assert_eq!((before.1, afterwards.1), (0, 0), "{counts:?} {:?} {:?}", phases[0].answers, phases[2].answers);
        assert!(f64::from(noticing.1) <= f64::from(noticing.0) * FAILED_SHARE_MAX, "{counts:?}");
    })
    .await;
}
