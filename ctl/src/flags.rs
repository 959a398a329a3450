//! The grammar of the command line: nouns, then verbs.

pub mod archive;
pub mod deploys;
pub mod drill;
pub mod ledger;
pub mod load;
pub mod log;
pub mod operations;
pub mod recovery;
pub mod token;
pub mod zones;

use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use local_fleet::secrets::CERTIFICATE_LIFE_DAYS;
use local_fleet::up::{DEFAULT_DATA, Up};
use topology::config::DEFAULT_MAX_TPS;
use topology::{CellId, InstanceConfig, Version, WalletId, ZoneId};

use archive::ArchiveVerb;
use deploys::Deploy;
use drill::DrillVerb;
use ledger::Ledger;
use load::LoadArgs;
use log::LogVerb;
use operations::{Audit, Evacuate, Migrate, Op, Rebalance, Remove};
use recovery::{ExportCell, FailOver, RestoreCell};
use token::TokenArgs;
use zones::Zone;

/// Operate a cell-based wallet: cells, customers, placement, and a whole local fleet.
#[derive(Parser)]
#[command(version)]
pub struct Flags {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub noun: Noun,
}

#[derive(Args)]
pub struct Common {
    /// The control plane; default: the local fleet's in --data, else http://127.0.0.1:8083.
    #[arg(long, global = true, env = "CTL_SERVER")]
    pub server: Option<String>,
    #[arg(short, long, global = true, value_enum, default_value = "table")]
    pub output: Output,
    /// Why; kept with the change.
    #[arg(long, global = true, default_value = "not given")]
    pub reason: String,
    #[arg(long, global = true, env = "USER", default_value = "unknown")]
    pub actor: String,
    /// Directory of the local fleet.
    #[arg(long, global = true, default_value = DEFAULT_DATA)]
    pub data: PathBuf,
    /// Your token, for a control plane that requires one; on a secure fleet of your own in --data
    /// it is found there.
    #[arg(long, global = true, env = "CTL_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// PEM file of the authorities to believe when --server is https.
    #[arg(long, global = true, env = "CTL_CA")]
    pub ca: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Table,
    Json,
}

#[derive(Subcommand)]
pub enum Noun {
    /// Run a whole fleet on this machine until Ctrl-C.
    Up(Up),
    /// The processes of the local fleet.
    #[command(subcommand)]
    Local(Local),
    /// What processes log; changed while they run.
    #[command(subcommand)]
    Log(LogVerb),
    #[command(subcommand)]
    Cell(Cell),
    /// Which cell serves a wallet or user.
    Where(WhereArgs),
    #[command(subcommand)]
    Customer(Customer),
    #[command(subcommand)]
    Placement(Placement),
    Migrate(Box<Migrate>),
    /// Give each cell its share of buckets by weight, with the fewest moves.
    Rebalance(Rebalance),
    /// A new version of the cells' program: cell by cell, watched, and taken back where it is worse.
    #[command(subcommand)]
    Deploy(Deploy),
    /// Operations: what is under way and what was.
    #[command(subcommand)]
    Op(Op),
    /// The chains themselves: verify, export, what was found broken, what cells have committed to.
    #[command(subcommand)]
    Ledger(Ledger),
    /// What a cell has archived: verify it, read it, balances at a time. No control plane is needed.
    #[command(subcommand)]
    Archive(ArchiveVerb),
    /// The log of all changes, with actor, time and reason; and whether all money is there.
    Audit(Audit),
    /// A single wallet as a whole.
    #[command(subcommand)]
    Wallet(Wallet),
    /// Transfers between cells
    #[command(subcommand)]
    Transfer(Transfer),
    /// Zones: what is in them, and which are left.
    #[command(subcommand)]
    Zone(Zone),
    /// Cells, their share of customers, and the health of their instances.
    Status,
    /// What cells take, what they are asked for, and when the next cell is due.
    Capacity,
    /// Send requests at a fixed rate, as customers would, and measure the answers.
    Load(LoadArgs),
    /// A token for trying things out on a secure local fleet.
    Token(TokenArgs),
    /// Break a fleet of its own under load, heal it, and check what customers saw.
    #[command(subcommand)]
    Drill(DrillVerb),
}

#[derive(Args)]
#[group(required = true, multiple = false)]
pub struct WhereArgs {
    /// A wallet id or a user id; of a user id that is a UUID, the cells are asked which of the two there is.
    pub id: Option<String>,
    /// A wallet id.
    #[arg(long)]
    pub wallet: Option<WalletId>,
    /// A user id.
    #[arg(long)]
    pub user: Option<String>,
}

impl WhereArgs {
    /// The id, and what it is meant to be.
    pub fn meant(self) -> (String, Option<&'static str>) {
        match (self.wallet, self.user, self.id) {
            (Some(wallet), _, _) => (wallet.to_string(), Some("wallet")),
            (None, Some(user), _) => (user, Some("user")),
            (None, None, id) => (id.unwrap_or_default(), None),
        }
    }
}

#[derive(Subcommand)]
pub enum Transfer {
    /// Try a transfer in flight at once, instead of at its next turn, and show it
    Deliver {
        /// The paying wallet
        wallet: WalletId,
        transfer: uuid::Uuid,
    },
}

#[derive(Subcommand)]
pub enum Wallet {
    /// Nothing goes in or out any more, but for reversals.
    Freeze {
        wallet: WalletId,
    },
    Unfreeze {
        wallet: WalletId,
    },
    /// For ever; only an empty wallet, with nothing on hold or in flight.
    Close {
        wallet: WalletId,
    },
    /// Destroy the key of a closed wallet's personal data, for ever: user id, addresses, actors, descriptions, metadata.
    /// The chain stays, and stays verifiable.
    Erase {
        wallet: WalletId,
    },
}

fn address(text: &str) -> Result<InstanceConfig, String> {
    let (text, zone) = match text.split_once('@') {
        Some((text, zone)) => (text, Some(ZoneId::parse(zone).map_err(|error| error.to_string())?)),
        None => (text, None),
    };
    let (role, address) = match text.split_once('=') {
        Some((role, address)) => (role.parse().map_err(|error: topology::role::RoleError| error.to_string())?, address),
        None => (topology::Role::All, text),
    };
    Ok(InstanceConfig { role, zone, address: address.to_owned() })
}

#[derive(Subcommand)]
pub enum Local {
    Status,
    /// Stop a process gracefully and keep it down.
    Stop {
        name: String,
    },
    Start {
        name: String,
    },
    /// Run a process as another build of its program, past any deploy; it stays that build when it is started again.
    Replace {
        name: String,
        #[arg(long)]
        version: Version,
        /// The build of this version, if the fleet has none yet.
        #[arg(long)]
        binary: Option<PathBuf>,
    },
    /// Of a secure fleet: new certificates for all processes, which go on without a pause.
    RenewCertificates {
        /// Days that they last
        #[arg(long, default_value_t = CERTIFICATE_LIFE_DAYS, value_parser = clap::value_parser!(u32).range(1..=3_650))]
        days: u32,
    },
    /// Kill a process with SIGKILL; it is started again unless a flag says otherwise.
    Kill {
        name: String,
        #[arg(long)]
        keep_down: bool,
    },
    /// Cut a Region off, such as local-1, or an instance that has a relay: nothing arrives, not even an error.
    Cut {
        name: String,
    },
    /// Undo a cut. What was sent meanwhile arrives late.
    Mend {
        name: String,
    },
}

#[derive(Subcommand)]
pub enum Cell {
    /// Register a cell that owns nothing yet. With a local fleet running, start it first.
    Add(AddCell),
    List,
    Show {
        id: CellId,
    },
    /// Change what a cell declares: its share of buckets, and what it takes. Nothing moves before `ctl rebalance`; its
    /// processes take their limit from cells.toml when they start.
    Set(SetCell),
    /// Give a registered cell the second Region that the control plane's cells.toml names for it, or take it away if the
    /// file names none; needs a --reason.
    Standby {
        id: CellId,
    },
    /// What cells.toml and the registry say differently; exit code 3 if there is anything.
    Drift,
    /// Take no new customers; those that are there stay.
    Drain {
        id: CellId,
    },
    /// Take new customers: again, or a new cell for the first time.
    Undrain {
        id: CellId,
    },
    /// Move everything to the other cells.
    Evacuate(Evacuate),
    /// Take an empty cell out of the registry.
    Remove(Remove),
    /// Write all its chains to a file, while it serves.
    Export(ExportCell),
    /// Write them back into empty tables of the same cell, with its processes stopped; needs a
    /// --reason.
    Restore(RestoreCell),
    /// Serve cells in their other Region, where tables follow their archives; needs a --reason. The former Region stops
    /// first, if it can be reached.
    Failover(FailOver),
    /// Name each block that only the Region has that the cell has left, and what it did to the balance.
    Reconcile {
        id: CellId,
    },
}

#[derive(Args)]
pub struct AddCell {
    pub id: CellId,
    #[arg(long, default_value_t = 1)]
    pub weight: u32,
    /// Local fleet: processes to start; default: as the other cells.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=8))]
    pub instances: Option<u16>,
    #[arg(long, default_value_t = DEFAULT_MAX_TPS)]
    pub max_tps: u32,
    #[arg(long, default_value_t = 1_000_000)]
    pub max_customers: u64,
    /// `host:port` of an instance that runs already, once for each; then no local fleet is asked to start it. Where
    /// instances have roles: `accounts=host:port`, `transactions=host:port`; where they stand in zones: `host:port@zone`.
    #[arg(long, value_parser = address)]
    pub address: Vec<InstanceConfig>,
    #[arg(long, default_value = "us-east-1")]
    pub region: String,
    /// With --address: DynamoDB endpoint of the cell's tables; absent on AWS.
    #[arg(long)]
    pub dynamodb_endpoint: Option<String>,
    /// With --address: role of the cell's AWS account that the control plane becomes to reach its tables.
    #[arg(long)]
    pub role_arn: Option<String>,
    /// Then give it its share of buckets.
    #[arg(long)]
    pub rebalance: bool,
    /// With --rebalance: do not ask.
    #[arg(long)]
    pub yes: bool,
    /// With --rebalance: do not wait for the end.
    #[arg(long)]
    pub detach: bool,
}

#[derive(Args)]
#[command(group = ArgGroup::new("declared").required(true).multiple(true).args(["weight", "max_tps", "max_customers"]))]
pub struct SetCell {
    pub id: CellId,
    /// Share of the buckets, relative to the other cells' weights; 0: none. Default: as it is.
    #[arg(long)]
    pub weight: Option<u32>,
    /// Writes a second; 0: without limit. Default: as it is.
    #[arg(long)]
    pub max_tps: Option<u32>,
    /// Customers; 0: no new ones. Default: as it is.
    #[arg(long)]
    pub max_customers: Option<u64>,
}

#[derive(Subcommand)]
pub enum Customer {
    /// Give a new user a wallet.
    Onboard {
        #[arg(long)]
        user: String,
        /// Default: the cell of the user's bucket.
        #[arg(long, conflicts_with = "region")]
        cell: Option<CellId>,
        /// A cell of this Region.
        #[arg(long)]
        region: Option<String>,
    },
    Show {
        user: String,
    },
}

#[derive(Subcommand)]
pub enum Placement {
    Get,
    History {
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn a_cell_is_set_to_something() {
        let parsed = |words: &str| Flags::try_parse_from(format!("ctl cell set {words}").split(' ')).is_ok();
        assert!(parsed("cell-1 --weight 2") && parsed("cell-1 --max-tps 5 --max-customers 7"));
        assert!(!parsed("cell-1") && !parsed("--weight 2") && !parsed("cell-1 --max-customers -1"));
    }

    #[test]
    fn the_help_of_ctl_up_says_what_a_new_fleet_is_like() {
        let config =
            format!("[deployment]\nname='t'\nnamespace='{}'\nregion='r'\n[[cells]]\nid='a'\n", uuid::Uuid::nil());
        let fleet = local_fleet::fleet::Fleet::new(&topology::Config::parse(&config).expect("sound"));
        let mut flags = Flags::command();
        let help = flags.find_subcommand_mut("up").expect("a verb").render_long_help().to_string();
        let words = help.split_whitespace().collect::<Vec<_>>().join(" ");
        for (what, value) in [
            ("at most 8 [default: as last time, at first", fleet.instances),
            ("it [default: as last time, at first", fleet.port),
        ] {
            assert!(words.contains(&format!("{what} {value}]")), "{what} {value}: {words}");
        }
    }
}
