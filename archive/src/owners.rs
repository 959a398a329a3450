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
        let stored = Stored { user: owner.user.to_string(), key: canonical::hex(owner.key.as_bytes()) };
        self.put(&self.owner_path(wallet), serde_json::to_vec(&stored).expect("plain data")).await
    }

    /// `None`: it was erased, or never archived.
    pub async fn owner(&self, wallet: WalletId) -> Result<Option<Owner>, ArchiveError> {
        let Some(bytes) = self.read(&self.owner_path(wallet)).await? else { return Ok(None) };
        let owner = serde_json::from_slice::<Stored>(&bytes).ok().and_then(|stored| {
            let key = canonical::from_hex(&stored.key).ok()?.try_into().ok()?;
            Some(Owner { user: UserId::parse(&stored.user).ok()?, key: WalletKey::from_bytes(key) })
        });
        owner.map(Some).ok_or_else(|| ArchiveError::unsound(format!("the owner of wallet {wallet}")))
    }

    pub async fn erase_owner(&self, wallet: WalletId) -> Result<(), ArchiveError> {
        self.delete(&self.owner_path(wallet)).await
    }
}
