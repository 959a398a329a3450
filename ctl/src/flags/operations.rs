//! The grammar of what moves customers: `migrate`, `rebalance`, `cell evacuate`, `op`, `audit`.

use std::str::FromStr;

use clap::{Args, Subcommand};
use control_api::{BucketRange, DEFAULT_BAKE_SECONDS, DEFAULT_CONCURRENT, Limits, OperationId};
use topology::{Bucket, CellId, WalletId};

/// Move customers to another cell: plain, or one of the verbs on an operation under way.
#[derive(Args)]
pub struct Migrate {
    #[command(subcommand)]
    pub verb: Option<MigrateVerb>,
    #[command(flatten)]
    pub start: StartMigrate,
}

#[derive(Subcommand)]
pub enum MigrateVerb {
    Start(StartMigrate),
    Status {
        operation: OperationId,
    },
    Pause {
        operation: OperationId,
    },
    /// Go on with a paused operation, or try a failed one again.
    Resume {
        operation: OperationId,
        #[command(flatten)]
        wait: Waiting,
    },
    /// End it: steps done stay done, those in progress are taken back.
    Abort(Abort),
    /// Move back what an operation that is over has moved.
    Reverse {
        operation: OperationId,
        #[command(flatten)]
        change: Change,
    },
    /// Compare what was moved, hash by hash, at both cells.
    Verify {
        operation: OperationId,
    },
    /// Delete at the source what was moved away; nothing can be reversed afterwards.
    Forget {
        operation: OperationId,
        #[command(flatten)]
        change: Change,
    },
}

#[derive(Args)]
pub struct Abort {
    pub operation: OperationId,
    /// Give up without taking back the steps in progress; with --reason.
    #[arg(long)]
    pub force: bool,
}

#[derive(Args)]
pub struct StartMigrate {
    /// The wallet of this user.
    #[arg(long, group = "scope")]
    pub user: Option<String>,
    #[arg(long, group = "scope")]
    pub wallet: Option<WalletId>,
    /// `6a83`, or a range with both ends: `0000..00ff`.
    #[arg(long, group = "scope")]
    pub bucket: Option<Buckets>,
    /// The cell that receives.
    #[arg(long)]
    pub to: Option<CellId>,
    #[command(flatten)]
    pub change: Change,
}

#[derive(Args)]
pub struct Rebalance {
    /// Most buckets moved by this run.
    #[arg(long)]
    pub max_moves: Option<usize>,
    #[command(flatten)]
    pub change: Change,
}

#[derive(Args)]
pub struct Evacuate {
    pub id: CellId,
    /// Also if the others lack room; with --reason.
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub change: Change,
}

#[derive(Args)]
pub struct Remove {
    pub id: CellId,
    /// Without looking into the cell's tables, which may be gone; with --reason.
    #[arg(long)]
    pub force: bool,
}

#[derive(Subcommand)]
pub enum Op {
    List {
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    Show {
        operation: OperationId,
    },
    /// Follow it to its end.
    Watch {
        operation: OperationId,
        #[command(flatten)]
        wait: Waiting,
    },
    /// The same as `ctl migrate abort`.
    Cancel(Abort),
}

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Audit {
    #[command(subcommand)]
    pub verb: Option<AuditVerb>,
    #[arg(long, default_value_t = 20)]
    pub limit: u32,
    /// Only of this one.
    #[arg(long)]
    pub operation: Option<OperationId>,
}

#[derive(Subcommand)]
pub enum AuditVerb {
    /// Add up the books of all cells at one moment, while the traffic goes on: was money made or lost?
    Conservation,
}

/// How an operation is started.
#[derive(Args, Clone, Default)]
pub struct Change {
    /// Show the plan; exit code 3 if it would change something.
    #[arg(long)]
    pub dry_run: bool,
    /// Show every step and why.
    #[arg(long)]
    pub explain: bool,
    /// Do not ask.
    #[arg(long)]
    pub yes: bool,
    #[arg(long, help = format!("Wallets moved at once [default: {DEFAULT_CONCURRENT}]"))]
    pub max_concurrent: Option<usize>,
    #[arg(long)]
    pub max_bytes_per_sec: Option<u64>,
    #[arg(long, help = format!("Seconds after the end before the source may be made to forget [default: {DEFAULT_BAKE_SECONDS}]"))]
    pub bake_seconds: Option<u64>,
    #[command(flatten)]
    pub wait: Waiting,
}

#[derive(Args, Clone, Default)]
pub struct Waiting {
    /// Do not wait for the end.
    #[arg(long)]
    pub detach: bool,
    /// Wait at most so many seconds; then exit code 5, and the operation goes on.
    #[arg(long, value_name = "SECONDS")]
    pub wait: Option<u64>,
}

impl Change {
    pub fn limits(&self) -> Limits {
        Limits {
            max_concurrent: self.max_concurrent.unwrap_or(DEFAULT_CONCURRENT),
            max_bytes_per_sec: self.max_bytes_per_sec,
            bake_seconds: self.bake_seconds.unwrap_or(DEFAULT_BAKE_SECONDS),
        }
    }
}

/// One bucket, or both ends of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buckets(pub BucketRange);

impl FromStr for Buckets {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once("..").unwrap_or((text, text));
        let bucket = |text: &str| text.parse::<Bucket>().map_err(|error| error.to_string());
        let (first, last) = (bucket(first)?, bucket(last)?);
        if first > last {
            return Err(format!("{first} comes after {last}"));
        }
        Ok(Self(BucketRange { first, last }))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Flags, Noun};
    use super::*;

    fn parse(line: &str) -> Result<Noun, clap::Error> {
        Flags::try_parse_from(line.split(' ')).map(|flags| flags.noun)
    }

    #[test]
    fn a_migration_is_plain_or_has_a_verb() {
        for line in [
            "ctl migrate --bucket 0000..00ff --to cell-2",
            "ctl migrate start --bucket 0000..00ff --to cell-2 --yes --max-concurrent 4 --wait 10",
        ] {
            let Ok(Noun::Migrate(migrate)) = parse(line) else { panic!("{line}") };
            let Migrate { verb, start } = *migrate;
            let start = if let Some(MigrateVerb::Start(start)) = verb { start } else { start };
            let range = BucketRange { first: Bucket(0), last: Bucket(255) };
            assert_eq!((start.bucket, start.to.map(String::from)), (Some(Buckets(range)), Some("cell-2".into())));
        }
        for line in ["ctl migrate pause op-3", "ctl migrate forget op-3 --yes", "ctl op list"] {
            assert!(parse(line).is_ok(), "{line}");
        }
        for line in [
            "ctl migrate --bucket 00ff..0000 --to cell-2",
            "ctl migrate --bucket 00 --to cell-2",
            "ctl migrate --bucket 0000 --user ann --to cell-2",
            "ctl migrate pause 3",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
