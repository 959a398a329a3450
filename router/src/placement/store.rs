//! The last placement on disk: a snapshot and the deltas since, in sled. It holds nothing that
//! cannot be fetched again, so a damaged store is moved aside and replaced by an empty one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use topology::{Placement, PlacementUpdate};

use crate::limits;

const DIRECTORY: &str = "placement.sled";
const SNAPSHOT: &[u8] = b"snapshot";
const DELTA_PREFIX: &[u8] = b"delta/";
const CACHE_BYTES: u64 = 4 * 1024 * 1024;

pub struct Store {
    db: sled::Db,
    deltas: u64,
}

impl Store {
    /// Opens the store in `data_dir` and reads what it holds. Fails only if the directory cannot be used at all.
    pub fn open(data_dir: &Path) -> anyhow::Result<(Self, Option<Placement>)> {
        std::fs::create_dir_all(data_dir).with_context(|| format!("create {}", data_dir.display()))?;
        let path = data_dir.join(DIRECTORY);
        let reason = match Self::try_open(&path) {
            Ok(opened) => return Ok(opened),
            Err(error) => error,
        };
        if is_locked(&reason) {
            bail!("{} is in use by another router: give this one its own --data-dir", path.display());
        }
        let aside = aside_of(&path);
        std::fs::rename(&path, &aside)
            .with_context(|| format!("{} is damaged ({reason:#}) and cannot be moved aside", path.display()))?;
        tracing::error!(reason = format!("{reason:#}"), moved_to = %aside.display(), "stored placement was damaged");
        Self::try_open(&path).with_context(|| format!("start again at {}", path.display()))
    }

    /// sled panics on some damage; that is damage too.
    fn try_open(path: &Path) -> anyhow::Result<(Self, Option<Placement>)> {
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let db = sled::Config::new().path(path).cache_capacity(CACHE_BYTES).flush_every_ms(None).open()?;
            let mut store = Self { db, deltas: 0 };
            let placement = store.load()?;
            Ok((store, placement))
        }));
        opened.unwrap_or_else(|_| Err(anyhow!("sled panicked")))
    }

    fn load(&mut self) -> anyhow::Result<Option<Placement>> {
        let Some(snapshot) = self.db.get(SNAPSHOT)? else { return Ok(None) };
        let mut placement = Placement::from_full(&serde_json::from_slice(&snapshot).context("snapshot")?)?;
        for delta in self.db.scan_prefix(DELTA_PREFIX) {
            let delta: PlacementUpdate = serde_json::from_slice(&delta?.1).context("delta")?;
            placement = placement.updated(&delta)?;
            self.deltas += 1;
        }
        Ok(Some(placement))
    }

    /// Stores `update`, which has led to `placement`. On disk when this returns.
    pub fn keep(&mut self, update: &PlacementUpdate, placement: &Placement) -> anyhow::Result<()> {
        let mut batch = sled::Batch::default();
        if update.base.is_some() && self.deltas < limits::DELTAS_MAX {
            let key = [DELTA_PREFIX, &update.version.to_be_bytes()].concat();
            batch.insert(key, serde_json::to_vec(update)?);
            self.deltas += 1;
        } else {
            batch.insert(SNAPSHOT, serde_json::to_vec(&placement.to_full())?);
            for key in self.db.scan_prefix(DELTA_PREFIX).keys() {
                batch.remove(key?);
            }
            self.deltas = 0;
        }
        self.db.apply_batch(batch)?;
        self.db.flush()?;
        Ok(())
    }
}

fn is_locked(error: &anyhow::Error) -> bool {
    error.to_string().contains("could not acquire lock")
}

/// A name beside `path` that is not taken yet.
fn aside_of(path: &Path) -> PathBuf {
    let name = |number: u32| path.with_extension(format!("damaged-{number}"));
    (1..).map(name).find(|aside| !aside.exists()).expect("some number is free")
}
