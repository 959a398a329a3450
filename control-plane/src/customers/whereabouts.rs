//! Where a customer is served, by the id of the wallet or of the user. A user id may look like a wallet id: then the
//! cells are asked which of the two there is, and nothing is guessed.
//!
//! It must never tell more of a wallet than that it exists.

use control_api::{Refusal, Where};
use serde::Deserialize;
use topology::{Placement, UserId, WalletId};

use crate::cells::fleet::Fleet;
use crate::cells::instances::Answer;
use crate::customers::onboarding::{entry, locate};
use crate::error::{Error, Result, refused};

/// What an id is meant to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Meant {
    Wallet,
    User,
}

pub async fn find(fleet: &Fleet, placement: &Placement, id: &str, meant: Option<Meant>) -> Result<Where> {
    let as_wallet = || locate(placement, id.parse::<WalletId>().map_err(Error::from)?);
    let as_user = || of_user(fleet, placement, id);
    match (meant, id.parse::<WalletId>()) {
        (Some(Meant::Wallet), _) => as_wallet(),
        (Some(Meant::User), _) | (None, Err(_)) => as_user(),
        (None, Ok(wallet)) => {
            let user = as_user()?;
            let there = tokio::join!(exists(fleet, placement, wallet), exists(fleet, placement, user.wallet_id));
            match there {
                (Some(true), Some(false)) => as_wallet(),
                (Some(false), Some(true)) => Ok(user),
                (Some(false), Some(false)) => {
                    let detail = format!("there is no wallet {id}, and no user {id} has one");
                    Err(refused(Refusal::UnknownWallet, detail))
                }
                _ => Err(ambiguous(id, &as_wallet()?, &user)),
            }
        }
    }
}

fn of_user(fleet: &Fleet, placement: &Placement, id: &str) -> Result<Where> {
    let user = UserId::parse(id)?;
    let place = locate(placement, WalletId::for_user(fleet.namespace, &user))?;
    Ok(Where { user_id: Some(user.into()), ..place })
}

/// `None`: its cell does not answer.
async fn exists(fleet: &Fleet, placement: &Placement, wallet: WalletId) -> Option<bool> {
    let cell = entry(placement, wallet).ok()?;
    let answer = fleet.instances.wallet(cell, wallet).await.ok()?;
    Some(!matches!(answer, Answer::Absent))
}

fn ambiguous(id: &str, wallet: &Where, user: &Where) -> Error {
    let detail = format!(
        "{id} may be a wallet, in {}, or a user, whose wallet is in {}: say which with --wallet or --user",
        wallet.cell, user.cell
    );
    refused(Refusal::AmbiguousId, detail)
}
