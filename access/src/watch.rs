//! Notices that files have changed, by their times of change and lengths. It never reads what is in them.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

type Stamp = Option<(SystemTime, u64)>;

pub struct Watched {
    paths: Vec<PathBuf>,
    seen: Vec<(PathBuf, Stamp)>,
}

impl Watched {
    /// Of a folder, the files in it are watched.
    pub fn new(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let mut watched = Self { paths: paths.into_iter().collect(), seen: vec![] };
        watched.seen = watched.stamps();
        watched
    }

    fn stamps(&self) -> Vec<(PathBuf, Stamp)> {
        let mut stamps = Vec::new();
        for path in &self.paths {
            stamps.push((path.clone(), stamp(path)));
            let mut inside: Vec<_> = std::fs::read_dir(path).into_iter().flatten().flatten().collect();
            inside.sort_by_key(std::fs::DirEntry::file_name);
            stamps.extend(inside.into_iter().map(|entry| (entry.path(), stamp(&entry.path()))));
        }
        stamps
    }

    /// Whether anything is different from when this was last asked.
    pub fn changed(&mut self) -> bool {
        let now = self.stamps();
        let changed = now != self.seen;
        self.seen = now;
        changed
    }

    /// Makes the next question answer yes: what was found could not be used.
    pub fn again(&mut self) {
        self.seen.clear();
    }
}

fn stamp(path: &Path) -> Stamp {
    let facts = std::fs::metadata(path).ok()?;
    Some((facts.modified().ok()?, facts.len()))
}
