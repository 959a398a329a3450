//! An archive in a directory, with each byte changed, each object removed, and each two swapped: always found.

use std::path::{Path, PathBuf};

use fastrand::Rng;

use super::cell;
use super::world::World;
use crate::{Archive, Findings, Receipt, Verify};

struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

impl Directory {
    fn new() -> Self {
        let name = format!("archive-{}-{:x}", std::process::id(), Rng::new().u64(..));
        Self(std::env::temp_dir().join(name))
    }

    fn files(&self) -> Vec<PathBuf> {
        let folders = ["log", "segments", "owners"].map(|folder| self.0.join(cell().as_str()).join(folder));
        let files =
            |folder: &PathBuf| std::fs::read_dir(folder).expect("it is there").map(|file| file.expect("one").path());
        let mut files: Vec<PathBuf> = folders.iter().flat_map(files).collect();
        files.sort();
        files
    }
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).expect("a file");
}

#[tokio::test]
async fn every_change_of_an_archive_is_found() {
    let directory = Directory::new();
    let archive = Archive::open(&format!("file://{}", directory.0.display()), cell()).expect("a directory");
    // Of a wallet that lives elsewhere, the owner may be missing.
    let is_here =
        |world: &World| world.chains.values().all(|chain| chain.last().is_some_and(|last| last.home == cell()));
    let mut worlds = (0..).map(|seed| World::new(&mut Rng::with_seed(seed), 2, 6));
    let (world, mut rng) = (worlds.find(is_here).expect("one of them"), Rng::with_seed(4));
    world.archive(&mut rng, &archive).await;
    let last = archive.newest(0).await.expect("it answers").expect("written");
    archive.fence(Some(&last), 1, last.at, String::new()).await.expect("it answers").expect("alone");
    let newest = archive.newest(0).await.expect("it answers").expect("written");
    let wanted = Verify { receipt: Some(Receipt { number: newest.number, hash: newest.hash }), owners: true };
    let found = async || archive.verify(wanted).await.expect("it answers").findings;
    assert_eq!(found().await, Findings::default());

    let files = directory.files();
    assert!(newest.number > 1 && files.len() as u64 == 2 * newest.number + 2, "{files:?}");
    let contents: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).expect("a file")).collect();
    for (file, bytes) in files.iter().zip(&contents) {
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 1 << rng.u8(0..8);
            write(file, &changed);
            assert!(!found().await.is_empty(), "byte {place} of {}", file.display());
        }
        write(file, &bytes[..bytes.len() - 1]);
        assert!(!found().await.is_empty(), "{} is cut", file.display());
        std::fs::remove_file(file).expect("it is there");
        assert!(!found().await.is_empty(), "{} is removed", file.display());
        write(file, bytes);
    }
    for (one, first) in files.iter().zip(&contents) {
        for (other, second) in files.iter().zip(&contents).filter(|(other, _)| *other > one) {
            write(one, second);
            write(other, first);
            assert!(!found().await.is_empty(), "{} and {} are swapped", one.display(), other.display());
            write(one, first);
            write(other, second);
        }
    }
    assert_eq!(found().await, Findings::default());
}
