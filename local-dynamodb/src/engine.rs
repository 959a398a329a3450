//! Opens the database: one SQLite file, held by one process.
//!
//! It must never let two processes write the same file: each keeps tables and indexes in memory and would not see the
//! other's changes.

use std::fmt::Display;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dynoxide::Database;

use crate::group_sync::{GroupSync, Turn};
use crate::stream_records;

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{} is in use by process {holder}: stop it, or choose another --data file", path.display())]
    InUse { path: PathBuf, holder: String },
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{}: {message}", path.display())]
    Engine { path: PathBuf, message: String },
}

/// An open database; the file stays locked until this is dropped.
pub struct Engine {
    pub database: Database,
    /// Of a database in a file.
    sync: Option<Arc<GroupSync>>,
    _lock: Option<File>,
}

impl Engine {
    /// Opens or creates the file at `path`. Every commit reaches the disk before it is answered.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|source| OpenError::Io { path: folder.into(), source })?;
        }
        let lock = lock(path)?;
        let database = tables(path)?;
        // This is what sets `synchronous = NORMAL`: commits are not synced one by one.
        database.disable_bulk_loading().map_err(|error| engine_error(path, &error))?;
        let sync = GroupSync::start(path).map_err(|source| OpenError::Io { path: path.into(), source })?;
        Ok(Self { database, sync: Some(sync), _lock: Some(lock) })
    }

    /// A database that ends with this process, under a name by which its other connection finds it.
    pub fn in_memory() -> Result<Self, OpenError> {
        static OPENED: AtomicU64 = AtomicU64::new(0);
        Self::in_memory_at(Path::new(&format!("file:/tables-{}?vfs=memdb", OPENED.fetch_add(1, Ordering::Relaxed))))
    }

    pub(crate) fn in_memory_at(name: &Path) -> Result<Self, OpenError> {
        let database = tables(name)?;
        Ok(Self { database, sync: None, _lock: None })
    }

    /// To be held while something is written.
    pub fn turn(&self) -> Option<Turn<'_>> {
        self.sync.as_deref().map(GroupSync::turn)
    }

    /// Waits until what an answer rests on is on disk: its own commit, or whatever a call without one may have seen.
    pub async fn settled(&self, commit: Option<u64>) {
        if let Some(sync) = &self.sync {
            sync.settled(commit.unwrap_or_else(|| sync.newest())).await;
        }
    }
}

/// Opens the engine's tables and completes them.
fn tables(path: &Path) -> Result<Database, OpenError> {
    let database = Database::new(&path.to_string_lossy()).map_err(|error| engine_error(path, &error))?;
    stream_records::complete(path).map_err(|error| engine_error(path, &error))?;
    Ok(database)
}

fn engine_error(path: &Path, error: &dyn Display) -> OpenError {
    OpenError::Engine { path: path.into(), message: error.to_string() }
}

/// The lock goes with the process, however it ends: a file left behind never blocks the next start.
fn lock(data: &Path) -> Result<File, OpenError> {
    let mut path = data.as_os_str().to_owned();
    path.push(".lock");
    let path = PathBuf::from(path);
    let failed = |source| OpenError::Io { path: path.clone(), source };
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            let holder = if holder.is_empty() { "unknown".to_owned() } else { holder.trim().to_owned() };
            return Err(OpenError::InUse { path: data.into(), holder });
        }
        Err(TryLockError::Error(source)) => return Err(failed(source)),
    }
    file.set_len(0).map_err(failed)?;
    writeln!(file, "{}", std::process::id()).map_err(failed)?;
    Ok(file)
}
