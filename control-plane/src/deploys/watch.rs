//! Reads what instances count while a wave is watched: of the wave's, everything since they began
//! as the new version; of the others, what comes from now on. Remembers what it read last, which
//! nothing else needs: another watch starts over.
//!
//! It must never be what a customer's request waits for: pages are asked for by the control plane alone.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use control_api::{PartId, Program};
use deploy_analysis::figures::{Figures, Page};
use futures_util::future::join_all;
use topology::{InstanceEntry, InstanceId, Version};

use super::parts::Part;
use super::record::{Deploy, Wave};
use crate::deploys::service::Deploys;

/// Parts with the old version that a wave is compared with, at most.
const OTHERS_MAX: usize = 20;
/// An instance that says nothing for so long is not well.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// Once may be chance; an instance that restarts so often is not well.
const DEATHS_MAX: usize = 2;
/// A process that began so long after all were replaced was started again. Clocks differ by less.
const STARTED_AGAIN_MS: u64 = 5_000;
/// The time before a wave is read in so many parts, none of them shorter than a second.
const BASELINE_READS: u32 = 20;
const READ_EVERY_MIN: Duration = Duration::from_secs(1);

/// One deploy's wave, as far as it was read.
pub struct Watch {
    of: (u64, usize),
    /// What began later was started again.
    replaced_ms: u64,
    wave: HashMap<InstanceId, Known>,
    others: Since,
    canaries: Since,
    canaries_of_wave: Figures,
}

/// What was heard at an instance's address. On Kubernetes several processes may share it, and any of them answers.
struct Known {
    /// By the time of its start, the figures of each process that ever answered.
    processes: HashMap<u64, Figures>,
    heard: Instant,
}

/// What is counted from the moment at which each process was first heard.
#[derive(Default)]
struct Since(HashMap<String, Figures>);

/// What one look has found.
pub struct Look {
    /// All that is known of the version in this wave.
    pub seen: Figures,
    /// What came since the look before.
    pub others: Figures,
    /// Instances of the wave that are not well, in words.
    pub sick: Vec<String>,
}

impl Watch {
    pub fn new(deploy: &Deploy) -> Self {
        Self {
            of: (deploy.number, deploy.wave),
            replaced_ms: u64::try_from(deploy.since_ms).unwrap_or(0),
            wave: HashMap::new(),
            others: Since::default(),
            canaries: Since::default(),
            canaries_of_wave: Figures::default(),
        }
    }

    pub fn is_of(&self, deploy: &Deploy) -> bool {
        self.of == (deploy.number, deploy.wave)
    }

    pub async fn look(&mut self, deploys: &Deploys, parts: &[Part], deploy: &Deploy) -> Look {
        let wave: Vec<&PartId> = deploy.now().part_ids().collect();
        let mut sick = vec![];
        for (instance, answer) in pages(deploys, deploy.of, parts, &wave).await {
            sick.extend(self.heard(&instance, answer, &deploy.version));
        }
        let compared: Vec<&PartId> = old_parts(deploy);
        let mut others = self.others.of(named(pages(deploys, deploy.of, parts, &compared).await));
        self.canaries_of_wave.add(&self.canaries.of(canaries(deploys, deploy.of, &wave)));
        if deploy.of == Program::Cells {
            others.add(&self.canaries.of(canaries(deploys, deploy.of, &compared)));
        }
        let mut seen = self.canaries_of_wave.clone();
        self.wave.values().flat_map(|known| known.processes.values()).for_each(|figures| seen.add(figures));
        Look { seen, others, sick }
    }

    /// Takes in what an instance of the wave reports; returns what is wrong with it.
    fn heard(&mut self, instance: &InstanceEntry, answer: Answer, version: &Version) -> Option<String> {
        let id = &instance.id;
        let nothing = || Known { processes: HashMap::new(), heard: Instant::now() };
        let page = match answer {
            Ok(page) => page,
            Err(why) => {
                let silent = self.wave.entry(id.clone()).or_insert_with(nothing).heard.elapsed();
                return (silent > SILENCE_MAX).then(|| format!("{id} is silent for {} s: {why}", silent.as_secs()));
            }
        };
        // Put back already, or not yet replaced.
        if &page.version != version {
            return None;
        }
        let known = self.wave.entry(id.clone()).or_insert_with(nothing);
        known.processes.insert(page.started_ms, page.figures);
        known.heard = Instant::now();
        let again = known.processes.keys().filter(|&&started| started > self.replaced_ms + STARTED_AGAIN_MS).count();
        (again >= DEATHS_MAX).then(|| format!("{id} died {again} times while it was watched"))
    }
}

impl Since {
    fn of(&mut self, read: impl IntoIterator<Item = (String, Figures)>) -> Figures {
        let mut since = Figures::default();
        for (name, figures) in read {
            if let Some(before) = self.0.insert(name, figures.clone()) {
                since.add(&figures.since(&before));
            }
        }
        since
    }
}

type Answer = Result<Page, String>;

/// What all instances of these parts say.
async fn pages(deploys: &Deploys, of: Program, parts: &[Part], wanted: &[&PartId]) -> Vec<(InstanceEntry, Answer)> {
    let instances = parts.iter().filter(|part| wanted.contains(&&part.id)).flat_map(|part| &part.instances);
    let asked = instances.map(async |instance| (instance.clone(), deploys.page(of, instance).await));
    join_all(asked).await
}

/// The figures of each process, under a name of its own.
fn named(answers: Vec<(InstanceEntry, Answer)>) -> impl Iterator<Item = (String, Figures)> {
    answers.into_iter().filter_map(|(instance, answer)| {
        let page = answer.ok()?;
        Some((format!("{} of {}", instance.id, page.started_ms), page.figures))
    })
}

/// What canaries have met that counts for these parts. They ask at the public address, which leads to all routers.
fn canaries(deploys: &Deploys, of: Program, parts: &[&PartId]) -> Vec<(String, Figures)> {
    match of {
        Program::Cells => parts.iter().map(|part| (part.to_string(), deploys.canaries.figures(&part.0))).collect(),
        Program::Routers => deploys.canaries.all(),
    }
}

/// Those that a later wave is to bring the version to.
fn old_parts(deploy: &Deploy) -> Vec<&PartId> {
    deploy.waves[deploy.wave + 1..].iter().flat_map(Wave::part_ids).take(OTHERS_MAX).collect()
}

/// What the wave's parts count in so much time, and canaries in them.
pub async fn baseline(deploys: &Deploys, parts: &[Part], deploy: &Deploy, time: Duration) -> Figures {
    let wave: Vec<&PartId> = deploy.now().part_ids().collect();
    let (mut processes, mut asking) = (Since::default(), Since::default());
    let mut counted = Figures::default();
    let began = Instant::now();
    loop {
        let left = time.saturating_sub(began.elapsed());
        counted.add(&processes.of(named(pages(deploys, deploy.of, parts, &wave).await)));
        counted.add(&asking.of(canaries(deploys, deploy.of, &wave)));
        if left.is_zero() {
            return counted;
        }
        tokio::time::sleep(left.min((time / BASELINE_READS).max(READ_EVERY_MIN))).await;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use deploy_analysis::figures::Counts;

    use super::*;
    use crate::tests::deploys::rolling;

    const REPLACED_MS: i64 = 1_800_000_000_000;

    fn page(version: &str, started_ms: u64, requests: u64) -> Answer {
        let counts = Counts { requests, ..Counts::default() };
        let figures = Figures(BTreeMap::from([("/withdraw".to_owned(), counts)]));
        Ok(Page { version: Version::parse(version).expect("sound"), started_ms, figures })
    }

    fn watch() -> Watch {
        Watch::new(&Deploy { since_ms: REPLACED_MS, ..rolling() })
    }

    fn instance() -> InstanceEntry {
        InstanceEntry {
            id: InstanceId("router-z1".into()),
            address: "h:1".into(),
            role: topology::Role::All,
            zone: None,
        }
    }

    fn requests(watch: &Watch) -> u64 {
        let all = watch.wave.values().flat_map(|known| known.processes.values());
        all.map(|figures| figures.whole().requests).sum()
    }

    #[test]
    fn two_processes_behind_one_address_are_no_deaths() {
        let (mut watch, version) = (watch(), Version::parse("2.0.0").expect("sound"));
        let began = u64::try_from(REPLACED_MS).expect("positive") - 20_000;
        for (started, count) in [(began, 10), (began + 9_000, 5), (began, 12), (began + 9_000, 8)] {
            assert_eq!(watch.heard(&instance(), page("2.0.0", started, count), &version), None);
        }
        assert_eq!(requests(&watch), 20, "the last of each");
        assert_eq!(watch.heard(&instance(), page("1.0.0", began, 99), &version), None);
        assert_eq!(requests(&watch), 20, "not the old version's");
    }

    #[test]
    fn a_process_that_starts_again_and_again_is_not_well() {
        let (mut watch, version) = (watch(), Version::parse("2.0.0").expect("sound"));
        let replaced = u64::try_from(REPLACED_MS).expect("positive");
        for (started, is_well) in [(replaced - 300, true), (replaced + 8_000, true), (replaced + 11_000, false)] {
            let said = watch.heard(&instance(), page("2.0.0", started, 1), &version);
            assert_eq!(said.is_none(), is_well, "{said:?}");
        }
        assert_eq!(requests(&watch), 3, "what those that died had counted counts");
    }

    #[test]
    fn what_others_count_is_told_apart_by_process() {
        let mut since = Since::default();
        let mut read = |started, requests| {
            let answers = vec![(instance(), page("1.0.0", started, requests))];
            since.of(named(answers)).whole().requests
        };
        assert_eq!([read(1, 100), read(2, 10), read(1, 130), read(2, 15)], [0, 0, 30, 5]);
    }
}
