//! The rules of the business: what an intent does to a wallet, or why it is refused. Pure; the only place where a
//! balance is judged.

use topology::WalletId;
use topology::wire::CreditRefusal;

use crate::block::{EntryKind, Route, Status, TransactionId, WalletState};
use crate::money::Money;

/// What somebody wants of one wallet. A transfer inside a cell is two intents, `Send` and `Receive`, in one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Intent {
    Deposit {
        amount: Money,
    },
    Withdraw {
        amount: Money,
    },
    Send {
        to: WalletId,
        amount: Money,
        route: Route,
    },
    Receive {
        from: WalletId,
        amount: Money,
        route: Route,
    },
    /// The destination has recorded that the transfer arrived.
    Settle {
        transfer: TransactionId,
    },
    /// The destination has recorded that it refused the transfer.
    TakeBack {
        transfer: TransactionId,
        amount: Money,
        reason: CreditRefusal,
    },
    Freeze,
    Unfreeze,
}

/// An expected "no": the request changes nothing and the client is told what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the balance is {balance}, the amount {amount}")]
    InsufficientBalance { balance: Money, amount: Money },
    #[error("the balance would exceed {}", Money::MAX_BALANCE)]
    BalanceLimit,
    #[error("the wallet is frozen")]
    Frozen,
    #[error("the wallet is closed")]
    Closed,
    #[error("the wallet is not frozen")]
    NotFrozen,
}

/// What `intent` does to a wallet in `state`: the entry's kind and amount, or a refusal. The caller appends the entry
/// and applies it to its running state before deciding the next intent.
pub fn decide(state: &WalletState, intent: &Intent) -> Result<(EntryKind, Money), Refusal> {
    match *intent {
        Intent::Deposit { amount } => {
            can_receive(state, amount)?;
            Ok((EntryKind::Deposit, amount))
        }
        Intent::Withdraw { amount } => {
            can_pay(state, amount)?;
            Ok((EntryKind::Withdrawal, amount))
        }
        Intent::Send { to, amount, route } => {
            can_pay(state, amount)?;
            Ok((EntryKind::TransferOut { to, route }, amount))
        }
        Intent::Receive { from, amount, route } => {
            can_receive(state, amount)?;
            Ok((EntryKind::TransferIn { from, route }, amount))
        }
        Intent::Settle { transfer } => Ok((EntryKind::TransferSettled { transfer }, Money::ZERO)),
        Intent::TakeBack { transfer, amount, reason } => Ok((EntryKind::TransferReturned { transfer, reason }, amount)),
        Intent::Freeze => active(state).map(|()| (EntryKind::Frozen, Money::ZERO)),
        Intent::Unfreeze if state.status == Status::Frozen => Ok((EntryKind::Unfrozen, Money::ZERO)),
        Intent::Unfreeze => Err(Refusal::NotFrozen),
    }
}

/// Money that has left another cell must get a recorded answer: where `Receive` is refused, the refusal is an entry.
pub fn record_refusal(refusal: Refusal, transfer: TransactionId, from: WalletId) -> EntryKind {
    EntryKind::TransferRefused { transfer, from, reason: credit_refusal(refusal) }
}

/// A refusal as the paying cell is told it.
pub fn credit_refusal(refusal: Refusal) -> CreditRefusal {
    match refusal {
        Refusal::Frozen => CreditRefusal::WalletFrozen,
        Refusal::BalanceLimit => CreditRefusal::BalanceLimit,
        Refusal::Closed | Refusal::NotFrozen | Refusal::InsufficientBalance { .. } => CreditRefusal::WalletClosed,
    }
}

/// Applies a decided entry; the new running state. `None` would mean that `decide` and the chain rules disagree.
pub fn apply(state: &WalletState, kind: &EntryKind, amount: Money) -> Option<WalletState> {
    let balance = kind.balance_after(state.balance, amount)?;
    let status = kind.status_after(state.status)?;
    Some(WalletState { balance, status, ..state.clone() })
}

fn active(state: &WalletState) -> Result<(), Refusal> {
    match state.status {
        Status::Active => Ok(()),
        Status::Frozen => Err(Refusal::Frozen),
        Status::Closed => Err(Refusal::Closed),
    }
}

fn can_pay(state: &WalletState, amount: Money) -> Result<(), Refusal> {
    active(state)?;
    match state.balance.checked_sub(amount) {
        Some(_) => Ok(()),
        None => Err(Refusal::InsufficientBalance { balance: state.balance, amount }),
    }
}

/// Whether `amount` may be received now; also the answer to a paying cell that asks beforehand.
pub fn can_receive(state: &WalletState, amount: Money) -> Result<(), Refusal> {
    active(state)?;
    match state.balance.checked_add(amount) {
        Some(balance) if balance <= Money::MAX_BALANCE => Ok(()),
        _ => Err(Refusal::BalanceLimit),
    }
}
