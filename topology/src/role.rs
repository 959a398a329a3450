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

/// What one request is about.
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

const WALLETS: &str = "/api/v1/wallets";
/// Last words of paths that change a wallet's state and not its balance.
const STATES: [&str; 5] = ["freeze", "unfreeze", "close", "state", "status"];
/// Last words of the internal paths that concern a process's memory.
const MEMORY: [&str; 2] = ["hold", "release"];

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

impl Duty {
    /// Of a request of the public or the internal API. What is not known moves money: that has to go on whatever
    /// happens to the rest.
    pub fn of(path: &str) -> Self {
        // Both the creation and the search by user stand at the path itself.
        if path == WALLETS {
            return Duty::Accounts;
        }
        let last = path.rsplit('/').next().unwrap_or_default();
        if STATES.contains(&last) {
            Duty::Accounts
        } else if path.starts_with(crate::wire::path::INTERNAL_WALLETS) && MEMORY.contains(&last) {
            Duty::Every
        } else {
            Duty::Transactions
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
    fn every_path_has_one_duty_and_some_role_serves_it_beside_all() {
        const ID: &str = "6a836b5a-367e-4abc-8347-a2aaf56afd1c";
        for (path, duty) in [
            ("/api/v1/wallets".to_owned(), Duty::Accounts),
            (format!("/api/v1/wallets/{ID}/freeze"), Duty::Accounts),
            (format!("/api/v1/wallets/{ID}"), Duty::Transactions),
            (format!("/api/v1/wallets/{ID}/withdraw"), Duty::Transactions),
            (format!("/api/v1/wallets/{ID}/transactions"), Duty::Transactions),
            (format!("/api/v1/wallets/{ID}/transfers/{ID}"), Duty::Transactions),
            (format!("/api/v1/wallets/{ID}/hold"), Duty::Transactions),
            ("/api/v1/wallets/transfer".to_owned(), Duty::Transactions),
            (format!("/internal/v1/wallets/{ID}/credits"), Duty::Transactions),
            (format!("/internal/v1/wallets/{ID}/unfreeze"), Duty::Accounts),
        ] {
            assert_eq!(Duty::of(&path), duty, "{path}");
            let split = [Role::Accounts, Role::Transactions].into_iter().filter(|role| role.serves(duty)).count();
            assert!(Role::All.serves(duty) && split == if duty == Duty::Every { 2 } else { 1 }, "{path}");
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
