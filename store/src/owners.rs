//! Who owns a wallet, and the key of its personal data: the port.

use std::future::Future;

use ledger::Owner;
use topology::WalletId;

use crate::errors::StoreError;

/// Owners of wallets: written with block 0 ([`ledger::Append::create`]), copied before a wallet moves, removed where it is
/// purged ([`crate::Chains::forget`]), erased for good.
pub trait Owners: Clone + Send + Sync + 'static {
    /// `None`: there is none here, or it is erased. Strongly consistent.
    fn owner(&self, wallet: WalletId) -> impl Future<Output = Result<Option<Owner>, StoreError>> + Send;

    /// Whether this cell knows that the owner was erased, wherever the wallet lives.
    fn is_erased(&self, wallet: WalletId) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Copies an owner here. Nothing is changed where there is one already, and where it was erased.
    fn put_owner(&self, wallet: WalletId, owner: &Owner) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Destroys the owner of a wallet, and keeps a late copy from bringing it back. Safe to repeat.
    fn erase_owner(&self, wallet: WalletId) -> impl Future<Output = Result<(), StoreError>> + Send;
}
