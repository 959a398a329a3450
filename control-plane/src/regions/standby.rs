//! Gives a registered cell the second Region that `cells.toml` names for it, or takes it away if the file names none.
//!
//! It must never take the second Region away from a cell that is on its way there: the log of its archive has been ended, so
//! that the cell can only go on in that Region.

use control_api::{Because, CellSpec, CellView, Refusal, Standby};
use topology::config::Replication;
use topology::{CellId, Placement};

use crate::because::check_because;
use crate::cells::fleet::Fleet;
use crate::error::{Result, no_placement, refused, unknown_cell};
use crate::lifecycle::registration;
use crate::placement::placements::Delta;
use crate::restore::archived::Refills;

/// May be repeated. As with what a cell declares, the audit has the change before the registry has.
pub async fn as_configured(fleet: &Fleet, refills: &Refills, id: &CellId, because: &Because) -> Result<CellView> {
    check_because(because)?;
    let record = fleet.registry.get(id).await?.ok_or_else(|| unknown_cell(id))?;
    let unsound = |detail: String| Err(refused(Refusal::UnsoundChange, detail));
    let Some(file) = fleet.configured.iter().find(|file| file.id == *id) else {
        return unsound(format!("cells.toml of this control plane does not list {id}"));
    };
    let here = record.spec.dynamodb.region.as_str();
    if !record.spec.region_epoch.is_multiple_of(2) {
        return unsound(format!("{id} is in its second Region, {here}: `ctl cell failover {id}` takes it back first"));
    }
    if file.dynamodb.region != here {
        return unsound(format!("{id} is in {here}, and cells.toml has it in {}", file.dynamodb.region));
    }
    let after = CellSpec { standby: file.standby.clone(), ..record.spec.clone() };
    if after == record.spec {
        return registration::show(fleet, id).await;
    }
    check_archives(refills, &record.spec, &after).await?;
    let now = fleet.placements.refresh().await?.ok_or_else(no_placement)?;
    registration::check_names(fleet, &now.placement, &after).await?;
    let place = |standby: &Option<Standby>| {
        standby.as_ref().map_or_else(|| "none".to_owned(), |standby| standby.dynamodb.region.clone())
    };
    let change = format!("{id} standby {} to {}", place(&record.spec.standby), place(&after.standby));
    let noted = Because { reason: format!("{change}: {}", because.reason), ..because.clone() };
    let is_listed = |placement: &Placement| {
        placement.cell_named(id).ok_or_else(|| unknown_cell(id))?;
        Ok(Some(Delta::default()))
    };
    fleet.placements.change("cell_standby", &noted, is_listed).await?;
    fleet.registry.change(&record, &after).await?;
    registration::show(fleet, id).await
}

/// A standby that follows the archive needs one; one that is taken away must not be waited for by a failover.
async fn check_archives(refills: &Refills, before: &CellSpec, after: &CellSpec) -> Result<()> {
    let follows =
        |standby: &Option<Standby>| standby.as_ref().is_some_and(|standby| standby.replication == Replication::Archive);
    if follows(&before.standby) {
        let newest = refills.archive(&before.id)?.newest(0).await?;
        if newest.is_some_and(|newest| newest.epoch > before.region_epoch) {
            let detail = format!("a failover of {} has begun: finish it with `ctl cell failover`", before.id);
            return Err(refused(Refusal::UnsoundChange, detail));
        }
    }
    if follows(&after.standby) {
        refills.archive(&after.id)?;
    }
    Ok(())
}
