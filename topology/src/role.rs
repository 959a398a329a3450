//! Which processes of a cell do what: creating and keeping wallets apart from moving money, so that what goes wrong
//! with the first cannot stop the second. Router and cells read it here, so that they cannot disagree.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What one process of a cell is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything: what a process does by default.
    #[default]
    All,
    /// Creates and finds wallets, freezes and closes them.
    Accounts,
    /// Moves money; shows balances and what happened.
    Transactions,
}

/// What one request is about; [`crate::Endpoint`] says it of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Duty {
    Accounts,
    Transactions,
    /// Concerns what a process remembers of a wallet: each process is asked for itself.
    Every,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a role is all, accounts or transactions")]
pub struct RoleError;

impl Role {
    pub const EACH: [Role; 3] = [Role::All, Role::Accounts, Role::Transactions];

    pub fn serves(self, duty: Duty) -> bool {
        match (self, duty) {
            (Role::All, _) | (_, Duty::Every) => true,
            (Role::Accounts, Duty::Accounts) | (Role::Transactions, Duty::Transactions) => true,
            (Role::Accounts, Duty::Transactions) | (Role::Transactions, Duty::Accounts) => false,
        }
    }

    pub fn is_all(&self) -> bool {
        *self == Role::All
    }

    pub fn name(self) -> &'static str {
        match self {
            Role::All => "all",
            Role::Accounts => "accounts",
            Role::Transactions => "transactions",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = RoleError;

    fn from_str(text: &str) -> Result<Self, RoleError> {
        Self::EACH.into_iter().find(|role| role.name() == text).ok_or(RoleError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_role_serves_each_duty_beside_all() {
        for (duty, served_by) in [(Duty::Accounts, 1), (Duty::Transactions, 1), (Duty::Every, 2)] {
            let split = [Role::Accounts, Role::Transactions].into_iter().filter(|role| role.serves(duty)).count();
            assert!(Role::All.serves(duty) && split == served_by, "{duty:?}");
        }
    }

    #[test]
    fn a_role_is_read_as_it_is_written() {
        for role in Role::EACH {
            assert_eq!(role.name().parse(), Ok(role));
            assert_eq!(serde_json::to_value(role).expect("plain"), role.name());
        }
        assert_eq!("money".parse::<Role>(), Err(RoleError));
    }
}
