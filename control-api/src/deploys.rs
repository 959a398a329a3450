//! Deploys as they are asked for and shown: the bodies of `/v1/deploys`.
//!
//! Verdicts and limits are also stored in this form: fields are added with a default, never renamed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use topology::{InstanceId, Version};

use crate::Because;

/// For so long a wave is watched before anything is done to it.
pub const DEFAULT_BASELINE_SECONDS: u64 = 60;
/// A version is not let through that may fail so much more of all requests, in percentage points.
pub const DEFAULT_RISE_PERCENT: f64 = 1.0;
/// A smaller slowdown is ignored.
pub const DEFAULT_SLOWER_BY_MS: u64 = 10;

/// Deploys are numbered from 1; prints as `deploy-4`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DeployId(pub u64);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a deploy's id looks like deploy-4: {0:?}")]
pub struct BadDeployId(String);

impl FromStr for DeployId {
    type Err = BadDeployId;
    fn from_str(text: &str) -> Result<Self, BadDeployId> {
        let number = text.strip_prefix("deploy-").filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
        let number = number.and_then(|digits| digits.parse().ok()).filter(|&number| number > 0);
        number.map(Self).ok_or_else(|| BadDeployId(text.chars().take(32).collect()))
    }
}

impl fmt::Display for DeployId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "deploy-{}", self.0)
    }
}

impl TryFrom<String> for DeployId {
    type Error = BadDeployId;
    fn try_from(text: String) -> Result<Self, BadDeployId> {
        text.parse()
    }
}

impl From<DeployId> for String {
    fn from(id: DeployId) -> String {
        id.to_string()
    }
}

/// The program that a deploy brings a version of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Program {
    /// Deploys from before there was a choice are of cells.
    #[default]
    Cells,
    Routers,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a deploy is of cells or of routers, not of {0:?}")]
pub struct BadProgram(String);

impl Program {
    pub const ALL: [Self; 2] = [Self::Cells, Self::Routers];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cells => "cells",
            Self::Routers => "routers",
        }
    }

    /// The program's file.
    pub fn binary(self) -> &'static str {
        match self {
            Self::Cells => "cell",
            Self::Routers => "router",
        }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Program {
    type Err = BadProgram;
    fn from_str(text: &str) -> Result<Self, BadProgram> {
        let known = Self::ALL.into_iter().find(|program| program.as_str() == text);
        known.ok_or_else(|| BadProgram(text.chars().take(32).collect()))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeployState {
    Planned,
    /// The next wave is watched as it is.
    Observing,
    /// The wave's instances are replaced, one after the other.
    Rolling,
    /// The wave is watched.
    Baking,
    /// Ordered to stop before a wave began.
    Held,
    /// Ordered to stop in the middle of a wave.
    Paused,
    /// The wave was watched, and an operator has to decide.
    Undecided,
    RollingBack,
    Done,
    RolledBack,
    /// What was replaced could not be put back: an operator has to look.
    Failed,
}

impl DeployState {
    pub const ALL: [Self; 11] = [
        Self::Planned,
        Self::Observing,
        Self::Rolling,
        Self::Baking,
        Self::Held,
        Self::Paused,
        Self::Undecided,
        Self::RollingBack,
        Self::Done,
        Self::RolledBack,
        Self::Failed,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Observing => "observing",
            Self::Rolling => "rolling",
            Self::Baking => "baking",
            Self::Held => "held",
            Self::Paused => "paused",
            Self::Undecided => "undecided",
            Self::RollingBack => "rolling_back",
            Self::Done => "done",
            Self::RolledBack => "rolled_back",
            Self::Failed => "failed",
        }
    }

    /// Another deploy may begin.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::RolledBack)
    }

    /// Nothing changes until an operator asks for it.
    pub fn is_at_rest(self) -> bool {
        self.is_over() || matches!(self, Self::Held | Self::Paused | Self::Undecided | Self::Failed)
    }
}

/// By what a version is judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeployLimits {
    /// Seconds for which a wave is watched before, for comparison.
    pub baseline_seconds: u64,
    /// Seconds for which each wave is watched at least.
    pub bake_seconds: u64,
    /// Seconds more that are waited for requests to judge by, before an operator is asked.
    pub wait_seconds: u64,
    /// The rise of the error rate that has to be noticed, in percentage points of all requests.
    pub rise_percent: f64,
    /// Milliseconds by which requests have to be slower in the mean to be called slower.
    pub slower_by_ms: u64,
}

/// Body of `POST /v1/deploys`. Limits that are not given are the deployment's.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StartDeploy {
    #[serde(default)]
    pub of: Program,
    pub version: Version,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline_seconds: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bake_seconds: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_seconds: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rise_percent: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slower_by_ms: Option<u64>,
    /// Answers the plan and does nothing.
    #[serde(default)]
    pub dry_run: bool,
    #[serde(flatten)]
    pub because: Because,
}

/// Body of `POST /v1/deploys/{id}/promote`: on with it, whatever the figures say. It leaves out a safeguard.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PromoteDeploy {
    #[serde(flatten)]
    pub because: Because,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeployPlan {
    #[serde(default)]
    pub of: Program,
    pub version: Version,
    pub limits: DeployLimits,
    pub waves: Vec<WavePlan>,
}

/// Parts that get the version together, before it is watched. On the wire they are called after the first kind that there
/// was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WavePlan {
    #[serde(rename = "cells")]
    pub parts: Vec<PartPlan>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartPlan {
    #[serde(rename = "cell")]
    pub part: PartId,
    pub instances: Vec<InstancePlan>,
}

/// What gets a version as a whole: a cell, or a router. On Kubernetes a router is all of a zone, behind one address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PartId(pub String);

impl fmt::Display for PartId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstancePlan {
    pub id: InstanceId,
    /// What it runs before: what a rollback puts back.
    pub before: Version,
}

/// Requests of one kind, as they were counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tally {
    pub requests: u64,
    pub errors: u64,
    /// Of the time that answers took.
    pub mean_ms: f64,
}

/// What the figures of a wave say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    pub says: Says,
    /// Requests of the wave that are needed to tell, and that there are.
    pub needs: u64,
    pub has: u64,
    /// Only if no number of requests of the wave is enough, since there is too little to compare with, and its own errors do
    /// not tell: so many of the wave, and of the old version, would be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needs_of_each: Option<u64>,
    /// The new version.
    pub wave: Tally,
    /// The old version, elsewhere, at the same time.
    pub others: Tally,
    /// The old version, in the same place, before.
    pub before: Tally,
    /// What is worse, in words with figures.
    #[serde(default)]
    pub findings: Vec<String>,
    /// How often the figures were looked at.
    pub looks: u32,
}

impl Verdict {
    /// How many requests are needed, in words.
    pub fn wanting(&self) -> String {
        let Self { needs, has, others, before, .. } = self;
        match self.needs_of_each {
            None => format!("needs {needs}, has {has}"),
            Some(each) => format!(
                "has {has}, and {} of others and {} from before to compare with, which is too little: needs {each} \
                 of each",
                others.requests, before.requests
            ),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Says {
    /// Enough requests, and nothing is worse.
    Sound,
    /// Nothing is worse so far, of too few requests.
    TooFew,
    Worse,
}

impl Says {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sound => "sound",
            Self::TooFew => "too few",
            Self::Worse => "worse",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WaveView {
    #[serde(rename = "cells")]
    pub parts: Vec<PartId>,
    pub instances: u64,
    /// Of these, those that run the version, or ran it.
    pub replaced: u64,
    #[serde(default)]
    pub began_at: Option<String>,
    /// When the last instance was replaced: from then on it bakes.
    #[serde(default)]
    pub replaced_at: Option<String>,
    #[serde(default)]
    pub ended_at: Option<String>,
    #[serde(default)]
    pub verdict: Option<Verdict>,
}

/// Whom a version that was taken back has met.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Touched {
    /// Of the cells in which an instance ran the version, or of all where a router did. `None`: they were not counted.
    pub customers: Option<u64>,
    /// Of all cells.
    pub of_customers: Option<u64>,
    /// Answered by the version, and failed by it.
    pub requests: u64,
    pub errors: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeployView {
    pub id: DeployId,
    #[serde(default)]
    pub of: Program,
    pub version: Version,
    pub state: DeployState,
    /// Why it is paused, failed or taken back.
    #[serde(default)]
    pub why: Option<String>,
    pub because: Because,
    pub limits: DeployLimits,
    pub created_at: String,
    pub updated_at: String,
    #[serde(default)]
    pub finished_at: Option<String>,
    /// The wave that is at work, from 0.
    pub wave: u64,
    pub waves: Vec<WaveView>,
    #[serde(default)]
    pub touched: Option<Touched>,
}

/// One change of a deploy, kept for ever.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeployAudit {
    pub at: String,
    pub deploy: DeployId,
    pub what: String,
    pub actor: String,
    pub reason: String,
    #[serde(default)]
    pub before: Option<DeployState>,
    pub after: DeployState,
}
