//! Leaving a zone and taking it again: a change of the placement, which routers follow within a moment, and of Route 53,
//! which follows the placement.
//!
//! It must never last longer than was asked for: the placement itself says until when, and routers keep to that alone.

pub mod dns;
pub mod room;

use std::sync::Arc;

use control_api::zones::{EvacuateZone, ZoneCell, ZoneView};
use control_api::{Because, Refusal};
use topology::{AvoidedZone, CellState, Placement, ZoneId};

use crate::because::{check_because, check_meant};
use crate::cells::fleet::Fleet;
use crate::clock::now_s;
use crate::error::{Result, no_placement, refused};
use crate::placement::placements::Delta;
use crate::zones::dns::Dns;
use room::{CellRoom, Process, lacking};

/// Longest time for which a zone is left without being asked for again: a day.
pub const SECONDS_MAX: u32 = 24 * 3_600;

/// Zones that are left at `now_s`.
pub fn left(placement: &Placement, now_s: u64) -> Vec<ZoneId> {
    placement.avoided().iter().filter(|one| one.until_s > now_s).map(|one| one.zone.clone()).collect()
}

/// Seconds until the first of them is taken again.
fn next_end(placement: &Placement, now_s: u64) -> Option<u64> {
    placement.avoided().iter().filter_map(|one| one.until_s.checked_sub(now_s).filter(|left| *left > 0)).min()
}

/// What leaving a zone needs.
pub struct Zones {
    pub fleet: Arc<Fleet>,
    /// Where Route 53 learns which zones were left; absent where DNS is not this control plane's.
    pub dns: Option<Dns>,
}

/// Every zone that the configuration names or an instance is in.
pub async fn list(zones: &Zones) -> Result<Vec<ZoneView>> {
    let now = zones.fleet.placements.refresh().await?.ok_or_else(no_placement)?;
    let rooms = rooms(zones).await?;
    let all = known(zones, &now.placement);
    let view = |zone: ZoneId| {
        let left_until = now.placement.avoided().iter().find(|one| one.zone == zone && one.until_s > now_s());
        let cells = rooms.iter().filter_map(|room| in_zone(room, &zone)).collect();
        let dns = zones.dns.as_ref().and_then(|dns| dns.state_of(&zone));
        ZoneView { left_until: left_until.map(|one| rfc3339(one.until_s)), cells, dns, zone }
    };
    Ok(all.into_iter().map(view).collect())
}

/// Requests stay out of the zone from now on; refused where too little would stay.
pub async fn evacuate(zones: &Zones, zone: &ZoneId, wanted: &EvacuateZone) -> Result<Vec<ZoneView>> {
    check_because(&wanted.because)?;
    if !(1..=SECONDS_MAX).contains(&wanted.seconds) {
        let detail = format!("seconds is 1 to {SECONDS_MAX}, not {}; ask again to stay out for longer", wanted.seconds);
        return Err(refused(Refusal::BadSeconds, detail));
    }
    let now = zones.fleet.placements.refresh().await?.ok_or_else(no_placement)?;
    check_known(zones, &now.placement, zone)?;
    if wanted.force {
        check_meant(&wanted.because)?;
    } else {
        let already = left(&now.placement, now_s());
        let leaving: Vec<&ZoneId> = already.iter().chain(std::iter::once(zone)).collect();
        let lacking = lacking(&rooms(zones).await?, &leaving);
        if !lacking.is_empty() {
            let detail = format!("{}; --force with a --reason leaves it all the same", lacking.join("; "));
            return Err(refused(Refusal::ZoneCapacity, detail));
        }
    }
    let until_s = now_s() + u64::from(wanted.seconds);
    change(zones, "zone_evacuated", &wanted.because, |avoided| {
        avoided.retain(|one| one.zone != *zone);
        avoided.push(AvoidedZone { zone: zone.clone(), until_s });
    })
    .await
}

/// The zone is used like the others again.
pub async fn restore(zones: &Zones, zone: &ZoneId, because: &Because) -> Result<Vec<ZoneView>> {
    check_because(because)?;
    let now = zones.fleet.placements.refresh().await?.ok_or_else(no_placement)?;
    check_known(zones, &now.placement, zone)?;
    change(zones, "zone_restored", because, |avoided| avoided.retain(|one| one.zone != *zone)).await
}

async fn change(
    zones: &Zones,
    kind: &str,
    because: &Because,
    edit: impl Fn(&mut Vec<AvoidedZone>),
) -> Result<Vec<ZoneView>> {
    let decide = |placement: &Placement| {
        let mut avoided: Vec<AvoidedZone> = placement.avoided().to_vec();
        avoided.retain(|one| one.until_s > now_s());
        edit(&mut avoided);
        let changes = avoided != placement.avoided();
        Ok(changes.then(|| Delta { avoided: Some(avoided), ..Delta::default() }))
    };
    zones.fleet.placements.change(kind, because, decide).await?;
    if let Some(dns) = &zones.dns {
        dns.look_soon();
    }
    list(zones).await
}

fn known(zones: &Zones, placement: &Placement) -> Vec<ZoneId> {
    let of_instances =
        placement.cells().iter().flat_map(|cell| cell.instances.iter().filter_map(|one| one.zone.clone()));
    let mut all: Vec<ZoneId> = zones.fleet.zones.iter().cloned().chain(of_instances).collect();
    all.sort();
    all.dedup();
    all
}

fn check_known(zones: &Zones, placement: &Placement, zone: &ZoneId) -> Result<()> {
    let all = known(zones, placement);
    if all.contains(zone) {
        return Ok(());
    }
    let names: Vec<&str> = all.iter().map(ZoneId::as_str).collect();
    let known = if names.is_empty() { "there are none".to_owned() } else { format!("there are {}", names.join(", ")) };
    Err(refused(Refusal::UnknownZone, format!("no instance is in {zone}: {known}")))
}

/// Cells that own something, with their processes as they are found now.
async fn rooms(zones: &Zones) -> Result<Vec<CellRoom>> {
    let status = crate::lifecycle::registration::status(&zones.fleet).await?;
    let serving = status.cells.into_iter().filter(|one| one.cell.state != CellState::Removed);
    let serving = serving.filter(|one| one.cell.buckets + one.cell.pins > 0);
    let room = |one: control_api::CellStatus| CellRoom {
        max_tps: one.cell.max_tps,
        writes_per_second: zones.fleet.loads.of(&one.cell.id).map(|load| load.writes_per_second),
        processes: (one.cell.instances.iter().zip(&one.health))
            .map(|(instance, health)| Process { role: instance.role, zone: instance.zone.clone(), ready: health.ready })
            .collect(),
        cell: one.cell.id,
    };
    Ok(serving.map(room).collect())
}

fn in_zone(room: &CellRoom, zone: &ZoneId) -> Option<ZoneCell> {
    let there = || room.processes.iter().filter(|one| one.zone.as_ref() == Some(zone));
    let (instances, ready) = (there().count(), there().filter(|one| one.ready).count());
    (instances > 0).then(|| ZoneCell { cell: room.cell.clone(), instances, ready })
}

fn rfc3339(seconds: u64) -> String {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    let at = time::OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    at.format(&time::format_description::well_known::Rfc3339).expect("a date of this age has a form")
}
