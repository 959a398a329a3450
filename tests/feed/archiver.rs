//! The process that archives is killed with SIGKILL right after it has written an object, paused until another one has
//! its job, without its position, and without an archive: afterwards no block of the tables is missing in the archive.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use archive::{Archive, Draft, Segment};
use nix::sys::signal::Signal;
use store::{BlockRange, Chains, Homes};
use topology::{Bucket, CellId};
use uuid::Uuid;

use super::one_cell::{CELL, OneCell, is_long};
use crate::fleet::engines::Engine;
use crate::fleet::{open_transfers, setting, until, within};

/// From the moment that a process is there to do it, on a machine that is busy with other things.
const ARCHIVED_WITHIN_S: u64 = 30;
const AWAY_S: u64 = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_block_is_missing_whatever_becomes_of_the_archiver() {
    within(600, "the test", async {
        let mut cell = OneCell::over(Engine::local().await).await;
        cell.archive = Some(std::env::temp_dir().join(format!("wallet-archive-{}", Uuid::new_v4())));
        for number in 0..if is_long() { 40 } else { 4 } {
            killed(&mut cell, ["segments", "log"][number % 2]).await;
        }
        two_at_once(&mut cell).await;
        archive_away(&mut cell).await;
        position_lost(&mut cell).await;
    })
    .await;
}

/// Once there is another object of this kind.
async fn killed(cell: &mut OneCell, folder: &str) {
    let path = cell.archive.as_ref().expect("it has one").join(CELL).join(folder);
    cell.start("dies").await;
    let before = objects(&path);
    cell.leave_open().await;
    let deadline = Instant::now() + Duration::from_secs(ARCHIVED_WITHIN_S);
    while objects(&path) == before {
        assert!(Instant::now() < deadline, "nothing is archived");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    cell.kill("dies");
    cell.start("follows").await;
    assert_eq!(archived(cell, &format!("killed after an object in {folder}")).await, 0);
    cell.kill("follows");
}

/// Ends with one process, `other`, which has the job.
async fn two_at_once(cell: &mut OneCell) {
    cell.start("one").await;
    until(10, "it has the job", async || cell.does("archive", "one").await).await;
    cell.start("other").await;
    cell.signal("one", Signal::SIGSTOP);
    cell.leave_open().await;
    assert_eq!(archived(cell, "the archiver is paused").await, 0);
    assert!(cell.does("archive", "other").await, "the other one has the job");
    // It believes that the job is its own until it writes.
    cell.leave_open().await;
    cell.signal("one", Signal::SIGCONT);
    assert_eq!(archived(cell, "the archiver that was paused wakes up").await, 0);
    cell.kill("one");
}

async fn archive_away(cell: &mut OneCell) {
    let folder = cell.archive.clone().expect("it has one");
    let aside = folder.with_extension("aside");
    std::fs::rename(&folder, &aside).expect("it is there");
    std::fs::write(&folder, "no folder").expect("it is written");
    cell.leave_open().await;
    // Money does not wait.
    cell.carried_on(Instant::now(), "the archive is away").await;
    tokio::time::sleep(Duration::from_secs(setting("WALLET_ARCHIVE_AWAY_S", AWAY_S))).await;
    std::fs::remove_file(&folder).expect("it is there");
    std::fs::rename(&aside, &folder).expect("it is there");
    assert_eq!(archived(cell, "the archive was away").await, 0);
}

/// The newest entry says nothing that can be read. It has one block for the second time.
async fn position_lost(cell: &mut OneCell) {
    cell.kill("other");
    let archive = open(cell);
    let newest = archive.newest(0).await.expect("it answers").expect("archived");
    let blocks = archive.segment(&newest).await.expect("sound").blocks;
    let segment = Segment { blocks: blocks.into_iter().take(1).collect() };
    let draft = Draft { segment, at: open_transfers::now(), position: "lost".into() };
    archive.append(Some(&newest), &draft).await.expect("it answers").expect("no process archives");
    cell.leave_open().await;
    cell.start("one").await;
    assert_eq!(archived(cell, "the position is lost").await, 1);
}

fn objects(folder: &Path) -> usize {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    // Others are being written.
    files.filter(|file| !file.file_name().to_string_lossy().contains('#')).count()
}

fn open(cell: &OneCell) -> Archive {
    let folder = cell.archive.as_ref().expect("it has one");
    Archive::open(&format!("file://{}", folder.display()), CellId::parse(CELL).expect("sound")).expect("it is there")
}

/// Waits until nothing is missing. How many blocks are there twice.
async fn archived(cell: &OneCell, what: &str) -> usize {
    let (began, mut repeated) = (Instant::now(), 0);
    until(ARCHIVED_WITHIN_S, &format!("all is archived: {what}"), async || {
        let found = blocks(&open(cell)).await;
        repeated = found.values().map(|times| times - 1).sum();
        cell.is_settled().await && is_whole(cell, &found).await
    })
    .await;
    eprintln!("{what}: {:.1?}, {repeated} repeated", began.elapsed());
    repeated
}

type Found = BTreeMap<(String, u64, [u8; 32]), usize>;

async fn blocks(archive: &Archive) -> Found {
    let (mut found, mut number) = (Found::new(), 1);
    while let Ok(Some(entry)) = archive.entry(number).await {
        for block in archive.segment(&entry).await.expect("sound").blocks {
            *found.entry((block.wallet.to_string(), block.number, block.hash.0)).or_default() += 1;
        }
        number += 1;
    }
    found
}

async fn is_whole(cell: &OneCell, found: &Found) -> bool {
    let everything = (Bucket(0), Bucket(u16::MAX));
    for wallet in cell.store.members(everything, None, 1_000).await.expect("the tables answer") {
        let mut first = 0;
        loop {
            let range = BlockRange { first, last: u64::MAX, newest_first: false };
            let blocks = cell.store.blocks(wallet, range, 1_000).await.expect("the tables answer");
            let Some(last) = blocks.last() else { break };
            first = last.number + 1;
            if !blocks.iter().all(|block| found.contains_key(&(wallet.to_string(), block.number, block.hash.0))) {
                return false;
            }
        }
    }
    true
}
