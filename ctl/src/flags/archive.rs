//! The grammar of `ctl archive`. It needs no control plane and no cell: only the archive.

use std::path::PathBuf;

use archive::Receipt;
use clap::{Args, Subcommand, ValueEnum};
use ledger::block::Hash;
use ledger::{Timestamp, canonical};
use topology::{CellId, WalletId};

#[derive(Args)]
pub struct Of {
    /// `file:///directory`, or `s3://bucket/prefix` with credentials and Region from the environment.
    #[arg(long, value_name = "URL", env = "CTL_ARCHIVE")]
    pub archive: String,
    #[arg(long)]
    pub cell: CellId,
}

#[derive(Subcommand)]
pub enum ArchiveVerb {
    /// The newest entry of the log, and how far it is behind the clock.
    Status {
        #[command(flatten)]
        of: Of,
    },
    /// Verify the log, every segment, and every wallet's chain. Exit code 6 if something is not as it must be.
    Verify {
        #[command(flatten)]
        of: Of,
        /// An entry that was noted down earlier, as `status` and `verify` print it: that nothing since was cut off or
        /// replaced.
        #[arg(long, value_name = "NUMBER:HASH", value_parser = receipt)]
        receipt: Option<Receipt>,
        /// The owners of wallets too: whether their keys open what they are for. Needs the right to read them.
        #[arg(long)]
        owners: bool,
    },
    /// Print a wallet's blocks as JSON lines, for scripts/verify-chain. Reads the whole archive.
    Read {
        #[command(flatten)]
        of: Of,
        #[arg(long)]
        wallet: WalletId,
        /// Only blocks until then, such as `2026-01-02T03:04:05Z`; default: all.
        #[arg(long, value_name = "TIME", value_parser = Timestamp::parse)]
        until: Option<Timestamp>,
        /// With what is encrypted in them, opened: addresses, actors, descriptions, metadata.
        #[arg(long)]
        with_personal: bool,
    },
    /// The balances of all wallets that were at home in the cell at a time.
    Balances {
        #[command(flatten)]
        of: Of,
        /// Such as `2026-01-02T03:04:05Z`: blocks of this time and before count.
        #[arg(long, value_name = "TIME", value_parser = Timestamp::parse)]
        at: Timestamp,
        /// Default: what `--output` says.
        #[arg(long, value_enum, requires_if("parquet", "to"))]
        format: Option<BalancesFormat>,
        /// File to write; it gets this name once it is whole. Default: standard output.
        #[arg(long, value_name = "FILE", requires = "format")]
        to: Option<PathBuf>,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BalancesFormat {
    Csv,
    Parquet,
}

fn receipt(text: &str) -> Result<Receipt, String> {
    let read = || {
        let (number, hash) = text.split_once(':')?;
        let hash = canonical::from_hex(hash).ok()?.try_into().ok()?;
        Some(Receipt { number: number.parse().ok()?, hash: Hash(hash) })
    };
    read().ok_or_else(|| "not a number, a colon and a hash of 64 hexadecimal digits".to_owned())
}
