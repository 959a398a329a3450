//! Identifiers as types that cannot be wrong. A wallet's id and its bucket follow from the user's id alone, so no
//! lookup table exists between them and one user cannot come to have two wallets.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Number of buckets a deployment's wallets fall into: the first 16 bits of the wallet id.
pub const BUCKETS: usize = 65_536;

/// Longest user id in bytes.
pub const USER_ID_MAX_BYTES: usize = 128;

/// Longest cell id in bytes.
pub const CELL_ID_MAX_BYTES: usize = 32;

/// Names of our own processes, and of the files, tables and clusters that are made for them beside those of cells: a cell
/// of such a name would overwrite them. `cdk/lib/cells-toml.ts` has the same list.
pub const RESERVED_CELL_IDS: [&str; 10] =
    ["ca", "canaries", "control", "control-plane", "jwks", "monitor", "packs", "public", "router", "tokens"];

/// Longest zone id in bytes.
pub const ZONE_ID_MAX_BYTES: usize = 32;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error("not a UUID: {0:?}")]
    Wallet(String),
    #[error("a user id is 1 to {USER_ID_MAX_BYTES} bytes without control characters")]
    User,
    #[error("a cell id is 1 to {CELL_ID_MAX_BYTES} of a-z, 0-9 and '-', starting with a letter: {0:?}")]
    Cell(String),
    #[error("{0} is no cell id: the deployment's own processes or files have that name")]
    ReservedCell(String),
    #[error("a zone id is 1 to {ZONE_ID_MAX_BYTES} of a-z, 0-9 and '-', starting with a letter: {0:?}")]
    Zone(String),
    #[error("a bucket is four hex digits, 0000 to ffff: {0:?}")]
    Bucket(String),
}

/// A wallet: UUIDv5 of the user id in the deployment's namespace.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WalletId(Uuid);

impl WalletId {
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// The one wallet that `user` has in the deployment whose wallets live in `namespace`.
    pub fn for_user(namespace: Uuid, user: &UserId) -> Self {
        Self(Uuid::new_v5(&namespace, user.as_str().as_bytes()))
    }

    pub const fn as_uuid(self) -> Uuid {
        self.0
    }

    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The first four hex digits of the id.
    pub const fn bucket(self) -> Bucket {
        let bytes = self.0.as_bytes();
        Bucket(u16::from_be_bytes([bytes[0], bytes[1]]))
    }
}

impl FromStr for WalletId {
    type Err = IdError;

    /// Only the hyphenated form of 36 characters, in either case: what the API prints is what it reads.
    fn from_str(text: &str) -> Result<Self, IdError> {
        let wrong = || IdError::Wallet(text.chars().take(64).collect());
        if text.len() != 36 {
            return Err(wrong());
        }
        Uuid::try_parse(text).map(Self).map_err(|_| wrong())
    }
}

impl fmt::Display for WalletId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

impl fmt::Debug for WalletId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The owner of a wallet, as the client names it: opaque, compared byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserId(String);

impl UserId {
    pub fn parse(text: impl Into<String>) -> Result<Self, IdError> {
        let text = text.into();
        let sound = !text.is_empty() && text.len() <= USER_ID_MAX_BYTES && !text.chars().any(char::is_control);
        if sound { Ok(Self(text)) } else { Err(IdError::User) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for UserId {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        Self::parse(text)
    }
}

impl From<UserId> for String {
    fn from(user: UserId) -> String {
        user.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The unit of placement: one of [`BUCKETS`] groups of wallets. Prints as four hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket(pub u16);

impl Bucket {
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    pub fn all() -> impl Iterator<Item = Bucket> {
        (0..=u16::MAX).map(Bucket)
    }
}

impl FromStr for Bucket {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let wrong = || IdError::Bucket(text.chars().take(64).collect());
        if text.len() != 4 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        u16::from_str_radix(text, 16).map(Bucket).map_err(|_| wrong())
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}", self.0)
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A cell's name, as operators write it (`cell-1`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CellId(String);

impl CellId {
    pub fn parse(text: impl Into<String>) -> Result<Self, IdError> {
        let text = text.into();
        match is_name(&text, CELL_ID_MAX_BYTES) {
            true if RESERVED_CELL_IDS.contains(&text.as_str()) => Err(IdError::ReservedCell(text)),
            true => Ok(Self(text)),
            false => Err(IdError::Cell(text.chars().take(64).collect())),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CellId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for CellId {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        Self::parse(text)
    }
}

impl From<CellId> for String {
    fn from(cell: CellId) -> String {
        cell.0
    }
}

impl fmt::Display for CellId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A zone's name (`us-east-1a`): what fails together and is left together. Instances of a cell stand in several.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ZoneId(String);

impl ZoneId {
    pub fn parse(text: impl Into<String>) -> Result<Self, IdError> {
        let text = text.into();
        match is_name(&text, ZONE_ID_MAX_BYTES) {
            true => Ok(Self(text)),
            false => Err(IdError::Zone(text.chars().take(64).collect())),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ZoneId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for ZoneId {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        Self::parse(text)
    }
}

impl From<ZoneId> for String {
    fn from(zone: ZoneId) -> String {
        zone.0
    }
}

impl fmt::Display for ZoneId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What operators name things by: letters of which none is mistaken for another, so that a name fits a host name.
fn is_name(text: &str, max_bytes: usize) -> bool {
    text.len() <= max_bytes
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// A cell's number in the registry, given once and never reused: what placement stores for each bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CellIndex(pub u16);

impl CellIndex {
    /// What an unowned bucket holds while a placement is being built; never in a published one.
    pub const NONE: CellIndex = CellIndex(u16::MAX);
}

/// One process of a cell, as operators write it (`cell-1-a`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InstanceId(pub String);

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wallet_id_shows_its_bucket_and_follows_from_the_user() {
        let wallet: WalletId = "6a836b5a-367e-4abc-8347-a2aaf56afd1c".parse().expect("a UUID");
        assert_eq!(wallet.bucket().to_string(), "6a83");
        let namespace = Uuid::from_u128(7);
        let user = UserId::parse("ann").expect("sound");
        assert_eq!(WalletId::for_user(namespace, &user), WalletId::for_user(namespace, &user));
        assert_ne!(WalletId::for_user(namespace, &user), WalletId::for_user(Uuid::from_u128(8), &user));
    }

    #[test]
    fn what_is_not_an_id_is_refused() {
        for text in ["", "x", "6a836b5a367e4abc8347a2aaf56afd1c", "{6a836b5a-367e-4abc-8347-a2aaf56afd1c}"] {
            assert!(text.parse::<WalletId>().is_err(), "{text:?}");
        }
        for text in ["", "a\nb", &"u".repeat(129)] {
            assert!(UserId::parse(text).is_err(), "{text:?}");
        }
        for text in ["", "Cell", "1cell", "cell_1", &"c".repeat(33)] {
            assert!(CellId::parse(text).is_err(), "{text:?}");
            assert!(ZoneId::parse(text).is_err(), "{text:?}");
        }
        for text in RESERVED_CELL_IDS {
            assert_eq!(CellId::parse(text), Err(IdError::ReservedCell(text.to_owned())));
            assert!(CellId::parse(format!("{text}-1")).is_ok());
        }
        for text in ["", "6a8", "6a83f", "+a83", "zzzz"] {
            assert!(text.parse::<Bucket>().is_err(), "{text:?}");
        }
    }
}
