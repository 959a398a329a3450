//! Transfers and deposits a second through the router, from many connections, in interleaved rounds; of one build, or of
//! two beside each other.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use topology::WalletId;

use crate::bench::connection::{Answer, Request};
use crate::bench::figures::{Meter, machine, median, ratios};
use crate::bench::load::{HEADER, Load, Outcome, Round};
use crate::fleet::Call;
use crate::site::{Plan, Site, deposit, transfer};

const CLIENTS: [usize; 2] = [16, 64];
const CELLS: u16 = 3;
/// At least sixteen wallets for each connection, in every case.
const WALLETS_PER_CELL: usize = 1_024;
/// The first round does not count: connections, caches and files find their size.
const WARM_UP_MS: u64 = 300;

#[derive(clap::Args)]
pub struct Args {
    /// Interleaved rounds over all cases, at most 10
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=10))]
    rounds: u32,
    /// Milliseconds of load for each case in each round, at most 5,000
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(100..=5_000))]
    millis: u64,
    /// Measure the programs in this folder [default: those of this build]
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,
    /// Measure the programs in this folder too, on a fleet of their own, in turns
    #[arg(long, value_name = "DIR")]
    against: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Between,
    Inside,
    Deposit,
}

impl Kind {
    const ALL: [Kind; 3] = [Kind::Between, Kind::Inside, Kind::Deposit];

    fn name(self) -> &'static str {
        match self {
            Kind::Between => "transfers between three cells",
            Kind::Inside => "transfers inside one cell",
            Kind::Deposit => "deposits on distinct wallets",
        }
    }

    fn request(self, wallets: &[Vec<WalletId>]) -> Request {
        let any = |cell: usize| wallets[cell][fastrand::usize(..WALLETS_PER_CELL)];
        let cell = fastrand::usize(..wallets.len());
        match self {
            Kind::Between => transfer(any(cell), any((cell + fastrand::usize(1..wallets.len())) % wallets.len())),
            Kind::Inside => {
                let payer = fastrand::usize(..WALLETS_PER_CELL);
                let payee = (payer + fastrand::usize(1..WALLETS_PER_CELL)) % WALLETS_PER_CELL;
                transfer(wallets[0][payer], wallets[0][payee])
            }
            Kind::Deposit => deposit(any(cell)),
        }
    }

    /// Whether the money has arrived.
    fn counts(self) -> fn(&Answer) -> bool {
        match self {
            Kind::Between | Kind::Inside => |answer| answer.label() == "200 SETTLED",
            Kind::Deposit => |answer| answer.status == 200,
        }
    }
}

/// One build under load.
struct Build {
    name: String,
    site: Site,
    meter: Meter,
    outcomes: BTreeMap<(Kind, usize), Outcome>,
    /// Answers that did not count.
    others: BTreeMap<(Kind, usize), BTreeMap<String, usize>>,
}

impl Build {
    async fn start(programs: Option<PathBuf>) -> Self {
        let name = programs.as_ref().map_or_else(|| "this one".to_owned(), |folder| folder.display().to_string());
        let plan = Plan { cells: CELLS, wallets_per_cell: WALLETS_PER_CELL, programs, environment: vec![] };
        let site = Site::start(plan).await;
        let mut groups = vec![vec![site.fleet.pid("router").await], vec![], vec![]];
        for cell in 1..=CELLS {
            groups[1].push(site.fleet.pid(&format!("cell-{cell}-a")).await);
            groups[2].push(site.fleet.pid(&format!("cell-{cell}-db")).await);
        }
        Self { name, site, meter: Meter::new(groups), outcomes: BTreeMap::new(), others: BTreeMap::new() }
    }

    async fn load(&mut self, kind: Kind, clients: usize, millis: u64) -> Round {
        let wallets = std::sync::Arc::new(self.site.wallets.clone());
        let (base, duration) = (self.site.fleet.ports.router(), Duration::from_millis(millis));
        let next = move || kind.request(&wallets);
        let round = Load { base, clients, duration, next, counts: kind.counts() }.run(&self.meter).await;
        if kind == Kind::Deposit {
            self.site.deposited_cents(round.latencies_us.len() + round.others.len());
            self.insist(&round).await;
        }
        round
    }

    /// A deposit without a good answer may have been made: repeated with its key, it certainly was, once.
    async fn insist(&self, round: &Round) {
        for (request, _) in &round.others {
            let call = Call::post(format!("/api/v1/wallets/{}", request.path), &*request.body).key(&*request.key);
            self.site.fleet.client().insist(&call).await.expect(200);
        }
    }

    fn add(&mut self, case: (Kind, usize), round: &Round) {
        self.outcomes.entry(case).or_default().add(round, 1);
        let others = self.others.entry(case).or_default();
        round.others.iter().for_each(|(_, label)| *others.entry(label.clone()).or_default() += 1);
    }

    fn others(&self, case: (Kind, usize)) -> String {
        let others = self.others.get(&case).into_iter().flatten();
        let others: Vec<String> = others.map(|(label, count)| format!("{count} × {label}")).collect();
        if others.is_empty() { "none".to_owned() } else { others.join(", ") }
    }
}

pub async fn run(args: &Args) {
    let machine = machine();
    let mut builds = vec![Build::start(args.bin_dir.clone()).await];
    if args.against.is_some() {
        builds.push(Build::start(args.against.clone()).await);
    }
    for round in 0..=args.rounds {
        for clients in CLIENTS {
            for kind in Kind::ALL {
                for build in &mut builds {
                    let done = build.load(kind, clients, if round > 0 { args.millis } else { WARM_UP_MS }).await;
                    if round > 0 {
                        build.add((kind, clients), &done);
                    }
                }
            }
        }
        // Each build comes first as often as last.
        builds.rotate_left(1);
        eprintln!("round {round} of {}", args.rounds);
    }
    builds.sort_by_key(|build| args.against.as_ref().is_some_and(|folder| build.name == folder.display().to_string()));
    report(args, &machine, &builds).await;
}

async fn report(args: &Args, machine: &str, builds: &[Build]) {
    println!(
        "{machine}; {} interleaved rounds of {} ms each, through the router; median throughput of the rounds.\n\
         {CELLS} cells of {WALLETS_PER_CELL} wallets.\n",
        args.rounds, args.millis
    );
    println!("| build | what | connections | {HEADER} | other answers |");
    println!("|---|---|--:|--:|--:|--:|--:|--:|--:|--:|---|");
    let cases = || CLIENTS.into_iter().flat_map(|clients| Kind::ALL.map(|kind| (kind, clients)));
    for case in cases() {
        for build in builds {
            let (name, columns) = (&build.name, build.outcomes[&case].columns());
            println!("| {name} | {} | {} | {columns} | {} |", case.0.name(), case.1, build.others(case));
        }
    }
    println!("\n(µs: processor time of all processes of a kind for one settled operation, from /proc.)\n");
    if let [this, other] = builds {
        println!("| what | connections | {}, a second | {}, a second | ratio (each round) |", this.name, other.name);
        println!("|---|--:|--:|--:|--:|");
        for case in cases() {
            let [these, those] = [this, other].map(|build| &build.outcomes[&case].throughputs);
            let ratios = ratios(these, those);
            println!("| {} | {} | {:.0} | {:.0} | {ratios} |", case.0.name(), case.1, median(these), median(those));
        }
        println!();
    }
    for build in builds {
        println!("{}: {}.", build.name, build.site.check_money().await);
    }
}
