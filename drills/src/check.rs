//! One check after a drill: what it is about, whether it passed, and what was found.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum About {
    /// The databases against the rules and against the answers that clients got.
    Books,
    /// What customers noticed.
    Expectation,
    /// What the drill itself did.
    Drill,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    pub about: About,
    pub name: String,
    pub passed: bool,
    pub found: String,
}

impl Check {
    pub fn books(name: &str, passed: bool, found: String) -> Self {
        Self { about: About::Books, name: name.to_owned(), passed, found }
    }

    pub fn drill(name: &str, passed: bool, found: String) -> Self {
        Self { about: About::Drill, name: name.to_owned(), passed, found }
    }

    pub fn expectation(name: impl Into<String>, passed: bool, found: String) -> Self {
        Self { about: About::Expectation, name: name.into(), passed, found }
    }
}
