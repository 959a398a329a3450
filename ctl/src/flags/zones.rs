//! `ctl zone`: leaving a zone and taking it again.

use std::time::Duration;

use clap::{Args, Subcommand};
use load_generator::mix::duration;
use topology::ZoneId;

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
    /// How long until the zone is used again by itself: `90s`, `30m`, `2h`; at most a day.
    #[arg(long = "for", value_name = "TIME", default_value = "1h", value_parser = duration)]
    pub time: Duration,
    /// Also if too little would stay; needs a --reason.
    #[arg(long)]
    pub force: bool,
}
