//! The rules of the business: what an intent does to a wallet, or why it is refused. Pure; the only place where a
//! balance is judged.

use topology::WalletId;
use topology::wire::CreditRefusal;

use crate::block::{EntryKind, ItemOutcome, TransactionId};
use crate::limits::{MAX_OPEN_HOLDS, MAX_OPEN_TRANSFERS};
use crate::money::Money;
use crate::state::{Status, WalletState};
use crate::time::Timestamp;

/// What a command asks of one wallet.
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
        /// The transfer into this wallet that is sent back.
        reverses: Option<TransactionId>,
    },
    Receive {
        from: WalletId,
        amount: Money,
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
    /// Refused while there is money in the wallet, on hold or in flight.
    Close,
    /// Of a closed wallet: its personal data is to become unreadable.
    Erase,
    /// Sets an amount aside until it is captured, voided or expires.
    Hold {
        amount: Money,
        expires_at: Timestamp,
    },
    /// Takes all of a hold, or a part of it and frees the rest.
    Capture {
        hold: TransactionId,
        amount: Option<Money>,
    },
    Void {
        hold: TransactionId,
    },
    /// Takes a deposit of this amount back.
    ReverseDeposit {
        of: TransactionId,
        amount: Money,
    },
    /// Gives a withdrawal, or a captured hold, of this amount back.
    ReverseWithdrawal {
        of: TransactionId,
        amount: Money,
    },
}

/// An expected "no": the request changes nothing and the answer tells the client what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the available balance is {available}, the amount {amount}")]
    InsufficientBalance { available: Money, amount: Money },
    #[error("the balance would exceed {}", Money::MAX_BALANCE)]
    BalanceLimit,
    #[error("the wallet is frozen")]
    Frozen,
    #[error("the wallet is closed")]
    Closed,
    #[error("the wallet is not frozen")]
    NotFrozen,
    #[error("the wallet is not closed")]
    NotClosed,
    #[error("the personal data of the wallet is erased")]
    Erased,
    #[error("the wallet still holds {balance}")]
    NotEmpty { balance: Money },
    #[error("{open} transfers out of the wallet are still in flight")]
    InFlight { open: u32 },
    #[error("{MAX_OPEN_TRANSFERS} transfers out of the wallet are in flight, the most it may have")]
    TooManyInFlight,
    #[error("no transfer out of the wallet is in flight")]
    NothingInFlight,
    #[error("the wallet has no such open hold")]
    NoOpenHold,
    #[error("the hold is of {held}, the amount {amount}")]
    AboveHold { held: Money, amount: Money },
    #[error("the wallet has {MAX_OPEN_HOLDS} open holds, the most it may have")]
    TooManyHolds,
    #[error("the hold would be over already")]
    ExpiryPassed,
}

/// What `intent` does to a wallet in `state` in a block of time `at`: the entry's kind and amount, or a refusal. The
/// caller first writes the end of every hold that is over ([`expiry`]), then applies the entry to its running state
/// before deciding the next intent.
pub fn decide(state: &WalletState, intent: &Intent, at: Timestamp) -> Result<(EntryKind, Money), Refusal> {
    match *intent {
        Intent::Deposit { amount } => {
            can_receive(state, amount)?;
            Ok((EntryKind::Deposit, amount))
        }
        Intent::Withdraw { amount } => {
            active(state)?;
            covered(state, amount, at)?;
            Ok((EntryKind::Withdrawal, amount))
        }
        Intent::Send { to, amount, reverses } => {
            if reverses.is_some() {
                not_closed(state)?
            } else {
                active(state)?
            }
            covered(state, amount, at)?;
            if state.open_count >= MAX_OPEN_TRANSFERS {
                return Err(Refusal::TooManyInFlight);
            }
            Ok((EntryKind::TransferOut { to, reverses }, amount))
        }
        Intent::Receive { from, amount } => {
            can_receive(state, amount)?;
            Ok((EntryKind::TransferIn { from }, amount))
        }
        Intent::Settle { transfer } => {
            something_open(state)?;
            Ok((EntryKind::TransferSettled { transfer }, Money::ZERO))
        }
        Intent::TakeBack { transfer, amount, reason } => {
            something_open(state)?;
            Ok((EntryKind::TransferReturned { transfer, reason }, amount))
        }
        Intent::Freeze => active(state).map(|()| (EntryKind::Frozen, Money::ZERO)),
        Intent::Unfreeze if state.status == Status::Frozen => Ok((EntryKind::Unfrozen, Money::ZERO)),
        Intent::Unfreeze => Err(Refusal::NotFrozen),
        Intent::Close => close(state),
        Intent::Erase => match state.status {
            Status::Closed => Ok((EntryKind::Erased, Money::ZERO)),
            Status::Erased => Err(Refusal::Erased),
            Status::Active | Status::Frozen => Err(Refusal::NotClosed),
        },
        Intent::Hold { amount, expires_at } => {
            active(state)?;
            match () {
                () if expires_at <= at => Err(Refusal::ExpiryPassed),
                () if state.holds.len() >= MAX_OPEN_HOLDS => Err(Refusal::TooManyHolds),
                () => covered(state, amount, at),
            }?;
            Ok((EntryKind::HoldPlaced { expires_at }, amount))
        }
        Intent::Capture { hold, amount } => {
            active(state)?;
            let open = state.hold(hold).ok_or(Refusal::NoOpenHold)?;
            match amount.unwrap_or(open.amount) {
                amount if amount > open.amount => Err(Refusal::AboveHold { held: open.amount, amount }),
                amount => Ok((EntryKind::HoldCaptured { hold }, amount)),
            }
        }
        Intent::Void { hold } => {
            state.hold(hold).ok_or(Refusal::NoOpenHold)?;
            Ok((EntryKind::HoldVoided { hold }, Money::ZERO))
        }
        Intent::ReverseDeposit { of, amount } => {
            not_closed(state)?;
            covered(state, amount, at)?;
            Ok((EntryKind::DepositReversed { of }, amount))
        }
        Intent::ReverseWithdrawal { of, amount } => {
            not_closed(state)?;
            below_limit(state, amount)?;
            Ok((EntryKind::WithdrawalReversed { of }, amount))
        }
    }
}

/// The entry that writes the end of a hold which is over at `at`, if there is one; to be asked until there is none.
pub fn expiry(state: &WalletState, at: Timestamp) -> Option<(EntryKind, Money)> {
    state.expired_at(at).map(|hold| (EntryKind::HoldExpired { hold: hold.id }, Money::ZERO))
}

/// Money that has left a wallet must get a recorded answer: where `Receive` is refused, the refusal is an entry.
pub fn record_refusal(refusal: Refusal, transfer: TransactionId, from: WalletId) -> EntryKind {
    EntryKind::TransferRefused { transfer, from, reason: credit_refusal(refusal) }
}

/// A refusal to receive as the paying cell gets it.
pub fn credit_refusal(refusal: Refusal) -> CreditRefusal {
    match refusal {
        Refusal::Frozen => CreditRefusal::WalletFrozen,
        Refusal::Closed => CreditRefusal::WalletClosed,
        Refusal::BalanceLimit => CreditRefusal::BalanceLimit,
        Refusal::InsufficientBalance { .. }
        | Refusal::NotFrozen
        | Refusal::NotClosed
        | Refusal::Erased
        | Refusal::NotEmpty { .. }
        | Refusal::InFlight { .. }
        | Refusal::TooManyInFlight
        | Refusal::NothingInFlight
        | Refusal::NoOpenHold
        | Refusal::AboveHold { .. }
        | Refusal::TooManyHolds
        | Refusal::ExpiryPassed => unreachable!("`can_receive` does not refuse with {refusal:?}"),
    }
}

/// Whether a batch may be decided at all.
pub fn can_batch(state: &WalletState) -> Result<(), Refusal> {
    active(state)
}

/// A refusal as the batch's entry records it.
pub fn item_outcome(refusal: Refusal) -> ItemOutcome {
    match refusal {
        Refusal::InsufficientBalance { .. } => ItemOutcome::InsufficientBalance,
        Refusal::BalanceLimit => ItemOutcome::BalanceLimit,
        Refusal::AboveHold { .. } => ItemOutcome::AboveHold,
        Refusal::TooManyHolds => ItemOutcome::TooManyHolds,
        Refusal::ExpiryPassed => ItemOutcome::ExpiryPassed,
        Refusal::NoOpenHold => ItemOutcome::NoOpenHold,
        // It needs another status than `can_batch` allows, or no operation of a batch asks it.
        Refusal::Frozen
        | Refusal::Closed
        | Refusal::NotFrozen
        | Refusal::NotClosed
        | Refusal::Erased
        | Refusal::NotEmpty { .. }
        | Refusal::NothingInFlight
        | Refusal::TooManyInFlight
        | Refusal::InFlight { .. } => unreachable!("no operation of a batch is refused with {refusal:?}"),
    }
}

fn active(state: &WalletState) -> Result<(), Refusal> {
    match state.status {
        Status::Active => Ok(()),
        Status::Frozen => Err(Refusal::Frozen),
        Status::Closed | Status::Erased => Err(Refusal::Closed),
    }
}

fn not_closed(state: &WalletState) -> Result<(), Refusal> {
    if state.is_closed() { Err(Refusal::Closed) } else { Ok(()) }
}

fn covered(state: &WalletState, amount: Money, at: Timestamp) -> Result<(), Refusal> {
    let available = state.available_at(at);
    if amount <= available { Ok(()) } else { Err(Refusal::InsufficientBalance { available, amount }) }
}

fn below_limit(state: &WalletState, amount: Money) -> Result<(), Refusal> {
    match state.balance.checked_add(amount) {
        Some(balance) if balance <= Money::MAX_BALANCE => Ok(()),
        _ => Err(Refusal::BalanceLimit),
    }
}

fn close(state: &WalletState) -> Result<(EntryKind, Money), Refusal> {
    active(state)?;
    match state.balance {
        Money::ZERO if state.open_count == 0 => Ok((EntryKind::Closed, Money::ZERO)),
        Money::ZERO => Err(Refusal::InFlight { open: state.open_count }),
        balance => Err(Refusal::NotEmpty { balance }),
    }
}

/// Whether it is this very transfer, [`crate::open::OpenTransfers`] says.
fn something_open(state: &WalletState) -> Result<(), Refusal> {
    if state.open_count > 0 { Ok(()) } else { Err(Refusal::NothingInFlight) }
}

/// Whether `amount` may be received now; also the answer to a paying cell that asks beforehand.
pub fn can_receive(state: &WalletState, amount: Money) -> Result<(), Refusal> {
    active(state)?;
    below_limit(state, amount)
}
