//! One sync of the write-ahead log for all answers that wait for it.
//!
//! SQLite appends commits to the log without a sync (`synchronous = NORMAL`), and before it moves pages from the log to
//! the database it syncs both. So a commit is durable once a sync of the log is over that began after the commit. An answer
//! waits for that: of a write, and of a read, which may have seen a commit that is not on disk yet.
//!
//! It must never answer after a sync that failed: what the log lacks then is unknown, and the process ends.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// The order of commits, and how many of them are on disk.
pub struct GroupSync {
    /// Commits made; the lock is held while one is made.
    committed: Mutex<u64>,
    /// Commits made or being made.
    begun: AtomicU64,
    made_one: Condvar,
    durable: watch::Sender<u64>,
}

/// The right to commit: no other write commits meanwhile.
pub struct Turn<'a> {
    sync: &'a GroupSync,
    committed: MutexGuard<'a, u64>,
}

impl GroupSync {
    /// Starts the thread that syncs the log beside the database at `path`, which must be open.
    pub fn start(path: &Path) -> io::Result<Arc<Self>> {
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        // The engine has created it, and keeps the same file for as long as it is open.
        let log = OpenOptions::new().read(true).write(true).open(log)?;
        // The names of new files are not synced before the first of SQLite's own syncs.
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            File::open(folder)?.sync_all()?;
        }
        let sync = Arc::new(Self::new());
        let of_thread = Arc::clone(&sync);
        std::thread::Builder::new().name("log-sync".to_owned()).spawn(move || of_thread.keep_syncing(&log))?;
        Ok(sync)
    }

    fn new() -> Self {
        Self {
            committed: Mutex::new(0),
            begun: AtomicU64::new(0),
            made_one: Condvar::new(),
            durable: watch::Sender::new(0),
        }
    }

    pub fn turn(&self) -> Turn<'_> {
        let committed = self.committed.lock().unwrap_or_else(PoisonError::into_inner);
        self.begun.fetch_add(1, Ordering::SeqCst);
        Turn { sync: self, committed }
    }

    /// The newest commit that a call which is over may have seen.
    pub fn newest(&self) -> u64 {
        self.begun.load(Ordering::SeqCst)
    }

    /// Waits until this commit is on disk.
    pub async fn settled(&self, commit: u64) {
        let mut durable = self.durable.subscribe();
        durable.wait_for(|durable| *durable >= commit).await.expect("the sender is not dropped before this");
    }

    fn keep_syncing(&self, log: &File) -> ! {
        loop {
            let upto = self.next();
            if let Err(error) = log.sync_data() {
                tracing::error!(%error, "the log could not be synced: what is on disk is unknown");
                std::process::abort();
            }
            self.durable.send_replace(upto);
        }
    }

    /// Waits for commits that are not on disk; the newest one.
    fn next(&self) -> u64 {
        let mut committed = self.committed.lock().unwrap_or_else(PoisonError::into_inner);
        while *committed == *self.durable.borrow() {
            committed = self.made_one.wait(committed).unwrap_or_else(PoisonError::into_inner);
        }
        *committed
    }
}

impl Turn<'_> {
    /// The number of the commit that is made in this turn.
    pub fn commit(&self) -> u64 {
        *self.committed + 1
    }
}

impl Drop for Turn<'_> {
    /// Also where nothing was committed: that costs one sync.
    fn drop(&mut self) {
        *self.committed += 1;
        self.sync.made_one.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const A_MOMENT: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn an_answer_waits_for_a_sync_that_began_after_its_commit() {
        let sync = GroupSync::new();
        let first = sync.turn();
        let (made, seen) = (first.commit(), sync.newest());
        assert_eq!((made, seen), (1, 1), "a read may have seen what is being committed");
        drop(first);
        let upto = sync.next();
        drop(sync.turn());
        assert!(timeout(A_MOMENT, sync.settled(made)).await.is_err(), "the sync is not over");
        sync.durable.send_replace(upto);
        sync.settled(made).await;
        assert!(timeout(A_MOMENT, sync.settled(2)).await.is_err(), "made after the sync had begun");
        assert_eq!(sync.next(), 2);
    }
}
