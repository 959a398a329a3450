//! The archives of all cells, when everything that was written had the time to be archived: the log of a cell holds each
//! block that was written there, and none of them twice.

use std::collections::BTreeMap;

use archive::{Archive, Entry, Finding, Verify};
use ledger::{Block, Hash};
use store::place::{Place, Walk};
use store::{Changes, Owners, Position};
use topology::WalletId;

use super::copies;
use crate::archiving::Archives;
use crate::report::{Violation, violated};
use crate::world::{Cell, World};

/// Blocks by what names them, and how often each is there.
type Counts = BTreeMap<(WalletId, u64, Hash), usize>;

fn add(counts: &mut Counts, block: &Block) {
    *counts.entry((block.wallet, block.number, block.hash)).or_default() += 1;
}

/// What a log holds.
#[derive(Default)]
struct Logged {
    all: Counts,
    /// In entries that follow the change stream that the tables have now.
    followed: Counts,
}

/// All of what is said of archives; how many entries they have.
pub async fn check(world: &World) -> Result<usize, Violation> {
    let Some(archives) = &world.archives else { return Ok(0) };
    let (mut entries, mut anywhere) = (0, Counts::new());
    for (number, cell) in world.cells.iter().enumerate() {
        let archive = archives.archive(number);
        let of_cell = |violation: Violation| Violation(format!("the archive of {}: {}", cell.id, violation.0));
        entries += sound(archives, number, &archive).await.map_err(of_cell)?;
        let logged = read(cell, &archive).await.map_err(of_cell)?;
        check_blocks(cell, &logged).await.map_err(of_cell)?;
        check_owners(world, number, &archive).await.map_err(of_cell)?;
        anywhere.extend(logged.all);
    }
    // What was acknowledged is in these chains.
    for block in copies::longest(world)?.values().flatten() {
        if !anywhere.contains_key(&(block.wallet, block.number, block.hash)) {
            return violated(format!("block {} of {} is in no archive", block.number, block.wallet));
        }
    }
    Ok(entries)
}

/// As `ctl archive verify` says.
async fn sound(archives: &Archives, cell: usize, archive: &Archive) -> Result<usize, Violation> {
    let report = archive.verify(Verify { receipt: None, owners: true }).await;
    let report = report.map_err(|error| Violation(format!("it cannot be verified: {error}")))?;
    let is_known = |finding: &&Finding| {
        let of_owner = finding.wallet.filter(|_| finding.block.is_none());
        of_owner.is_none_or(|wallet| !archives.is_owner_in_doubt(cell, wallet))
    };
    match report.findings.listed.iter().find(is_known) {
        None => Ok(usize::try_from(report.entries).expect("a short run")),
        Some(first) => violated(format!("{} findings, of which the first is {first:?}", report.findings.count)),
    }
}

async fn read(cell: &Cell, archive: &Archive) -> Result<Logged, Violation> {
    let unread = |error: archive::ArchiveError| Violation(format!("it cannot be read: {error}"));
    let mut logged = Logged::default();
    let last = archive.last_number().await.map_err(unread)?;
    let (mut reader, mut is_known) = (archive.reader(1..=last), false);
    while let Some(fetched) = reader.next().await.map_err(unread)? {
        let (Some(entry), Some(segment)) = (fetched.entry, fetched.segment) else { continue };
        let was_known = std::mem::replace(&mut is_known, follows(cell, &entry).await?);
        for block in &segment.blocks {
            add(&mut logged.all, block);
            // Between two positions of the stream is that part of it and nothing else.
            if was_known && is_known {
                add(&mut logged.followed, block);
            }
        }
    }
    Ok(logged)
}

/// Whether an entry says which blocks of the change stream that the tables have now are archived, and no walk is under way.
async fn follows(cell: &Cell, entry: &Entry) -> Result<bool, Violation> {
    let Some(place) = Place::parse(&entry.position) else {
        return violated(format!("entry {} has the position {:?}", entry.number, entry.position));
    };
    Ok(place.walk == Walk::Done && !changes(cell, &place.stream).await.lost)
}

async fn changes(cell: &Cell, after: &Position) -> store::Batch {
    cell.store.changes(after).await.expect("a handle without faults answers")
}

async fn check_blocks(cell: &Cell, logged: &Logged) -> Result<(), Violation> {
    let mut stream = Counts::new();
    let mut batch = changes(cell, &Position::default()).await;
    while !batch.blocks.is_empty() {
        batch.blocks.iter().for_each(|block| add(&mut stream, block));
        batch = changes(cell, &batch.position).await;
    }
    let mut written = stream.clone();
    let tables = cell.store.tables();
    let wallets: Vec<WalletId> = cell.store.chains().into_keys().collect();
    wallets.iter().flat_map(|wallet| tables.chain(*wallet)).for_each(|block| add(&mut written, block));
    if let Some((wallet, number, _)) = written.keys().find(|block| !logged.all.contains_key(*block)) {
        return violated(format!("block {number} of {wallet} was written and is not there"));
    }
    // A block that was purged and copied again was written twice.
    let often = |block| stream.get(block).copied().unwrap_or(0);
    if let Some(((wallet, number, _), times)) = logged.followed.iter().find(|(block, times)| **times > often(*block)) {
        return violated(format!("block {number} of {wallet} is there {times} times"));
    }
    Ok(())
}

/// The owners of the wallets that live in the cell are there, and no others.
async fn check_owners(world: &World, number: usize, archive: &Archive) -> Result<(), Violation> {
    let (cell, archives) = (&world.cells[number], world.archives.as_ref());
    let is_known = |wallet: &WalletId| archives.is_some_and(|archives| !archives.is_owner_in_doubt(number, *wallet));
    for wallet in copies::longest(world)?.into_keys().filter(is_known) {
        let archived = archive.owner(wallet).await;
        let archived = archived.map_err(|error| Violation(format!("the owner of {wallet} cannot be read: {error}")))?;
        let expected = match cell.serves(wallet).await {
            true => cell.store.owner(wallet).await.expect("a handle without faults answers"),
            false => None,
        };
        if archived != expected {
            let (has, must) = (archived.is_some(), expected.is_some());
            return violated(format!("has the owner of {wallet}: {has}; must have it: {must}"));
        }
    }
    Ok(())
}
