//! A wallet's state, and the one function that says what an entry makes of it. Deciding, checking and copying a chain
//! all go through [`WalletState::apply`]: there is no second opinion on what an entry does.

use crate::block::{EntryKind, TransactionId};
use crate::limits::{MAX_OPEN_HOLDS, MAX_OPEN_TRANSFERS};
use crate::money::Money;
use crate::time::Timestamp;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    Active,
    Frozen,
    Closed,
    /// Closed, and its personal data can be read no more.
    Erased,
}

/// An amount that is authorized and not yet captured, voided or expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hold {
    pub id: TransactionId,
    pub amount: Money,
    /// From this time on it cannot be captured, and its amount is available again.
    pub expires_at: Timestamp,
}

/// A wallet as it is after a block.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WalletState {
    pub created_at: Timestamp,
    /// With what is on hold; without what has left in open transfers.
    pub balance: Money,
    pub status: Status,
    /// Transfers that have left and are neither settled nor returned.
    pub open_count: u32,
    /// The lowest block by which an open transfer left; 0 while none is open.
    pub open_since: u64,
    /// In the order they were placed; together never more than the balance.
    pub holds: Vec<Hold>,
}

/// Why an entry cannot follow a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Impossible {
    /// Not in this status, or not with these holds and open transfers.
    State,
    /// The amount is none that could move.
    Amount,
}

impl WalletState {
    /// The state of a wallet before its first entry.
    pub fn new(created_at: Timestamp) -> Self {
        Self {
            created_at,
            balance: Money::ZERO,
            status: Status::Active,
            open_count: 0,
            open_since: 0,
            holds: Vec::new(),
        }
    }

    /// For good.
    pub fn is_closed(&self) -> bool {
        matches!(self.status, Status::Closed | Status::Erased)
    }

    pub fn hold(&self, id: TransactionId) -> Option<&Hold> {
        self.holds.iter().find(|hold| hold.id == id)
    }

    /// What is on hold at `at`: a hold that has expired by then counts no more, whether its end is written or not.
    pub fn held_at(&self, at: Timestamp) -> Money {
        self.sum(|hold| hold.expires_at > at)
    }

    /// What could be spent at `at`.
    pub fn available_at(&self, at: Timestamp) -> Money {
        self.balance.checked_sub(self.held_at(at)).unwrap_or(Money::ZERO)
    }

    /// The hold that has been over for longest at `at`, and has no written end yet.
    pub fn expired_at(&self, at: Timestamp) -> Option<&Hold> {
        self.holds.iter().filter(|hold| hold.expires_at <= at).min_by_key(|hold| (hold.expires_at, hold.id))
    }

    /// What could be spent if no open hold expired: what the rules of the chain go by, so that an expired hold counts
    /// until its end is written.
    fn spendable(&self) -> Option<Money> {
        self.balance.checked_sub(self.sum(|_| true))
    }

    fn sum(&self, counts: impl Fn(&Hold) -> bool) -> Money {
        let held = self.holds.iter().filter(|hold| counts(hold));
        held.fold(Money::ZERO, |sum, hold| sum.checked_add(hold.amount).unwrap_or(sum))
    }

    /// What the entry `id`, written in block `number` of time `at`, makes of this state. On an error the state is not
    /// changed.
    pub fn apply(
        &mut self,
        id: TransactionId,
        kind: &EntryKind,
        amount: Money,
        (number, at): (u64, Timestamp),
    ) -> Result<(), Impossible> {
        self.allows(kind)?;
        match kind {
            EntryKind::Deposit | EntryKind::TransferIn { .. } | EntryKind::WithdrawalReversed { .. } => {
                self.credit(amount)?;
            }
            EntryKind::Withdrawal | EntryKind::DepositReversed { .. } => self.debit(amount)?,
            EntryKind::TransferOut { .. } => {
                if self.open_count >= MAX_OPEN_TRANSFERS {
                    return Err(Impossible::State);
                }
                self.debit(amount)?;
                if self.open_count == 0 {
                    self.open_since = number;
                }
                self.open_count = self.open_count.saturating_add(1);
            }
            EntryKind::TransferReturned { .. } => {
                let open_count = self.open_count.checked_sub(1).ok_or(Impossible::State)?;
                self.credit(amount)?;
                self.conclude(open_count);
            }
            EntryKind::TransferSettled { .. } => {
                without(amount)?;
                self.conclude(self.open_count.checked_sub(1).ok_or(Impossible::State)?);
            }
            EntryKind::HoldPlaced { expires_at } => {
                let sound = *expires_at > at && self.holds.len() < MAX_OPEN_HOLDS && self.hold(id).is_none();
                if !sound {
                    return Err(Impossible::State);
                }
                let covered = self.spendable().is_some_and(|spendable| amount <= spendable);
                if amount == Money::ZERO || !covered {
                    return Err(Impossible::Amount);
                }
                self.holds.push(Hold { id, amount, expires_at: *expires_at });
            }
            EntryKind::HoldCaptured { hold } => {
                let hold = *self.hold(*hold).filter(|hold| hold.expires_at > at).ok_or(Impossible::State)?;
                if amount == Money::ZERO || amount > hold.amount {
                    return Err(Impossible::Amount);
                }
                self.balance = self.balance.checked_sub(amount).ok_or(Impossible::Amount)?;
                self.end(hold.id);
            }
            EntryKind::HoldVoided { hold } => {
                without(amount)?;
                self.end(self.hold(*hold).ok_or(Impossible::State)?.id);
            }
            EntryKind::HoldExpired { hold } => {
                without(amount)?;
                self.end(self.hold(*hold).filter(|hold| hold.expires_at <= at).ok_or(Impossible::State)?.id);
            }
            EntryKind::Frozen => self.become_(Status::Frozen, amount)?,
            EntryKind::Unfrozen => self.become_(Status::Active, amount)?,
            EntryKind::Closed => {
                if self.balance != Money::ZERO || self.open_count > 0 || !self.holds.is_empty() {
                    return Err(Impossible::State);
                }
                self.become_(Status::Closed, amount)?;
            }
            EntryKind::Erased => self.become_(Status::Erased, amount)?,
            EntryKind::Opened
            | EntryKind::TransferRefused { .. }
            | EntryKind::Moved { .. }
            | EntryKind::Batch { .. } => without(amount)?,
        }
        Ok(())
    }

    /// Whether an entry of this kind can be made in this status.
    fn allows(&self, kind: &EntryKind) -> Result<(), Impossible> {
        let allowed = match kind {
            // Money leaves, arrives and is set aside only in an active wallet …
            EntryKind::Opened
            | EntryKind::Deposit
            | EntryKind::Withdrawal
            | EntryKind::TransferIn { .. }
            | EntryKind::HoldPlaced { .. }
            | EntryKind::HoldCaptured { .. }
            | EntryKind::Batch { .. }
            | EntryKind::Frozen
            | EntryKind::Closed => self.status == Status::Active,
            // … what should not have been is undone in a frozen one too, for which it may have been frozen …
            EntryKind::TransferOut { reverses: Some(_), .. }
            | EntryKind::DepositReversed { .. }
            | EntryKind::WithdrawalReversed { .. } => !self.is_closed(),
            EntryKind::TransferOut { reverses: None, .. } => self.status == Status::Active,
            EntryKind::Unfrozen => self.status == Status::Frozen,
            EntryKind::Erased => self.status == Status::Closed,
            // … and outcomes are recorded, money comes back, holds end and a wallet moves in any.
            EntryKind::TransferSettled { .. }
            | EntryKind::TransferReturned { .. }
            | EntryKind::TransferRefused { .. }
            | EntryKind::HoldVoided { .. }
            | EntryKind::HoldExpired { .. }
            | EntryKind::Moved { .. } => true,
        };
        allowed.then_some(()).ok_or(Impossible::State)
    }

    fn credit(&mut self, amount: Money) -> Result<(), Impossible> {
        self.balance = self.balance.checked_add(amount).ok_or(Impossible::Amount)?;
        Ok(())
    }

    /// Takes from what is not on hold.
    fn debit(&mut self, amount: Money) -> Result<(), Impossible> {
        let covered = self.spendable().is_some_and(|spendable| amount <= spendable);
        let rest = self.balance.checked_sub(amount).filter(|_| covered);
        self.balance = rest.ok_or(Impossible::Amount)?;
        Ok(())
    }

    fn conclude(&mut self, open_count: u32) {
        self.open_count = open_count;
        if open_count == 0 {
            self.open_since = 0;
        }
    }

    fn end(&mut self, hold: TransactionId) {
        self.holds.retain(|open| open.id != hold);
    }

    fn become_(&mut self, status: Status, amount: Money) -> Result<(), Impossible> {
        without(amount)?;
        self.status = status;
        Ok(())
    }
}

/// Of an entry that moves no money.
fn without(amount: Money) -> Result<(), Impossible> {
    if amount == Money::ZERO { Ok(()) } else { Err(Impossible::Amount) }
}
