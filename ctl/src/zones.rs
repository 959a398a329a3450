//! What `ctl zone` does: one call, and the zones as they are then.

use anyhow::Result;
use control_api::Client;
use control_api::zones::{EvacuateZone, ZoneView};
use http::Method;

use crate::api::because;
use crate::flags::Common;
use crate::flags::zones::Zone;
use crate::output::show;
use crate::tables;

pub async fn run(common: &Common, api: &Client, verb: Zone) -> Result<()> {
    let zones: Vec<ZoneView> = match verb {
        Zone::List => api.get(&["v1", "zones"]).await?,
        Zone::Evacuate(wanted) => {
            let seconds = u32::try_from(wanted.time.as_secs()).unwrap_or(u32::MAX);
            let body = EvacuateZone { seconds, force: wanted.force, because: because(common) };
            api.send(Method::POST, &["v1", "zones", wanted.zone.as_str(), "evacuate"], Some(&body)).await?
        }
        Zone::Restore { zone } => {
            api.send(Method::POST, &["v1", "zones", zone.as_str(), "restore"], Some(&because(common))).await?
        }
    };
    show(common, &zones, |zones| tables::zones::zones(zones))
}
