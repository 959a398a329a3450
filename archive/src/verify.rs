//! Holds an archive against itself: the log, the segments, and the chains of all wallets. It only reads.
//!
//! What it cannot see by itself is that the newest entries were removed or replaced by others that fit. The hash of an
//! entry that was noted down earlier shows that: a [`Receipt`].

mod owners;

use std::collections::HashSet;

use futures_util::TryStreamExt;
use ledger::block::Hash;
use ledger::{Timestamp, canonical};
use topology::WalletId;

use crate::chains::{Bounds, Chains};
use crate::findings::Findings;
use crate::{Archive, ArchiveError, Entry, Fetched, Finding};

/// Most numbers without an entry that are looked for, so that one wrong name does not make a verification endless.
const HOLES_MAX: u64 = 1_000_000;

/// Number and hash of an entry, noted down when it was the newest one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    pub number: u64,
    pub hash: Hash,
}

/// What is to be verified beside the log and the chains.
#[derive(Debug, Clone, Copy, Default)]
pub struct Verify {
    pub receipt: Option<Receipt>,
    /// The owners of wallets too: whether each key opens what it is for. One more read for each wallet.
    pub owners: bool,
}

/// What an archive holds, and what of it is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    pub entries: u64,
    pub newest: Option<Entry>,
    /// Segments that entries name, and their bytes.
    pub segments: u64,
    pub bytes: u64,
    /// Segments that no entry names: a writer wrote one, and died or was late with the entry. No fault.
    pub unnamed_segments: u64,
    /// With those that are there again.
    pub blocks: u64,
    pub repeated_blocks: u64,
    pub wallets: u64,
    /// Of which a block is missing that the cell has served.
    pub wallets_with_missing_blocks: u64,
    /// Of which a part is there that the cell never served: a copy that was under way or given up, or the rest of a purge.
    pub partial_copies: u64,
    pub owners: u64,
    pub findings: Findings,
}

impl Archive {
    /// Verifies all that is archived by now.
    pub async fn verify(&self, wanted: Verify) -> Result<Report, ArchiveError> {
        self.verify_within(wanted, Bounds::default()).await
    }

    pub(crate) async fn verify_within(&self, wanted: Verify, bounds: Bounds) -> Result<Report, ArchiveError> {
        let mut report = Report::default();
        let last = self.highest(&mut report.findings).await?;
        self.count_segments(&mut report).await?;
        let chains = replay(self, last, Timestamp::MAX, wanted.owners, bounds, &mut report).await?;
        report.wallets = chains.rows.len() as u64;
        let rows = chains.rows.values();
        report.wallets_with_missing_blocks = rows.clone().filter(|row| row.is_missing_blocks()).count() as u64;
        report.partial_copies = rows.filter(|row| row.is_partial_copy()).count() as u64;
        if let Some(receipt) = wanted.receipt {
            let there = if receipt.number <= last { self.entry(receipt.number).await } else { Ok(None) };
            if !there.is_ok_and(|there| there.is_some_and(|there| there.hash == receipt.hash)) {
                let what = format!("it is not the entry {} that was noted down", receipt.hash);
                report.findings.add(Finding::of_entry(receipt.number, what));
            }
        }
        Ok(report)
    }

    /// The highest number of the log, by the names of all objects, so that a hole hides nothing.
    pub(crate) async fn highest(&self, findings: &mut Findings) -> Result<u64, ArchiveError> {
        let (mut highest, mut count) = (0, 0_u64);
        let mut entries = self.list("log");
        while let Some(name) = entries.try_next().await? {
            match name.parse::<u64>().ok().filter(|number| *number > 0 && format!("{number:020}") == name) {
                Some(number) => (highest, count) = (highest.max(number), count + 1),
                None => findings.add(Finding::of_object(format!("log/{name} is not the name of an entry"))),
            }
        }
        if highest - count > HOLES_MAX {
            findings.add(Finding::of_entry(highest, format!("its number is far above that of {count} entries")));
            return Ok(count);
        }
        Ok(highest)
    }

    async fn count_segments(&self, report: &mut Report) -> Result<(), ArchiveError> {
        let mut segments = self.list("segments");
        while let Some(name) = segments.try_next().await? {
            match canonical::from_hex(&name).is_ok_and(|bytes| bytes.len() == 32 && canonical::hex(&bytes) == name) {
                true => report.unnamed_segments += 1,
                false => {
                    report.findings.add(Finding::of_object(format!("segments/{name} is not the name of a segment")))
                }
            }
        }
        Ok(())
    }
}

/// Puts the chains together of the blocks until this time that entries up to `last` hold.
pub(crate) async fn replay(
    archive: &Archive,
    last: u64,
    until: Timestamp,
    with_owners: bool,
    bounds: Bounds,
    report: &mut Report,
) -> Result<Chains, ArchiveError> {
    let mut chains = Chains::new(archive.cell().clone(), bounds);
    let mut owners = owners::Owners::default();
    let mut asked = HashSet::new();
    let mut is_first = true;
    loop {
        let mut reader = archive.reader_until(1..=last, until);
        while let Some(fetched) = reader.next().await? {
            if is_first {
                count(report, &fetched);
                if with_owners {
                    owners.check(archive, &fetched, &mut report.findings).await?;
                }
            }
            let blocks = fetched.segment.into_iter().flat_map(|segment| segment.blocks);
            for block in blocks.filter(|block| block.at <= until) {
                let Some(gap) = chains.take(fetched.number, block, &mut report.findings) else { continue };
                let packs = archive.packs_between(gap.due, gap.next).filter(|_| asked.insert((gap.wallet, gap.due)));
                for pack in packs.into_iter().flatten() {
                    let findings = &mut report.findings;
                    if !pass_over(archive, (fetched.number, gap.wallet, pack), &mut chains, findings).await? {
                        break;
                    }
                }
            }
        }
        is_first = false;
        if !chains.end_pass() {
            break;
        }
    }
    report.unnamed_segments = report.unnamed_segments.saturating_sub(report.entries);
    report.blocks = chains.blocks;
    report.repeated_blocks = chains.repeated;
    if with_owners {
        report.owners = owners.end(&chains, &mut report.findings);
    }
    let mut missing: Vec<_> = chains.rows.iter().filter(|(_, row)| row.is_missing_blocks()).collect();
    missing.sort_unstable_by_key(|(wallet, _)| **wallet);
    for (wallet, row) in missing {
        let what = format!("it is missing, and block {} is there", row.highest());
        report.findings.add(Finding::of_wallet(*wallet, Some(row.due()), what));
    }
    Ok(chains)
}

/// Goes on with a chain over the blocks of a pack, which were left out of the log; whether there is this pack.
async fn pass_over(
    archive: &Archive,
    (entry, wallet, pack): (u64, WalletId, u64),
    chains: &mut Chains,
    findings: &mut Findings,
) -> Result<bool, ArchiveError> {
    match archive.pack(wallet, pack).await {
        Ok(blocks) => {
            let is_there = blocks.is_some();
            blocks.into_iter().flatten().for_each(|block| chains.take_packed(entry, block, findings));
            Ok(is_there)
        }
        Err(ArchiveError::Unsound(what)) => {
            findings.add(Finding::of_wallet(wallet, None, what));
            Ok(false)
        }
        Err(error @ ArchiveError::Unavailable(_)) => Err(error),
    }
}

fn count(report: &mut Report, fetched: &Fetched) {
    for fault in &fetched.faults {
        report.findings.add(Finding::of_entry(fetched.number, fault));
    }
    if let Some(entry) = &fetched.entry {
        report.entries += 1;
        report.newest = Some(entry.clone());
    }
    if fetched.segment.is_some() {
        report.segments += 1;
        report.bytes += fetched.entry.as_ref().map_or(0, |entry| entry.bytes);
    }
}
