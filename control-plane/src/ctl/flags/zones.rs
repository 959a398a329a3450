//! `ctl zone`: leaving a zone and taking it again.

use clap::{Args, Subcommand};
use topology::ZoneId;

use crate::wire::zones::MINUTES_DEFAULT;

#[derive(Subcommand)]
pub enum Zone {
    List,
    /// Send requests elsewhere, and tell DNS so, for a time; again to make it longer.
    Evacuate(Evacuate),
    /// Use the zone again before the time is over.
    Restore {
        zone: ZoneId,
    },
}

#[derive(Args)]
pub struct Evacuate {
    pub zone: ZoneId,
    /// Minutes after which the zone is used again by itself.
    #[arg(long = "for", value_name = "MINUTES", default_value_t = MINUTES_DEFAULT)]
    pub minutes: u32,
    /// Also if too little would stay; needs a --reason.
    #[arg(long)]
    pub force: bool,
}
