//! What is done in each state of a deploy.

use std::time::{Duration, Instant};

use control_api::{DeployState, Says, Touched};

use super::{Memory, Worker};
use crate::cells::counting;
use crate::clock::now_ms;
use crate::deploys::record::{Deploy, Member};
use crate::deploys::replacer::Trouble;
use crate::deploys::state::Event;
use crate::deploys::watch::{Watch, baseline};
use crate::error::Result;
use crate::jobs::worker::Advanced;
use deploy_analysis::judge::{LOOKS_MAX, Seen, judge};
use topology::CellId;

/// Between two looks at a wave's figures, at least.
const LOOK_EVERY_MIN: Duration = Duration::from_secs(1);
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// If the replacer does not answer for so long, the version is taken back.
const ROLL_PATIENCE: Duration = Duration::from_secs(90);
/// What is to be put back is tried longer, and more than once.
const BACK_PATIENCE: Duration = Duration::from_secs(300);
const BACK_ATTEMPTS_MAX: u32 = 3;
/// So many looks bring no verdict against a version while nothing was counted of the others: they may serve nothing.
const LOOKS_WITHOUT_OTHERS: u32 = 3;
/// A change of the row that meets others is tried so often.
const ATTEMPTS_MAX: u32 = 16;

/// What the others meet is counted from the first look on. Until then, what all of them meet looks like a fault of the version.
fn others_are_unknown(deploy: &Deploy, looks: u32) -> bool {
    !deploy.is_last_wave() && deploy.others.whole().requests == 0 && looks < LOOKS_WITHOUT_OTHERS
}

impl Worker {
    /// What the wave's parts do as they are. Interrupted, it is done again.
    pub(super) async fn observe(&self, deploy: Deploy) -> Result<Advanced> {
        let parts = self.deploys.parts(deploy.of).await?;
        let time = Duration::from_secs(deploy.limits.baseline_seconds);
        let watched = baseline(&self.deploys, &parts, &deploy, time);
        let before = self.keeping(deploy.number, watched).await;
        let Some(newest) = self.still(&deploy).await? else { return Ok(Advanced::Again) };
        let next = Deploy { before, others: Default::default(), seen: Default::default(), ..newest };
        self.happen(next, Event::Observed, None).await
    }

    /// One instance more runs the version.
    pub(super) async fn roll(&self, deploy: Deploy, memory: &mut Memory) -> Result<Advanced> {
        let Some(Member { part, instance }) = deploy.now().members().nth(deploy.now().replaced) else {
            return self.happen(deploy, Event::Replaced, None).await;
        };
        let done = self.keeping(deploy.number, self.run(&deploy, part, &instance.id, &deploy.version)).await;
        match done {
            Ok(()) => {
                memory.trouble = None;
                let (wave, replaced) = (deploy.wave, deploy.now().replaced);
                // Also where it was paused or is taken back meanwhile: then it is one more to be put back.
                self.record(deploy.number, |newest| {
                    let is_here = newest.wave == wave && newest.now().replaced == replaced;
                    is_here.then(|| newest.now_mut().replaced += 1)
                })
                .await
            }
            Err(trouble) => {
                let (why, gives_up) = self.troubled(memory, trouble, ROLL_PATIENCE, 1);
                if gives_up {
                    let why = format!("{} cannot be run: {why}", deploy.version);
                    return self.give_up(deploy, memory, Event::Worse, why).await;
                }
                self.say(&deploy, why).await
            }
        }
    }

    /// Looks at the wave, and decides if that can be decided.
    pub(super) async fn bake(&self, deploy: Deploy, memory: &mut Memory) -> Result<Advanced> {
        let parts = self.deploys.parts(deploy.of).await?;
        let watch = memory.watch.take().filter(|watch| watch.is_of(&deploy));
        let watch = memory.watch.insert(watch.unwrap_or_else(|| Watch::new(&deploy)));
        let looked = self.keeping(deploy.number, watch.look(&self.deploys, &parts, &deploy)).await;
        let Some(mut deploy) = self.still(&deploy).await? else { return Ok(Advanced::Again) };
        deploy.seen = looked.seen;
        deploy.others.add(&looked.others);
        let looks = deploy.now().verdict.as_ref().map_or(0, |verdict| verdict.looks) + 1;
        let seen = Seen { wave: &deploy.seen, others: &deploy.others, before: &deploy.before };
        let mut verdict = judge(seen, &deploy.limits, looks);
        if verdict.says == Says::Worse && others_are_unknown(&deploy, looks) {
            verdict.says = Says::TooFew;
        }
        if !looked.sick.is_empty() {
            verdict.says = Says::Worse;
            verdict.findings.extend(looked.sick);
        }
        deploy.now_mut().verdict = Some(verdict.clone());
        let limits = &deploy.limits;
        let passed_s = u64::try_from(now_ms() - deploy.since_ms).unwrap_or(0) / 1_000;
        let waited_out = passed_s >= limits.bake_seconds + limits.wait_seconds || looks >= LOOKS_MAX;
        match verdict.says {
            Says::Worse => self.happen(deploy, Event::Worse, Some(verdict.findings.join("; "))).await,
            Says::Sound if passed_s >= limits.bake_seconds => {
                let event = if deploy.is_last_wave() { Event::Finish } else { Event::Pass };
                self.happen(deploy, event, None).await
            }
            Says::TooFew if waited_out => {
                let next = match verdict.needs_of_each {
                    None => "promote, roll back, or resume to wait on",
                    Some(_) => "promote, or roll back and start again with a longer --baseline-seconds",
                };
                let why = format!("too few requests to judge by: {}; {next}", verdict.wanting());
                self.happen(deploy, Event::Doubt, Some(why)).await
            }
            Says::Sound | Says::TooFew => {
                let every = Duration::from_secs(limits.bake_seconds + limits.wait_seconds) / (LOOKS_MAX - 20);
                let deploy = self.holder.leased(deploy);
                self.deploys.table.save(&deploy).await?;
                self.wait(&deploy, every.max(LOOK_EVERY_MIN)).await?;
                Ok(Advanced::Again)
            }
        }
    }

    /// One instance more runs what it ran before.
    pub(super) async fn put_back(&self, deploy: Deploy, memory: &mut Memory) -> Result<Advanced> {
        let all = deploy.to_put_back();
        let Some((part, instance, version)) = all.get(deploy.restored) else {
            let touched = self.touched(&deploy).await;
            return self.happen(Deploy { touched: Some(touched), ..deploy }, Event::Restored, None).await;
        };
        let work = async {
            // What it has done until its end is to be reported.
            let seen = match (&mut memory.watch, self.deploys.parts(deploy.of).await) {
                (Some(watch), Ok(parts)) if watch.is_of(&deploy) => {
                    Some(watch.look(&self.deploys, &parts, &deploy).await.seen)
                }
                _ => None,
            };
            (seen, self.run(&deploy, part, instance, version).await)
        };
        let (seen, done) = self.keeping(deploy.number, work).await;
        match done {
            Ok(()) => {
                memory.trouble = None;
                let restored = deploy.restored;
                self.record(deploy.number, |newest| {
                    let is_here = newest.state == DeployState::RollingBack && newest.restored == restored;
                    is_here.then(|| {
                        newest.restored += 1;
                        newest.seen = seen.clone().unwrap_or_else(|| newest.seen.clone());
                    })
                })
                .await
            }
            Err(trouble) => {
                let (why, gives_up) = self.troubled(memory, trouble, BACK_PATIENCE, BACK_ATTEMPTS_MAX);
                if gives_up {
                    let why = format!("{instance} cannot be put back to {version}: {why}");
                    return self.give_up(deploy, memory, Event::Fail, why).await;
                }
                tracing::warn!(deploy = %deploy.id(), why, "an instance was not put back; trying again");
                Ok(Advanced::After(RETRY_PAUSE))
            }
        }
    }

    /// What is wrong, and whether it has been tried long enough.
    fn troubled(&self, memory: &mut Memory, trouble: Trouble, patience: Duration, attempts: u32) -> (String, bool) {
        let (since, tried) = memory.trouble.unwrap_or((Instant::now(), 0));
        let (why, tried) = match trouble {
            Trouble::Later(why) => (why, tried),
            Trouble::Fatal(why) => (why, tried + 1),
        };
        memory.trouble = Some((since, tried));
        (why, tried >= attempts || since.elapsed() > patience)
    }

    async fn give_up(&self, deploy: Deploy, memory: &mut Memory, event: Event, why: String) -> Result<Advanced> {
        memory.trouble = None;
        match self.still(&deploy).await? {
            Some(newest) => self.happen(newest, event, Some(why)).await,
            None => Ok(Advanced::Again),
        }
    }

    /// The deploy as it is stored now; `None`: it has gone on, or is another worker's.
    async fn still(&self, deploy: &Deploy) -> Result<Option<Deploy>> {
        let is_same = |newest: &Deploy| newest.state == deploy.state && newest.wave == deploy.wave;
        Ok(self.mine(deploy.number).await?.filter(is_same))
    }

    /// Shows why it does not go on.
    async fn say(&self, deploy: &Deploy, why: String) -> Result<Advanced> {
        tracing::warn!(deploy = %deploy.id(), why, "an instance was not replaced; trying again");
        self.record(deploy.number, |newest| {
            (newest.state == DeployState::Rolling && newest.why.as_ref() != Some(&why))
                .then(|| newest.why = Some(why.clone()))
        })
        .await?;
        Ok(Advanced::After(RETRY_PAUSE))
    }

    /// Changes the newest row, unless `change` finds that another writer was faster.
    async fn record(&self, number: u64, change: impl Fn(&mut Deploy) -> Option<()>) -> Result<Advanced> {
        for _ in 0..ATTEMPTS_MAX {
            let Some(mut newest) = self.deploys.table.get(number).await? else { return Ok(Advanced::Rest) };
            if change(&mut newest).is_none() || self.deploys.table.save(&newest).await?.is_some() {
                break;
            }
        }
        Ok(Advanced::Again)
    }

    /// Requests that met the version, as far as they can be counted.
    async fn touched(&self, deploy: &Deploy) -> Touched {
        if let Err(error) = counting::count_all(&self.deploys.fleet).await {
            tracing::warn!(%error, "customers not counted");
        }
        let all = self.deploys.fleet.placements.known();
        let all: Vec<&CellId> = all.iter().flat_map(|known| known.placement.cells()).map(|cell| &cell.id).collect();
        let count = |cell: &&CellId| self.deploys.fleet.counts.of(cell);
        let met = all.iter().filter(|cell| deploy.has_met(cell));
        let earlier = deploy.waves[..deploy.wave].iter().filter_map(|wave| Some(wave.verdict.as_ref()?.wave));
        let (mut requests, mut errors) = earlier.fold((0, 0), |sum, wave| (sum.0 + wave.requests, sum.1 + wave.errors));
        let now = deploy.seen.tally();
        (requests, errors) = (requests + now.requests, errors + now.errors);
        Touched { customers: met.map(count).sum(), of_customers: all.iter().map(count).sum(), requests, errors }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use deploy_analysis::figures::{Counts, Figures};

    use super::*;
    use crate::tests::deploys::rolling;

    #[test]
    fn a_version_is_not_judged_before_anything_is_known_of_the_others() {
        let last = rolling();
        let first = Deploy { waves: [last.waves.clone(), last.waves.clone()].concat(), ..rolling() };
        let counts = Counts { requests: 1, ..Counts::default() };
        let known = Deploy { others: Figures(BTreeMap::from([("/withdraw".to_owned(), counts)])), ..first.clone() };
        assert!(others_are_unknown(&first, 1) && others_are_unknown(&first, 2));
        assert!(!others_are_unknown(&first, 3), "they serve nothing");
        assert!(!others_are_unknown(&known, 1));
        assert!(!others_are_unknown(&last, 1), "there are none");
    }
}
