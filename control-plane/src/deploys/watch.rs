//! Reads what instances count while a wave is watched: of the wave's, everything since they began
//! as the new version; of the others, what comes from now on. Remembers what it read last, which
//! nothing else needs: another watch starts over.
//!
//! It must never be what a customer's request waits for: pages are asked for by the control plane alone.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use deploy_analysis::figures::Figures;
use futures_util::future::join_all;
use topology::version::Running;
use topology::{CellId, InstanceEntry, InstanceId, Placement, Version};

use super::record::Deploy;
use crate::deploys::service::Deploys;

/// Cells of the old version that a wave is compared with, at most.
const OTHER_CELLS_MAX: usize = 20;
/// An instance that says nothing for so long is not well.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// Once may be chance; an instance that restarts so often is not well.
const DEATHS_MAX: u32 = 2;

/// One deploy's wave, as far as it was read.
pub struct Watch {
    of: (u64, usize),
    wave: HashMap<InstanceId, Known>,
    /// Counted by processes of the wave that are no more.
    lost: Figures,
    others: HashMap<InstanceId, Figures>,
    canaries: HashMap<CellId, Figures>,
    canaries_of_wave: Figures,
}

struct Known {
    figures: Figures,
    started_ms: u64,
    deaths: u32,
    heard: Instant,
}

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
            wave: HashMap::new(),
            lost: Figures::default(),
            others: HashMap::new(),
            canaries: HashMap::new(),
            canaries_of_wave: Figures::default(),
        }
    }

    pub fn is_of(&self, deploy: &Deploy) -> bool {
        self.of == (deploy.number, deploy.wave)
    }

    pub async fn look(&mut self, deploys: &Deploys, placement: &Placement, deploy: &Deploy) -> Look {
        let wave: Vec<CellId> = deploy.now().cell_ids().cloned().collect();
        let mut sick = vec![];
        let asked = instances(placement, &wave).map(|instance| told(deploys, instance));
        for (instance, answer) in join_all(asked).await {
            sick.extend(self.heard(&instance, answer, &deploy.version));
        }
        let compared: Vec<CellId> = old_cells(deploy);
        let asked = instances(placement, &compared).map(|instance| told(deploys, instance));
        let mut others = Figures::default();
        for (instance, answer) in join_all(asked).await {
            let Ok((_, figures)) = answer else { continue };
            if let Some(before) = self.others.insert(instance.id, figures.clone()) {
                others.add(&figures.since(&before));
            }
        }
        for (cells, into) in [(&wave, &mut self.canaries_of_wave), (&compared, &mut others)] {
            for cell in cells {
                let figures = deploys.canaries.figures(cell);
                if let Some(before) = self.canaries.insert(cell.clone(), figures.clone()) {
                    into.add(&figures.since(&before));
                }
            }
        }
        let mut seen = self.lost.clone();
        seen.add(&self.canaries_of_wave);
        self.wave.values().for_each(|known| seen.add(&known.figures));
        Look { seen, others, sick }
    }

    /// Takes in what an instance of the wave reports; returns what is wrong with it.
    fn heard(&mut self, instance: &InstanceEntry, answer: Told, version: &Version) -> Option<String> {
        let id = &instance.id;
        let (running, figures) = match answer {
            Ok((running, figures)) => (running, figures),
            Err(why) => {
                let known = self.wave.entry(id.clone()).or_insert_with(Known::nothing);
                let silent = known.heard.elapsed();
                return (silent > SILENCE_MAX).then(|| format!("{id} is silent for {} s: {why}", silent.as_secs()));
            }
        };
        // Put back already, or not yet replaced.
        if &running.version != version {
            return None;
        }
        let known = self.wave.entry(id.clone()).or_insert_with(Known::nothing);
        if known.started_ms != 0 && known.started_ms != running.started_ms {
            known.deaths += 1;
            self.lost.add(&known.figures);
        }
        (known.figures, known.started_ms, known.heard) = (figures, running.started_ms, Instant::now());
        (known.deaths >= DEATHS_MAX).then(|| format!("{id} died {} times while it was watched", known.deaths))
    }
}

impl Known {
    fn nothing() -> Self {
        Self { figures: Figures::default(), started_ms: 0, deaths: 0, heard: Instant::now() }
    }
}

type Told = Result<(Running, Figures), String>;

async fn told(deploys: &Deploys, instance: InstanceEntry) -> (InstanceEntry, Told) {
    let (running, page) =
        tokio::join!(deploys.fleet.instances.running(&instance), deploys.fleet.instances.metrics(&instance));
    let answer = running.and_then(|running| Ok((running, Figures::read(&page?))));
    (instance, answer)
}

fn instances<'a>(placement: &'a Placement, cells: &'a [CellId]) -> impl Iterator<Item = InstanceEntry> + 'a {
    let entries = cells.iter().filter_map(|cell| placement.cell_named(cell));
    entries.flat_map(|entry| entry.instances.iter().cloned())
}

/// Cells that a later wave is to bring the version to.
fn old_cells(deploy: &Deploy) -> Vec<CellId> {
    let later = deploy.waves[deploy.wave + 1..].iter().flat_map(super::record::Wave::cell_ids);
    later.take(OTHER_CELLS_MAX).cloned().collect()
}

/// What the wave's cells count in so much time, and their canaries.
pub async fn baseline(deploys: &Deploys, placement: &Placement, deploy: &Deploy, time: Duration) -> Figures {
    let cells: Vec<CellId> = deploy.now().cell_ids().cloned().collect();
    let read = async || {
        let pages = join_all(instances(placement, &cells).map(|instance| told(deploys, instance))).await;
        let of = pages.into_iter().filter_map(|(instance, answer)| Some((instance.id.to_string(), answer.ok()?.1)));
        let canaries = cells.iter().map(|cell| (format!("canary of {cell}"), deploys.canaries.figures(cell)));
        of.chain(canaries).collect::<HashMap<_, _>>()
    };
    let first = read().await;
    tokio::time::sleep(time).await;
    let mut counted = Figures::default();
    for (name, figures) in read().await {
        if let Some(before) = first.get(&name) {
            counted.add(&figures.since(before));
        }
    }
    counted
}
