//! What an operator does to a single wallet: freezing, unfreezing, closing it. The cell that serves it writes the entry,
//! with the operator's name in it; here is only found out which one that is.

use ledger::store::dynamodb::DynamoStore;
use topology::WalletId;
use tracing::info;

use crate::error::{Error, Result, no_placement, refused};
use crate::ledgers;
use crate::mover::Side;
use crate::state::ControlPlane;
use crate::wire::Because;

/// What can be done to a wallet as a whole; each is a path of the cells' internal API.
pub const VERBS: [&str; 3] = ["freeze", "unfreeze", "close"];

/// The wallet as its cell shows it afterwards.
pub async fn change(
    control: &ControlPlane,
    wallet: WalletId,
    verb: &str,
    because: &Because,
) -> Result<serde_json::Value> {
    if !VERBS.contains(&verb) {
        return Err(refused(404, "not_found", "No such path", format!("a wallet takes {}", VERBS.join(", "))));
    }
    let Side { cell, .. }: Side<DynamoStore> = ledgers::home(control, wallet).await?;
    let now = control.placements.refresh().await?.ok_or_else(no_placement)?;
    let entry = now.placement.cells().iter().find(|entry| entry.id == cell).cloned();
    let entry = entry.ok_or_else(|| Error::Unsound(format!("{wallet} lives in {cell}, which is not registered")))?;
    let changed = control.instances.change_state(&entry, wallet, verb, &because.actor).await?;
    info!(%wallet, verb, actor = because.actor, reason = because.reason, "changed a wallet's state");
    Ok(changed)
}
