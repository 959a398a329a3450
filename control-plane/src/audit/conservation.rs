//! Adds up the books of all cells again and again, if a flag says so, and shows what came of it as
//! metrics. What `ctl audit conservation` says of one moment, alerts say of every one.
//!
//! Where the cells have archives, it follows these: a round reads what was written since the last one. Without them it
//! reads every chain from its beginning, for fleets that this is small for. It must never change anything, nor be waited
//! for.

use std::collections::BTreeMap;
use std::time::Duration;

use archive::Archive;
use control_api::flows::ReadFlows;
use ledger::Timestamp;
use metrics::{counter, gauge};
use mover::wall_clock;
use reconciliation::{Adding, Books, CUT_LAG_MICROS, PAGES_MAX, Running};
use topology::CellId;

use crate::audit::{chains, flows};
use crate::cells::fleet::Fleet;
use crate::error::{Error, Result};

/// An archive that is further behind than this has an alert of its own; until then its blocks are there.
const ARCHIVE_LAG_MICROS: i64 = 90_000_000;
/// Blocks held until they are counted, about so many: more only of chains of which a block is missing.
const WAITING_MAX: usize = 50_000;

/// For ever, so often; never where no time is given. `archive` is the URL below which the cells' archives are.
pub async fn keep_auditing(fleet: &Fleet, archive: Option<String>, every: Option<Duration>) {
    let Some(every) = every else { return };
    gauge!("control_plane_conservation_period_seconds").set(every.as_secs_f64());
    let mut following = archive.map(Following::new);
    loop {
        tokio::time::sleep(every).await;
        let books = match &mut following {
            Some(following) => following.books(fleet).await,
            None => audit(fleet).await,
        };
        match books {
            Ok(books) => publish(&books),
            Err(error) => {
                counter!("control_plane_conservation_audits_total", "outcome" => "failed").increment(1);
                tracing::warn!(%error, "the books were not added up; trying again");
            }
        }
    }
}

/// Books that follow the archives of all cells. Memory: a row for each wallet of the fleet, about 64 bytes.
struct Following {
    url: String,
    /// Each with the number of the last entry that was read.
    archives: BTreeMap<CellId, (Archive, u64)>,
    running: Running,
    /// So many blocks wait before a look is taken at what they wait for.
    most_waiting: usize,
}

impl Following {
    fn new(url: String) -> Self {
        Self { url, archives: BTreeMap::new(), running: Running::default(), most_waiting: WAITING_MAX }
    }

    /// Reads what was archived since the last time, and closes the books at a moment before which all is archived.
    async fn books(&mut self, fleet: &Fleet) -> Result<Books> {
        let until = wall_clock().plus_micros(-ARCHIVE_LAG_MICROS);
        for cell in chains::cells(fleet).await? {
            self.catch_up(&cell, until).await?;
        }
        // What was read counts first: what is missing after that is in no log.
        self.running.count_until(until);
        self.add_packed(until).await?;
        Ok(self.running.close(until))
    }

    async fn catch_up(&mut self, cell: &CellId, until: Timestamp) -> Result<()> {
        let (archive, mut read) = match self.archives.get(cell) {
            Some((archive, read)) => (archive.clone(), *read),
            None => (Archive::open(&self.url, cell.clone())?, 0),
        };
        let newest = archive.newest(read).await?.map_or(read, |newest| newest.number);
        let mut reader = archive.reader(read.saturating_add(1)..=newest);
        while let Some(fetched) = reader.next().await? {
            let fetched = fetched.sound()?;
            let blocks = fetched.segment.into_iter().flat_map(|segment| segment.blocks);
            blocks.for_each(|block| self.running.take(&block));
            read = fetched.number;
            self.archives.insert(cell.clone(), (archive.clone(), read));
            if self.running.waiting() > self.most_waiting {
                self.running.count_until(until);
                self.add_packed(until).await?;
                self.most_waiting = self.running.waiting().saturating_mul(2).max(WAITING_MAX);
            }
        }
        self.archives.insert(cell.clone(), (archive, read));
        Ok(())
    }

    /// What a wallet left out of the log of its new cell, since it was in packs, is in the log of the cell before. If that one
    /// is removed by now, it is taken from the packs.
    async fn add_packed(&mut self, until: Timestamp) -> Result<()> {
        let Some((packs, _)) = self.archives.values().next().cloned() else { return Ok(()) };
        for (wallet, due, next) in self.running.gaps() {
            for pack in packs.packs_between(due, next).into_iter().flatten() {
                let Some(blocks) = packs.pack(wallet, pack).await? else { break };
                blocks.iter().for_each(|block| self.running.take(block));
            }
            if self.running.waiting() > self.most_waiting {
                self.running.count_until(until);
            }
        }
        Ok(())
    }
}

/// The books of a moment shortly before now, read from all chains.
pub async fn audit(fleet: &Fleet) -> Result<Books> {
    let until = wall_clock().plus_micros(-CUT_LAG_MICROS);
    let mut adding = Adding::default();
    for cell in chains::cells(fleet).await? {
        read(fleet, &cell, until.micros(), &mut adding).await?;
    }
    Ok(adding.close(until.to_string()))
}

async fn read(fleet: &Fleet, cell: &CellId, until_micros: i64, adding: &mut Adding) -> Result<()> {
    let mut wanted = ReadFlows { cell: cell.clone(), until_micros, from: None };
    for _ in 0..PAGES_MAX {
        let page = flows::read(fleet, &wanted).await?;
        page.wallets.into_iter().for_each(|flows| adding.take(cell, flows));
        wanted.from = page.next;
        if wanted.from.is_none() {
            return Ok(());
        }
    }
    Err(Error::Unsound(format!("there is no end to the chains of {cell}")))
}

fn publish(books: &Books) {
    counter!("control_plane_conservation_audits_total", "outcome" => "done").increment(1);
    gauge!("control_plane_conservation_difference").set(books.difference as f64);
    gauge!("control_plane_conservation_faults").set(books.faults.len() as f64);
    gauge!("control_plane_conservation_in_flight").set(books.in_flight as f64);
    gauge!("control_plane_conservation_balances").set(books.balances as f64);
    gauge!("control_plane_conservation_completed_timestamp_seconds").set(wall_clock().micros() as f64 / 1e6);
    if books.difference != 0 {
        tracing::error!(difference = %books.difference, until = books.until, "money was made or lost");
    }
}

#[cfg(test)]
mod tests {
    use archive::{Draft, Segment};
    use ledger::{Block, Entry, EntryKind, Money, chain};
    use topology::{UserId, WalletId};
    use uuid::Uuid;

    use super::*;

    const AT: Timestamp = Timestamp::from_micros(1_760_000_000_000_000);

    fn wallet(cell: &CellId, user: &str) -> [Block; 2] {
        let wallet = WalletId::for_user(Uuid::from_u128(7), &UserId::parse(user).expect("sound"));
        let opened = Entry::new(Uuid::now_v7(), EntryKind::Opened, Money::ZERO, Money::ZERO);
        let first = chain::open(wallet, cell.clone(), AT, opened, None);
        let mut state = first.state.clone();
        state.balance = Money::from_minor(50);
        let deposit = Entry::new(Uuid::now_v7(), EntryKind::Deposit, state.balance, state.balance);
        let second = chain::next(&first.head(), state, vec![deposit], AT);
        [first, second]
    }

    #[tokio::test]
    async fn each_round_reads_what_was_archived_since_the_last_one() {
        let directory = std::env::temp_dir().join(format!("wallet-books-{}", Uuid::now_v7()));
        let url = format!("file://{}", directory.display());
        let cell = CellId::parse("cell-1").expect("sound");
        let archive = Archive::open(&url, cell.clone()).expect("a directory");
        let mut following = Following::new(url);
        following.catch_up(&cell, AT).await.expect("nothing is archived yet");
        let mut last: Option<archive::Entry> = None;
        for (number, user) in (1..).zip(["ann", "bob", "cid"]) {
            let segment = Segment { blocks: wallet(&cell, user).into() };
            let draft = Draft { segment, at: AT, position: String::new() };
            last = archive.append(last.as_ref(), &draft).await.expect("it answers");
            following.catch_up(&cell, AT).await.expect("sound");
            let books = following.running.close(AT);
            assert_eq!((books.balances, books.difference), (number * 50, 0));
        }
        std::fs::remove_dir_all(directory).expect("made here");
    }

    #[tokio::test]
    async fn what_only_packs_have_is_counted_too() {
        let directory = std::env::temp_dir().join(format!("wallet-books-{}", Uuid::now_v7()));
        let url = format!("file://{}", directory.display());
        let (before, cell) = (CellId::parse("cell-1").expect("sound"), CellId::parse("cell-2").expect("sound"));
        let archive = Archive::open(&url, cell.clone()).expect("a directory");
        let mut chain: Vec<Block> = wallet(&before, "ann").into();
        while chain.len() < 300 {
            let last = &chain[chain.len() - 1];
            let mut state = last.state.clone();
            state.balance = state.balance.checked_add(Money::from_minor(1)).expect("small");
            let deposit = Entry::new(Uuid::now_v7(), EntryKind::Deposit, Money::from_minor(1), state.balance);
            chain.push(chain::next(&last.head(), state, vec![deposit], AT));
        }
        let first = chain[..256].chunks(128);
        for pack in first {
            archive.put_pack(pack).await.expect("put");
        }
        // The cell that it moved from was removed, with its log.
        drop(chain.drain(1..256));
        let draft = Draft { segment: Segment { blocks: chain }, at: AT, position: String::new() };
        archive.append(None, &draft).await.expect("it answers");
        let mut following = Following::new(url);
        following.catch_up(&cell, AT).await.expect("sound");
        following.running.count_until(AT);
        following.add_packed(AT).await.expect("sound");
        let books = following.running.close(AT);
        assert_eq!((books.balances, books.came_in, books.difference), (348, 348, 0));
        std::fs::remove_dir_all(directory).expect("made here");
    }
}
