//! The rows of deploys beside those of all jobs: which of them is under way. It must never be two.

use aws_sdk_dynamodb::types::Update;
use control_api::{Because, DeployAudit, DeployId, DeployState, Refusal};

use super::record::Deploy;
use super::state::{self, Event};
use crate::clock::now_ms;
use crate::dynamo::{n, number, s};
use crate::error::{Result, refused};
use crate::jobs::lease::Lease;
use crate::jobs::table::{ACTIVE, Table, update};
use crate::jobs::{Claim, Job, Key, Names};

/// An item of DynamoDB is at most 400 KB.
const ROW_MAX_BYTES: usize = 350_000;

impl Table<Deploy> {
    /// The one that is under way.
    pub async fn active(&self) -> Result<Option<u64>> {
        let Some(item) = self.item(ACTIVE, 0).await? else { return Ok(None) };
        Ok(Some(number(&item, "deploy")?).filter(|&number| number > 0))
    }

    /// Newest first; of one deploy if it is named, among the last `limit` entries of all.
    pub async fn audit(&self, limit: usize, of: Option<DeployId>) -> Result<Vec<DeployAudit>> {
        self.entries(limit, limit, |entry| of.is_none_or(|of| of == entry.deploy)).await
    }

    /// Writes a new deploy under the next number. `None`: something came first, or another one is under way.
    pub async fn create(&self, deploy: Deploy) -> Result<Option<Deploy>> {
        let because = deploy.because.clone();
        let take = |deploy: &Deploy| Ok(deploy.claim(&self.name, Claim::Take).map(update).into_iter().collect());
        self.insert(deploy, &because, take).await
    }
}

impl Job for Deploy {
    type Event = Event;
    type Audit = DeployAudit;

    const NAMES: Names = Names {
        table: "deploys",
        rows: "deploy",
        version: "row",
        document: "deploy",
        writing: "writing a deploy",
        reading: "reading deploys",
        reading_audit: "reading deploys",
        listed_by: "ctl deploy list",
    };
    const UNKNOWN: Refusal = Refusal::UnknownDeploy;
    const NOT_NOW: Refusal = Refusal::DeployState;

    fn key(&self) -> Key {
        Key { number: self.number, version: self.row }
    }

    fn with_key(self, Key { number, version: row }: Key) -> Self {
        Self { number, row, ..self }
    }

    fn lease(&self) -> Option<Lease> {
        self.lease
    }

    fn leased(self, lease: Lease, at: String) -> Self {
        Self { lease: Some(lease), updated_at: at, ..self }
    }

    fn state(&self) -> &'static str {
        self.state.as_str()
    }

    fn is_over(&self) -> bool {
        self.state.is_over()
    }

    fn id_of(number: u64) -> String {
        DeployId(number).to_string()
    }

    fn after(&self, event: Event, because: &Because, at: String) -> Option<Self> {
        let state = state::after(self.state, event)?;
        let mut after = Self { state, updated_at: at.clone(), since_ms: now_ms(), ..self.clone() };
        // A worker that is busy when an operator changes a deploy finishes its step; only then any
        // worker goes on.
        after.lease = self.lease.filter(|_| !state.is_at_rest());
        after.why = match event {
            Event::Worse | Event::Doubt | Event::Fail | Event::Pause | Event::Rollback => Some(because.reason.clone()),
            // Why it was taken back stays to be read.
            Event::Restored => self.why.clone(),
            _ => None,
        };
        after.finished_at = state.is_over().then(|| at.clone());
        match event {
            Event::Observed => after.now_mut().began_at = Some(at),
            Event::Replaced => after.now_mut().replaced_at = Some(at),
            Event::Resume if state == DeployState::Baking => after.now_mut().verdict = None,
            Event::Pass | Event::Promote => {
                after.now_mut().ended_at = Some(at);
                after.wave += 1;
            }
            Event::Finish | Event::Restored => after.now_mut().ended_at = Some(at),
            _ => {}
        }
        Some(after)
    }

    fn is_after(&self, event: Event) -> bool {
        use DeployState::{Baking, Held, Observing, Paused, RolledBack, Rolling, RollingBack, Undecided};
        match event {
            Event::Pause => matches!(self.state, Held | Paused | Undecided),
            Event::Resume => matches!(self.state, Observing | Rolling | Baking),
            Event::Rollback => matches!(self.state, RollingBack | RolledBack),
            _ => false,
        }
    }

    fn audited(&self, what: &str, because: &Because, before: Option<&Self>) -> DeployAudit {
        DeployAudit {
            at: self.updated_at.clone(),
            deploy: self.id(),
            what: what.to_owned(),
            actor: because.actor.clone(),
            reason: because.reason.clone(),
            before: before.map(|before| before.state),
            after: self.state,
        }
    }

    fn check_size(bytes: usize) -> Result<()> {
        if bytes > ROW_MAX_BYTES {
            let detail = format!("the deploy's record would have {bytes} bytes, at most {ROW_MAX_BYTES}");
            return Err(refused(Refusal::DeployTooLarge, detail));
        }
        Ok(())
    }

    /// One row holds the number of the deploy that is under way, 0 if none is.
    fn claim(&self, table: &str, claim: Claim) -> Option<Update> {
        let (value, condition, name, expected) = match claim {
            Claim::Keep => return None,
            Claim::Take => (self.number, "attribute_not_exists(deploy) OR deploy = :free", ":free", 0),
            Claim::Release => (0, "deploy = :own", ":own", self.number),
        };
        let update = Update::builder().table_name(table).key("k", s(ACTIVE)).key("v", n(0));
        let update = update.update_expression("SET deploy = :value").condition_expression(condition);
        let update =
            update.expression_attribute_values(":value", n(value)).expression_attribute_values(name, n(expected));
        Some(update.build().expect("all parts are given"))
    }
}
