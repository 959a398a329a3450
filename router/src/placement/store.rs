//! The last placement on disk: a snapshot and the deltas since, in sled. It holds nothing that
//! cannot be fetched again, so a damaged store is moved aside and replaced by an empty one.
//!
//! A disk that takes nothing, because it is full for example, never keeps the router from routing: what is stored stays as
//! it is, and is opened again later.

use std::fs::File;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use topology::{Placement, PlacementUpdate};

use crate::limits;

const DIRECTORY: &str = "placement.sled";
const SNAPSHOT: &[u8] = b"snapshot";
const DELTA_PREFIX: &[u8] = b"delta/";
const CACHE_BYTES: u64 = 4 * 1024 * 1024;
/// Written and deleted before the store is opened: sled cannot tell a full disk from damage.
const PROBE: &str = "probe";
const PROBE_BYTES: usize = 512 * 1024;

pub struct Store {
    path: PathBuf,
    /// None: the disk took nothing the last time.
    opened: Option<Opened>,
}

struct Opened {
    db: sled::Db,
    deltas: u64,
}

impl Store {
    /// Opens the store in `data_dir` and reads what it holds. Fails only if the directory cannot be used at all.
    pub fn open(data_dir: &Path) -> anyhow::Result<(Self, Option<Placement>)> {
        let mut store = Self { path: data_dir.join(DIRECTORY), opened: None };
        match std::fs::create_dir_all(data_dir) {
            Err(error) if is_full(&error) => {}
            made => made.with_context(|| format!("create {}", data_dir.display()))?,
        }
        let stored = store.reopen()?;
        Ok((store, stored))
    }

    /// Whether everything is stored that was to be.
    pub fn is_open(&self) -> bool {
        self.opened.is_some()
    }

    /// Tries again to open it, and reads what it holds; nothing while the disk takes nothing.
    pub fn reopen(&mut self) -> anyhow::Result<Option<Placement>> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        if let Err(error) = probe(folder) {
            if !is_full(&error) {
                return Err(error).with_context(|| format!("write to {}", folder.display()));
            }
            tracing::error!(%error, folder = %folder.display(), "the disk takes no placement; going on without");
            return Ok(None);
        }
        let (opened, stored) = open_or_begin(&self.path)?;
        self.opened = Some(opened);
        Ok(stored)
    }

    /// Stores `update`, which has led to `placement`. On disk when this returns. After a failure it is closed: sled takes
    /// nothing more after an error.
    pub fn keep(&mut self, update: &PlacementUpdate, placement: &Placement) -> anyhow::Result<()> {
        let opened = self.opened.as_mut().context("the disk took nothing the last time")?;
        let kept = caught(|| opened.keep(update, placement));
        if kept.is_err() {
            self.opened = None;
        }
        kept
    }
}

impl Opened {
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

    fn keep(&mut self, update: &PlacementUpdate, placement: &Placement) -> anyhow::Result<()> {
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

/// What is damaged is moved aside.
fn open_or_begin(path: &Path) -> anyhow::Result<(Opened, Option<Placement>)> {
    let reason = match try_open(path) {
        Ok(opened) => return Ok(opened),
        Err(error) => error,
    };
    if is_locked(&reason) {
        bail!("{} is in use by another router: give this one its own --data-dir", path.display());
    }
    let aside = aside_of(path);
    std::fs::rename(path, &aside)
        .with_context(|| format!("{} is damaged ({reason:#}) and cannot be moved aside", path.display()))?;
    tracing::error!(reason = format!("{reason:#}"), moved_to = %aside.display(), "stored placement was damaged");
    try_open(path).with_context(|| format!("start again at {}", path.display()))
}

fn try_open(path: &Path) -> anyhow::Result<(Opened, Option<Placement>)> {
    caught(|| {
        let db = sled::Config::new().path(path).cache_capacity(CACHE_BYTES).flush_every_ms(None).open()?;
        let mut opened = Opened { db, deltas: 0 };
        let placement = opened.load()?;
        Ok((opened, placement))
    })
}

/// sled panics on some damage; that is damage too.
fn caught<T>(work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(anyhow!("sled panicked")))
}

fn probe(folder: &Path) -> io::Result<()> {
    let path = folder.join(PROBE);
    let written = File::create(&path).and_then(|mut file| {
        file.write_all(&vec![0; PROBE_BYTES])?;
        file.sync_all()
    });
    // Also what was written in part has to go; where there is nothing, nothing has to.
    let _ = std::fs::remove_file(&path);
    written
}

/// Whether the disk takes nothing now, and may do so later.
fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge | ReadOnlyFilesystem)
}

fn is_locked(error: &anyhow::Error) -> bool {
    error.to_string().contains("could not acquire lock")
}

/// A name beside `path` that is not taken yet.
fn aside_of(path: &Path) -> PathBuf {
    let name = |number: u32| path.with_extension(format!("damaged-{number}"));
    (1..).map(name).find(|aside| !aside.exists()).expect("some number is free")
}
