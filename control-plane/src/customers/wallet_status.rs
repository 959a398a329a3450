//! What an operator does to a single wallet: freezing, unfreezing, closing it, having one of its transfers delivered. The
//! cell that serves the wallet does it, in the operator's name; this module only finds that cell.

use control_api::{Because, Refusal};
use mover::Side;
use store::dynamodb::DynamoStore;
use topology::wire::code;
use topology::{CellEntry, Endpoint, WalletId};
use tracing::info;
use uuid::Uuid;

use crate::audit::chains;
use crate::cells::fleet::Fleet;
use crate::customers::owners;
use crate::error::{Error, Result, no_placement, refused};

/// What can be done to a wallet as a whole.
#[derive(Debug, Clone, Copy)]
pub enum Verb {
    Freeze,
    Unfreeze,
    Close,
    /// Makes the personal data of a closed wallet unreadable, for good.
    Erase,
}

impl Verb {
    /// What every operator may do.
    const USUAL: [Self; 3] = [Self::Freeze, Self::Unfreeze, Self::Close];

    pub fn parse(text: &str) -> Result<Self> {
        Self::USUAL.into_iter().find(|verb| verb.as_str() == text).ok_or_else(|| {
            refused(Refusal::NotFound, format!("a wallet takes {}", Self::USUAL.map(Self::as_str).join(", ")))
        })
    }

    /// The last part of the path.
    fn as_str(self) -> &'static str {
        match self {
            Self::Freeze => "freeze",
            Self::Unfreeze => "unfreeze",
            Self::Close => "close",
            Self::Erase => "erase",
        }
    }

    fn endpoint(self) -> Endpoint {
        match self {
            Self::Freeze => Endpoint::Freeze,
            Self::Unfreeze => Endpoint::Unfreeze,
            Self::Close => Endpoint::Close,
            Self::Erase => Endpoint::Erase,
        }
    }

    /// What a cell says of a wallet that is as the verb would make it.
    fn already(self) -> &'static str {
        match self {
            Self::Freeze => code::WALLET_FROZEN,
            Self::Unfreeze => code::WALLET_NOT_FROZEN,
            Self::Close => code::WALLET_CLOSED,
            Self::Erase => code::WALLET_ERASED,
        }
    }
}

/// Has the cell of the payer try a transfer in flight at once; the transfer as the cell shows it afterwards.
pub async fn deliver(fleet: &Fleet, wallet: WalletId, transfer: Uuid, because: &Because) -> Result<serde_json::Value> {
    let cell = home(fleet, wallet).await?;
    let ids = [wallet.as_uuid(), transfer];
    let shown = fleet.instances.change_state(&cell, Endpoint::Deliver, &ids, &because.actor).await?;
    info!(%wallet, %transfer, actor = because.actor, reason = because.reason, "had a transfer delivered");
    Ok(shown)
}

/// The wallet as its cell shows it afterwards.
pub async fn change(fleet: &Fleet, wallet: WalletId, verb: Verb, because: &Because) -> Result<serde_json::Value> {
    let cell = home(fleet, wallet).await?;
    let mut changed =
        match fleet.instances.change_state(&cell, verb.endpoint(), &[wallet.as_uuid()], &because.actor).await {
            // What is asked for has happened, perhaps by a call that this one repeats: the answer is the same.
            Err(Error::Relayed(problem)) if problem.code == verb.already() => {
                fleet.instances.shown(&cell, wallet).await?
            }
            changed => changed?,
        };
    if matches!(verb, Verb::Erase) {
        owners::erase(fleet, wallet).await?;
        // The answer before was that of a wallet with an owner.
        changed = fleet.instances.shown(&cell, wallet).await?;
    }
    info!(%wallet, verb = verb.as_str(), actor = because.actor, reason = because.reason, "changed a wallet's state");
    Ok(changed)
}

/// The cell that serves the wallet.
async fn home(fleet: &Fleet, wallet: WalletId) -> Result<CellEntry> {
    let Side { cell, .. }: Side<DynamoStore> = chains::home(fleet, wallet).await?;
    let now = fleet.placements.refresh().await?.ok_or_else(no_placement)?;
    let entry = now.placement.cells().iter().find(|entry| entry.id == cell).cloned();
    entry.ok_or_else(|| Error::Unsound(format!("{wallet} lives in {cell}, which is not registered")))
}
