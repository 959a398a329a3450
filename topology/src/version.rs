//! What a build of a program is called: whatever the operator names it, in characters that are safe in paths, metrics and
//! tags of images.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest version, in bytes.
pub const VERSION_MAX_BYTES: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a version is 1 to {VERSION_MAX_BYTES} of A-Z, a-z, 0-9, '.', '_' and '-', starting with a letter or a digit: {0:?}"
)]
pub struct VersionError(String);

/// It never begins with a dot: it becomes the name of a folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version(String);

impl Version {
    pub fn parse(text: impl Into<String>) -> Result<Self, VersionError> {
        let text = text.into();
        let is_sound = text.len() <= VERSION_MAX_BYTES
            && text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        if is_sound { Ok(Self(text)) } else { Err(VersionError(text.chars().take(VERSION_MAX_BYTES).collect())) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Version {
    type Err = VersionError;
    fn from_str(text: &str) -> Result<Self, VersionError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Version {
    type Error = VersionError;
    fn try_from(text: String) -> Result<Self, VersionError> {
        Self::parse(text)
    }
}

impl From<Version> for String {
    fn from(version: Version) -> String {
        version.0
    }
}

/// Answer of `GET /version`: what runs there, and since when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Running {
    pub version: Version,
    pub instance: String,
    /// When the process began, in milliseconds since 1970: another number is another process.
    pub started_ms: u64,
    /// Another Region serves the cell: the process waits, and reads and writes nothing of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub standby: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_safe_wherever_it_is_written() {
        for sound in ["1.4.2", "v2", "2026-11-27_rc.1", "f6ef5b3", &"a".repeat(VERSION_MAX_BYTES)] {
            assert_eq!(Version::parse(sound).expect("sound").as_str(), sound);
        }
        for unsound in ["", ".", "..", ".hidden", "-f", "a/b", "a b", "ä", "a\n", &"a".repeat(VERSION_MAX_BYTES + 1)] {
            assert!(Version::parse(unsound).is_err(), "{unsound:?}");
        }
    }
}
