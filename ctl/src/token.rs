//! `ctl token`: a token of a local fleet's own issuer, for trying things out.

use std::time::Duration;

use anyhow::Result;
use clap::{ArgGroup, Args, ValueEnum};
use command_line::{USAGE, failure};
use local_fleet::secrets::Secrets;
use serde_json::json;
use topology::UserId;

use crate::flags::Common;

const LIFE_DEFAULT_MINUTES: u64 = 60;
const LIFE_MAX_MINUTES: u64 = 7 * 24 * 60;

#[derive(Args)]
#[command(group = ArgGroup::new("who").required(true).args(["customer", "service", "operator"]))]
pub struct TokenArgs {
    /// For a customer: the user id.
    #[arg(long)]
    customer: Option<String>,
    /// For a program, by its name; what it may do is said with --scope.
    #[arg(long)]
    service: Option<String>,
    /// For an operator, by name; see --role.
    #[arg(long)]
    operator: Option<String>,
    /// Once for each, or separated by commas: wallets:read, wallets:create, deposit, withdraw, transfer, hold, reverse,
    /// batch, events:read.
    #[arg(long, value_delimiter = ',', requires = "service")]
    scope: Vec<String>,
    #[arg(long, value_enum, default_value = "viewer")]
    role: Role,
    #[arg(long, default_value_t = LIFE_DEFAULT_MINUTES, value_parser = clap::value_parser!(u64).range(1..=LIFE_MAX_MINUTES))]
    minutes: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum Role {
    Viewer,
    Operator,
    Admin,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

pub fn run(common: &Common, wanted: &TokenArgs) -> Result<()> {
    let claims = match (&wanted.customer, &wanted.service, &wanted.operator) {
        (Some(user), _, _) => {
            let user = UserId::parse(user.as_str()).map_err(|error| failure(USAGE, error.to_string()))?;
            json!({ "kind": "customer", "sub": user.as_str() })
        }
        (_, Some(name), _) => json!({ "kind": "service", "sub": name, "scope": wanted.scope.join(" ") }),
        (_, _, name) => json!({ "kind": "operator", "sub": name, "role": wanted.role.name() }),
    };
    println!("{}", Secrets::of(&common.data).mint(claims, Duration::from_secs(wanted.minutes * 60))?);
    Ok(())
}
