//! Synthetic customers: one in every cell, which does what customers do, through the router's
//! public address, all the time and slowly. What it meets is counted, by cell and step: it shows
//! what a cell cannot count itself, since its answers did not arrive.
//!
//! It must never be sent through anything but the public address, nor make money: what it pays in
//! it takes out again, and what it gives to the next cell's canary comes round.

mod journey;

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use access::http::{Connector, Http};
use access::tls::Client;
use deploy_analysis::figures::{CANARY, Counts, Figures};
use topology::{CellEntry, CellId, CellState, Placement, UserId, WalletId};
use uuid::Uuid;

use crate::cells::fleet::Fleet;
use journey::{Canary, Journey, Outcome};

/// Milliseconds that may lie between two journeys. The alert `CanarySilent` expects requests within five minutes.
pub const PAUSE_MS: RangeInclusive<u64> = 10..=60_000;
/// Names tried until one is found whose bucket the cell owns. Where a cell owns one bucket in a thousand, nearly all of
/// them are needed once in a million years.
const NAMES_MAX: u32 = 20_000;
/// Between two starts of the journeys of all cells while there is no placement.
const NO_PLACEMENT_PAUSE: Duration = Duration::from_secs(1);
/// Classes of the time that a step took, in microseconds; like those of the cells.
const CLASSES: [u64; 13] = [
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000,
];

#[derive(Debug, Clone)]
pub struct Settings {
    /// `http://` or `https://host:port` of a router, as customers know it.
    pub router: String,
    /// File with a service's token, read for each journey: it may be renewed.
    pub token: Option<PathBuf>,
    /// PEM file of the authorities to believe; else those that the machine believes.
    pub authority: Option<PathBuf>,
    /// Between two journeys of a canary.
    pub pause: Duration,
}

/// What the canaries of this process have met.
pub struct Canaries {
    settings: Option<Settings>,
    /// By the cell's name.
    met: Mutex<HashMap<String, Figures>>,
}

impl Canaries {
    pub fn new(settings: Option<Settings>) -> Self {
        Self { settings, met: Mutex::default() }
    }

    /// Of one cell's canary, since this process began; each step under a name that no route has.
    pub fn figures(&self, cell: &str) -> Figures {
        self.met.lock().unwrap_or_else(PoisonError::into_inner).get(cell).cloned().unwrap_or_default()
    }

    /// The same of each cell's.
    pub fn all(&self) -> Vec<(String, Figures)> {
        let met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        met.iter().map(|(cell, figures)| (cell.clone(), figures.clone())).collect()
    }

    fn count(&self, cell: &CellId, step: &'static str, outcome: Outcome, took: Duration) {
        let labels = [("cell", cell.to_string()), ("step", step.to_owned()), ("outcome", outcome.name().to_owned())];
        metrics::counter!("control_plane_canary_requests_total", &labels).increment(1);
        let labels = [("cell", cell.to_string()), ("step", step.to_owned())];
        metrics::histogram!("control_plane_canary_seconds", &labels).record(took.as_secs_f64());
        let mut met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        let counts =
            met.entry(cell.to_string()).or_default().0.entry(format!("{CANARY}{step}")).or_insert_with(nothing);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let class = CLASSES.into_iter().find(|class| micros <= *class).unwrap_or(u64::MAX);
        counts.requests += 1;
        counts.errors += u64::from(outcome == Outcome::Failed);
        counts.seconds += took.as_secs_f64();
        *counts.classes.entry(class).or_default() += 1;
    }
}

/// With all classes, so that two canaries' counts can be compared.
fn nothing() -> Counts {
    let classes: BTreeMap<u64, u64> = CLASSES.into_iter().chain([u64::MAX]).map(|class| (class, 0)).collect();
    Counts { classes, ..Counts::default() }
}

/// The journeys of all cells' canaries, for ever, if they are asked for.
pub async fn keep_asking(fleet: &Fleet, canaries: &Canaries) {
    let Some(settings) = &canaries.settings else { return std::future::pending().await };
    let mut known = BTreeMap::new();
    let mut http: Option<(Option<String>, Http)> = None;
    loop {
        let began = Instant::now();
        let Some(now) = fleet.placements.known() else {
            tokio::time::sleep(NO_PLACEMENT_PAUSE).await;
            continue;
        };
        known = current(fleet.namespace, &now.placement, known);
        match with_token(settings, http.take()) {
            Ok(client) => {
                round(canaries, settings, &client.1, &mut known).await;
                http = Some(client);
            }
            Err(error) => tracing::warn!(error, "the canaries cannot ask"),
        }
        tokio::time::sleep(settings.pause.saturating_sub(began.elapsed()).max(Duration::from_millis(10))).await;
    }
}

/// The canary of each cell that owns a bucket: the one before, unless its bucket has moved. Also says which cells these
/// are, before anything is asked: an alert compares it with what is asked, so that silence is noticed.
fn current(namespace: Uuid, placement: &Placement, mut before: BTreeMap<CellId, Canary>) -> BTreeMap<CellId, Canary> {
    let expected = |cell: &CellId| metrics::gauge!("control_plane_canary_expected", "cell" => cell.to_string());
    let mut now = BTreeMap::new();
    for cell in placement.cells().iter().filter(|cell| cell.state != CellState::Removed) {
        let kept = before.get(&cell.id).filter(|canary| placement.cell_of(canary.wallet) == cell.index).cloned();
        if let Some(canary) = kept.or_else(|| choose(namespace, placement, cell)) {
            before.remove(&cell.id);
            expected(&cell.id).set(1.0);
            now.insert(cell.id.clone(), canary);
        }
    }
    before.keys().for_each(|cell| expected(cell).set(0.0));
    now
}

/// One journey of each canary, all at once. One that hangs holds up the others, but no longer than its step's patience.
async fn round(canaries: &Canaries, settings: &Settings, http: &Http, known: &mut BTreeMap<CellId, Canary>) {
    let wallets: Vec<(WalletId, bool)> = known.values().map(|canary| (canary.wallet, canary.has_wallet)).collect();
    let journeys = known.iter_mut().enumerate().map(|(place, (cell, canary))| {
        // The next cell's, if it has a wallet by now.
        let (next, is_there) = wallets[(place + 1) % wallets.len()];
        let payee = (is_there && next != canary.wallet).then_some(next);
        async move {
            let journey = Journey { http, router: &settings.router, payee };
            let count = |step, outcome, took| canaries.count(cell, step, outcome, took);
            journey.go(canary, &count).await;
        }
    });
    futures_util::future::join_all(journeys).await;
}

/// A canary that lives in the cell because its bucket does: always the same one, until the bucket
/// moves.
fn choose(namespace: Uuid, placement: &Placement, cell: &CellEntry) -> Option<Canary> {
    (0..NAMES_MAX).find_map(|number| {
        let user = UserId::parse(format!("canary-{}-{number}", cell.id)).expect("a cell's id is plain");
        let wallet = WalletId::for_user(namespace, &user);
        (placement.cell_of(wallet) == cell.index).then_some(Canary { user, wallet, has_wallet: false })
    })
}

/// The client before, with its connections, unless the token was renewed meanwhile.
fn with_token(settings: &Settings, before: Option<(Option<String>, Http)>) -> Result<(Option<String>, Http), String> {
    let read = |path: &PathBuf| {
        std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
    };
    let token = settings.token.as_ref().map(read).transpose()?;
    match before {
        Some((same, http)) if same == token => Ok((same, http)),
        _ => client(settings, token.as_deref()).map(|http| (token, http)),
    }
}

fn client(settings: &Settings, token: Option<&str>) -> Result<Http, String> {
    let tls = match &settings.authority {
        _ if !settings.router.starts_with("https://") => None,
        Some(authority) => Some(Client::believing(authority).map_err(|error| error.to_string())?),
        None => Some(Client::public().map_err(|error| error.to_string())?),
    };
    let http = Http::new(Connector::new(tls, None));
    let Some(token) = token else { return Ok(http) };
    let value = axum::http::HeaderValue::from_str(&format!("Bearer {}", token.trim()));
    let mut value = value.map_err(|_| "the canaries' file holds no token".to_owned())?;
    value.set_sensitive(true);
    Ok(http.with(axum::http::header::AUTHORIZATION, value))
}

#[cfg(test)]
mod tests {
    use topology::placement::{BucketRun, CellState};
    use topology::{BUCKETS, CellIndex, InstanceId, PlacementUpdate};

    use super::*;

    fn cell(index: u16) -> CellEntry {
        CellEntry {
            index: CellIndex(index),
            id: CellId::parse(format!("cell-{index}")).expect("sound"),
            state: CellState::Active,
            weight: 1,
            instances: vec![topology::InstanceEntry {
                id: InstanceId("a".into()),
                address: "127.0.0.1:1".into(),
                role: topology::Role::All,
                zone: None,
            }],
        }
    }

    #[test]
    fn what_canaries_meet_is_counted_by_step_and_can_be_compared() {
        let canaries = Canaries::new(None);
        let cell = cell(1).id;
        canaries.count(&cell, "deposit", Outcome::Done, Duration::from_millis(3));
        canaries.count(&cell, "deposit", Outcome::Failed, Duration::from_secs(60));
        let figures = canaries.figures(cell.as_str());
        let counts = &figures.0["canary deposit"];
        assert_eq!((counts.requests, counts.errors, counts.timed()), (2, 1, 2));
        assert_eq!((counts.classes[&5_000], counts.classes[&u64::MAX], counts.classes.len()), (1, 1, 14));
        assert_eq!(figures.whole().requests, 0, "where it was answered it was counted already");
    }

    /// Of three cells: the first `owned` buckets are of cell 1, the others of cell 2.
    fn placement(owned: u16) -> Placement {
        let run = |first, last, cell| BucketRun { first, last, cell: CellIndex(cell) };
        let update = PlacementUpdate {
            version: 1,
            base: None,
            intended: false,
            cells: vec![cell(1), cell(2), cell(3)],
            buckets: vec![run(0, owned - 1, 1), run(owned, u16::MAX, 2)],
            pins: vec![],
            avoided: vec![],
        };
        Placement::from_full(&update).expect("sound")
    }

    #[test]
    fn a_canary_lives_in_the_cell_that_it_watches() {
        let half = placement(u16::try_from(BUCKETS / 2).expect("small"));
        let mut first = current(Uuid::nil(), &half, BTreeMap::new());
        let cells: Vec<&str> = first.keys().map(CellId::as_str).collect();
        assert_eq!(cells, ["cell-1", "cell-2"], "cell 3 owns no bucket");
        for (canary, index) in first.values_mut().zip([1, 2]) {
            assert_eq!(half.cell_of(canary.wallet), CellIndex(index));
            canary.has_wallet = true;
        }
        assert_eq!(current(Uuid::nil(), &half, first.clone()), first, "the same ones, with their wallets");
        let moved = current(Uuid::nil(), &placement(1), first.clone());
        assert_eq!(moved[&cell(2).id], first[&cell(2).id], "its bucket did not move");
        assert!(moved.get(&cell(1).id).is_none_or(|canary| canary.wallet != first[&cell(1).id].wallet));
    }
}
