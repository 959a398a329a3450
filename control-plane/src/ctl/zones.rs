//! What `ctl zone` does: one call, and the zones as they are then.

use anyhow::Result;
use axum::http::Method;

use super::api::Api;
use super::commands::{because, show};
use super::flags::Common;
use super::flags::zones::Zone;
use super::tables;
use crate::wire::zones::{EvacuateZone, ZoneView};

pub async fn run(common: &Common, api: &Api, verb: Zone) -> Result<()> {
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
