//! Opens the database: one SQLite file, held by one process.
//!
//! It must never let two processes write the same file: each keeps tables and indexes in memory and would not see the
//! other's changes.

use std::collections::HashMap;
use std::fmt::Display;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use dynoxide::{Database, ImportOptions};

use crate::group_sync::{GroupSync, Turn};
use crate::stream_records;

/// A description of a table is kept for so many times as long as it took to make.
const DESCRIBED_FOR: u32 = 200;

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
    /// Answers to requests that describe a table, each until it is made again: the engine reads all items of the table to
    /// count them. DynamoDB counts every six hours.
    descriptions: Mutex<HashMap<Vec<u8>, (String, Instant)>>,
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
        Ok(Self { database, sync: Some(sync), descriptions: Mutex::default(), _lock: Some(lock) })
    }

    /// A database that ends with this process, under a name by which its other connection finds it.
    pub fn in_memory() -> Result<Self, OpenError> {
        static OPENED: AtomicU64 = AtomicU64::new(0);
        Self::in_memory_at(Path::new(&format!("file:/tables-{}?vfs=memdb", OPENED.fetch_add(1, Ordering::Relaxed))))
    }

    pub(crate) fn in_memory_at(name: &Path) -> Result<Self, OpenError> {
        let database = tables(name)?;
        Ok(Self { database, sync: None, descriptions: Mutex::default(), _lock: None })
    }

    /// Writes many items of a table at once, each as DynamoDB's JSON, and nothing about them into the table's stream: for
    /// tables that are filled before anything is measured. The last of several of one key stays.
    pub fn import(&self, table: &str, items: Vec<serde_json::Value>) -> Result<(), String> {
        let items = items.into_iter().map(serde_json::from_value).collect::<Result<Vec<_>, _>>();
        let items = items.map_err(|error| error.to_string())?;
        let imported = self.database.import_items(table, items, ImportOptions::default());
        imported.map(drop).map_err(|error| error.to_string())
    }

    /// The description that a request asks for: one that is known, or what `describe` answers. Others wait meanwhile.
    pub(crate) fn described<E>(
        &self,
        request: &[u8],
        describe: impl FnOnce() -> Result<String, E>,
    ) -> Result<String, E> {
        let mut known = self.descriptions.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some((description, _)) = known.get(request).filter(|(_, until)| now < *until) {
            return Ok(description.clone());
        }
        let description = describe()?;
        let until = Instant::now() + now.elapsed().saturating_mul(DESCRIBED_FOR);
        known.insert(request.to_vec(), (description.clone(), until));
        Ok(description)
    }

    /// After a table was changed.
    pub(crate) fn forget_descriptions(&self) {
        self.descriptions.lock().unwrap_or_else(PoisonError::into_inner).clear();
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_slow_description_is_kept_until_a_table_changes() {
        let engine = Engine::in_memory().expect("opens");
        let mut asked = 0;
        let mut described = |request: &[u8]| {
            let describe = || {
                asked += 1;
                std::thread::sleep(Duration::from_millis(50));
                Ok::<_, String>(asked.to_string())
            };
            engine.described(request, describe)
        };
        assert_eq!(described(b"a"), Ok("1".to_owned()));
        assert_eq!(described(b"a"), Ok("1".to_owned()));
        assert_eq!(described(b"b"), Ok("2".to_owned()));
        engine.forget_descriptions();
        assert_eq!(described(b"a"), Ok("3".to_owned()));
    }
}
