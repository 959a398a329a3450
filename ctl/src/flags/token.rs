//! `ctl token`: the caller that a token is for, what it may do, and for how long.

use clap::{ArgGroup, Args, ValueEnum};

const LIFE_DEFAULT_MINUTES: u64 = 60;
const LIFE_MAX_MINUTES: u64 = 7 * 24 * 60;

#[derive(Args)]
#[command(group = ArgGroup::new("who").required(true).args(["customer", "service", "operator"]))]
pub struct TokenArgs {
    /// For a customer: the user id.
    #[arg(long)]
    pub customer: Option<String>,
    /// For a program, by its name; what it may do is said with --scope.
    #[arg(long)]
    pub service: Option<String>,
    /// For an operator, by name; see --role.
    #[arg(long)]
    pub operator: Option<String>,
    /// Once for each, or separated by commas: wallets:read, wallets:create, deposit, withdraw, transfer, hold, reverse,
    /// batch, events:read.
    #[arg(long, value_delimiter = ',', requires = "service")]
    pub scope: Vec<String>,
    #[arg(long, value_enum, default_value = "viewer")]
    pub role: Role,
    #[arg(long, default_value_t = LIFE_DEFAULT_MINUTES, value_parser = clap::value_parser!(u64).range(1..=LIFE_MAX_MINUTES))]
    pub minutes: u64,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Role {
    Viewer,
    Operator,
    Admin,
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}
