//! A deploy as it is stored: everything that is needed to carry on with it after a crash.

use control_api::{
    Because, DeployId, DeployLimits, DeployState, DeployView, InstancePlan, PartId, PartPlan, Program, Touched,
    Verdict, WaveView,
};
use deploy_analysis::figures::Figures;
use serde::{Deserialize, Serialize};
use topology::{CellId, InstanceId, Version};

use crate::jobs::lease::Lease;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deploy {
    /// Number and row are the row's own attributes.
    #[serde(skip)]
    pub number: u64,
    /// Rises with each change of the row.
    #[serde(skip)]
    pub row: u64,
    /// Rows from before there was a choice say nothing.
    #[serde(default)]
    pub of: Program,
    pub version: Version,
    pub limits: DeployLimits,
    pub because: Because,
    pub state: DeployState,
    pub why: Option<String>,
    pub created_at: String,
    pub updated_at: String,
    pub finished_at: Option<String>,
    pub waves: Vec<Wave>,
    /// The wave that is at work.
    pub wave: usize,
    /// Instances that were put back, from the last one on.
    pub restored: usize,
    /// When the state was entered, in milliseconds since 1970.
    pub since_ms: i64,
    /// What was counted of the wave's parts before, and of the others meanwhile.
    pub before: Figures,
    pub others: Figures,
    /// What was counted of the version in this wave.
    pub seen: Figures,
    pub touched: Option<Touched>,
    pub lease: Option<Lease>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Wave {
    /// Called after the first kind of parts that there was.
    #[serde(rename = "cells")]
    pub parts: Vec<PartPlan>,
    /// Instances replaced, in their order.
    pub replaced: usize,
    pub began_at: Option<String>,
    pub replaced_at: Option<String>,
    pub ended_at: Option<String>,
    pub verdict: Option<Verdict>,
}

/// An instance with its part.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Member<'a> {
    pub part: &'a PartId,
    pub instance: &'a InstancePlan,
}

impl Wave {
    pub fn members(&self) -> impl DoubleEndedIterator<Item = Member<'_>> {
        self.parts.iter().flat_map(|part| part.instances.iter().map(|instance| Member { part: &part.part, instance }))
    }

    pub fn part_ids(&self) -> impl Iterator<Item = &PartId> {
        self.parts.iter().map(|part| &part.part)
    }

    fn view(&self) -> WaveView {
        WaveView {
            parts: self.part_ids().cloned().collect(),
            instances: self.members().count() as u64,
            replaced: self.replaced as u64,
            began_at: self.began_at.clone(),
            replaced_at: self.replaced_at.clone(),
            ended_at: self.ended_at.clone(),
            verdict: self.verdict.clone(),
        }
    }
}

impl Deploy {
    pub fn id(&self) -> DeployId {
        DeployId(self.number)
    }

    /// Rises with each order that this deploy gives, and from one deploy to the next.
    pub fn order(&self) -> u64 {
        (self.number << 32) + self.row
    }

    pub fn now(&self) -> &Wave {
        &self.waves[self.wave]
    }

    pub fn now_mut(&mut self) -> &mut Wave {
        &mut self.waves[self.wave]
    }

    pub fn is_last_wave(&self) -> bool {
        self.wave + 1 == self.waves.len()
    }

    /// Instances that run the version, or may: the one after those that were replaced may have been begun. Last first.
    pub fn to_put_back(&self) -> Vec<(PartId, InstanceId, Version)> {
        let begun = self.waves[..=self.wave].iter().filter(|wave| wave.began_at.is_some());
        let begun = begun.flat_map(|wave| wave.members().take(wave.replaced + 1));
        let mut all: Vec<_> = begun
            .map(|Member { part, instance }| (part.clone(), instance.id.clone(), instance.before.clone()))
            .collect();
        all.reverse();
        all
    }

    /// Whether customers of this cell could have met the version, or may have. A router is met by all.
    pub fn has_met(&self, cell: &CellId) -> bool {
        let of_cell = |part: &PartId| self.of == Program::Routers || part.0 == cell.as_str();
        self.to_put_back().iter().any(|(part, ..)| of_cell(part))
    }

    pub fn view(&self) -> DeployView {
        DeployView {
            id: self.id(),
            of: self.of,
            version: self.version.clone(),
            state: self.state,
            why: self.why.clone(),
            because: self.because.clone(),
            limits: self.limits.clone(),
            created_at: self.created_at.clone(),
            updated_at: self.updated_at.clone(),
            finished_at: self.finished_at.clone(),
            wave: self.wave as u64,
            waves: self.waves.iter().map(Wave::view).collect(),
            touched: self.touched.clone(),
        }
    }
}
