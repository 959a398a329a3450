//! The owners of wallets: a person's id, and the key to what is encrypted in the wallet's blocks. They are kept apart from
//! the segments, since they are deleted when an owner is erased.

use ledger::{Owner, WalletKey, canonical};
use serde::{Deserialize, Serialize};
use topology::{UserId, WalletId};

use crate::{Archive, ArchiveError};

/// An owner as it is stored: JSON.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    user: String,
    key: String,
}

impl Archive {
    pub async fn put_owner(&self, wallet: WalletId, owner: &Owner) -> Result<(), ArchiveError> {
        self.put(&self.owner_path(wallet), to_bytes(owner)).await
    }

    /// `None`: it was erased, or never archived.
    pub async fn owner(&self, wallet: WalletId) -> Result<Option<Owner>, ArchiveError> {
        let Some(bytes) = self.read(&self.owner_path(wallet)).await? else { return Ok(None) };
        let owner = from_bytes(&bytes).map(Some);
        owner.ok_or_else(|| ArchiveError::unsound(format!("the owner of wallet {wallet} is not what was written")))
    }

    pub async fn erase_owner(&self, wallet: WalletId) -> Result<(), ArchiveError> {
        self.delete(&self.owner_path(wallet)).await
    }
}

fn to_bytes(owner: &Owner) -> Vec<u8> {
    let stored = Stored { user: owner.user.to_string(), key: canonical::hex(owner.key.as_bytes()) };
    serde_json::to_vec(&stored).expect("plain data")
}

/// Reads what [`to_bytes`] wrote; no other bytes.
fn from_bytes(bytes: &[u8]) -> Option<Owner> {
    let stored: Stored = serde_json::from_slice(bytes).ok()?;
    let key = canonical::from_hex(&stored.key).ok()?.try_into().ok()?;
    let owner = Owner { user: UserId::parse(&stored.user).ok()?, key: WalletKey::from_bytes(key) };
    (to_bytes(&owner) == bytes).then_some(owner)
}
