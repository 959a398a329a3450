//! What an operator does to a single wallet: freezing, unfreezing, closing it, having one of its transfers delivered. The
//! cell that serves the wallet does it, in the operator's name; this module only finds that cell.

use ledger::store::dynamodb::DynamoStore;
use topology::WalletId;
use tracing::info;
use uuid::Uuid;

use crate::error::{Error, Result, no_placement, refused};
use crate::ledgers;
use crate::mover::Side;
use crate::state::ControlPlane;
use crate::wire::Because;

/// What can be done to a wallet as a whole; each is a path of the cells' internal API.
pub const VERBS: [&str; 3] = ["freeze", "unfreeze", "close"];

/// Has the cell of the payer try a transfer in flight at once; the transfer as the cell shows it afterwards.
pub async fn deliver(
    control: &ControlPlane,
    wallet: WalletId,
    transfer: Uuid,
    because: &Because,
) -> Result<serde_json::Value> {
    let path = format!("transfers/{transfer}/deliver");
    let shown = ask(control, wallet, &path, because).await?;
    info!(%wallet, %transfer, actor = because.actor, reason = because.reason, "had a transfer delivered");
    Ok(shown)
}

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
    let changed = ask(control, wallet, verb, because).await?;
    info!(%wallet, verb, actor = because.actor, reason = because.reason, "changed a wallet's state");
    Ok(changed)
}

/// Posts to a path of the wallet at the cell that serves it.
async fn ask(control: &ControlPlane, wallet: WalletId, path: &str, because: &Because) -> Result<serde_json::Value> {
    let Side { cell, .. }: Side<DynamoStore> = ledgers::home(control, wallet).await?;
    let now = control.placements.refresh().await?.ok_or_else(no_placement)?;
    let entry = now.placement.cells().iter().find(|entry| entry.id == cell).cloned();
    let entry = entry.ok_or_else(|| Error::Unsound(format!("{wallet} lives in {cell}, which is not registered")))?;
    control.instances.change_state(&entry, wallet, path, &because.actor).await
}
