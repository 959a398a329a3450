//! Archiving while the job is this instance's, step by step: finds where the log ends, reads what follows, and appends it.

use std::future::Future;
use std::time::Duration;

use archive::{ArchiveError, Draft, Entry, MAX_SEGMENT_BLOCKS, MAX_SEGMENT_BYTES, Segment};
use ledger::{Block, canonical};
use metrics::{counter, gauge};
use store::place::{Place, Walk};
use store::{MAX_BATCH_BLOCKS, MAX_BATCH_BYTES, Store, retry};
use tokio::time::{Instant, timeout};
use tracing::{error, info, warn};

use super::inspecting::Inspecting;
use super::known::Known;
use super::walking::Walking;
use super::{Archiver, Failed, Stopped, owners};

/// How often the stream is read once all of it was.
const READ_EVERY: Duration = Duration::from_millis(250);
/// How long a block waits for others that go into the same segment.
const SEAL_AFTER: Duration = Duration::from_millis(500);
/// How long one call of the archive may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between a step that failed and the next attempt: first, doubling, at most.
const FIRST_REST: Duration = Duration::from_millis(250);
const LONGEST_REST: Duration = Duration::from_secs(10);
const LOST_REST: Duration = Duration::from_secs(1);
/// For how long after a walk the stream may repeat what was walked: it can be a moment behind.
const REMEMBERED: Duration = Duration::from_secs(60);

const _: () = assert!(MAX_BATCH_BLOCKS < MAX_SEGMENT_BLOCKS && MAX_BATCH_BYTES < MAX_SEGMENT_BYTES);

enum Stage {
    /// Nothing is known yet.
    Start,
    /// The log is read for what is archived, before a walk; this entry is next.
    Learn(u64),
    Walk,
    Follow,
}

pub struct Tenure<'a, S> {
    pub(super) archiver: &'a Archiver<S>,
    stage: Stage,
    /// The newest entry of the log.
    newest: Option<Entry>,
    /// After all blocks that were read.
    pub(super) place: Place,
    /// What was read and is not archived: less than a segment.
    blocks: Vec<Block>,
    bytes: usize,
    /// What is being appended. It stays the same until it is: an attempt that failed may have written it.
    pending: Option<Draft>,
    /// What is archived, from before a walk until a while after it.
    pub(super) known: Option<Known>,
    walked: Option<Instant>,
    pub(super) walking: Walking,
    inspecting: Inspecting,
    /// Since when the stream was not read, or a block that was read waits.
    unread_since: Option<Instant>,
    oldest_since: Option<Instant>,
    behind: Duration,
    /// Nothing is tried before this.
    rests_until: Instant,
    rest: Duration,
    hurries: bool,
}

impl<'a, S: Store> Tenure<'a, S> {
    pub fn new(archiver: &'a Archiver<S>) -> Self {
        let now = Instant::now();
        Self {
            archiver,
            stage: Stage::Start,
            newest: None,
            place: Place::before_walk(Default::default()),
            blocks: Vec::new(),
            bytes: 0,
            pending: None,
            known: None,
            walked: None,
            walking: Walking::default(),
            inspecting: Inspecting::new(archiver.doubtful.clone()),
            unread_since: Some(now),
            oldest_since: None,
            behind: Duration::ZERO,
            rests_until: now,
            rest: FIRST_REST,
            hurries: false,
        }
    }

    /// How far the archive is behind: how long a block has waited here or the stream was not read, or else the age of the
    /// newest block that was read while there is more.
    pub fn lag(&self) -> Duration {
        let waited = [self.unread_since, self.oldest_since].into_iter().flatten().map(|since| since.elapsed()).max();
        waited.unwrap_or_default().max(self.behind)
    }

    /// Does what comes next; how soon there is more to do.
    pub async fn step(&mut self) -> Result<Duration, Stopped> {
        let rest = self.rests_until.saturating_duration_since(Instant::now());
        if !rest.is_zero() {
            return Ok(rest);
        }
        match self.next().await {
            Ok(soon) => {
                self.rest = FIRST_REST;
                return Ok(soon);
            }
            Err(Failed::Outpaced) => return Err(Stopped::Lost),
            Err(Failed::Fenced { epoch, at }) => return Err(Stopped::Fenced { epoch, at }),
            Err(Failed::Archive(error)) => failed(&error),
            Err(Failed::Store(error)) => warn!(%error, "the archiver could not read; it tries again"),
        }
        self.unread_since.get_or_insert_with(Instant::now);
        self.rests_until = Instant::now() + self.rest;
        let rest = self.rest;
        self.rest = rest.saturating_mul(2).min(LONGEST_REST);
        Ok(rest)
    }

    async fn next(&mut self) -> Result<Duration, Failed> {
        if self.pending.is_some() || self.is_due() {
            return self.append().await;
        }
        match self.stage {
            Stage::Start => self.start().await,
            Stage::Learn(number) => self.learn(number).await,
            Stage::Walk => self.walk().await,
            Stage::Follow => self.follow().await,
        }
    }

    async fn start(&mut self) -> Result<Duration, Failed> {
        self.newest = patiently(self.archiver.archive.newest(0)).await?;
        if let Some(later) = self.newest.as_ref().filter(|newest| newest.epoch > self.archiver.epoch) {
            return Err(Failed::Fenced { epoch: later.epoch, at: later.at });
        }
        let place = self.newest.as_ref().map(|entry| (entry.number, Place::parse(&entry.position)));
        match place {
            Some((number, Some(place))) => {
                gauge!("cell_archive_entry").set(number as f64);
                self.stage = if place.walk == Walk::Done { Stage::Follow } else { Stage::Learn(1) };
                self.place = place;
            }
            Some((number, None)) => {
                warn!(number, "the position in the newest entry cannot be read; all wallets are walked");
                self.begin_again().await?;
            }
            None => self.begin_again().await?,
        }
        self.known = matches!(self.stage, Stage::Learn(_)).then(Known::default);
        let number = self.newest.as_ref().map_or(0, |entry| entry.number);
        info!(number, walk = ?self.place.walk, "this instance archives");
        Ok(Duration::ZERO)
    }

    /// Follows the stream from now on, and walks all wallets for what came before. What waits here is found again.
    async fn begin_again(&mut self) -> Result<(), Failed> {
        let mut random = self.archiver.clock.random();
        let stream = retry::read(|| random.f64(), || self.archiver.store.newest_position()).await?;
        self.place = Place::before_walk(stream);
        self.blocks.clear();
        (self.bytes, self.oldest_since, self.behind) = (0, None, Duration::ZERO);
        self.unread_since.get_or_insert_with(Instant::now);
        (self.stage, self.known, self.walked) = (Stage::Learn(1), Some(Known::default()), None);
        Ok(())
    }

    /// Reads an entry of the log for what is archived. One that is not sound holds nothing: its blocks are archived again.
    async fn learn(&mut self, number: u64) -> Result<Duration, Failed> {
        if self.newest.as_ref().is_none_or(|newest| newest.number < number) {
            (self.stage, self.walking) = (Stage::Walk, Walking::default());
            return Ok(Duration::ZERO);
        }
        match self.blocks_of(number).await {
            Ok(blocks) => {
                let known = self.known.get_or_insert_default();
                for block in &blocks {
                    known.take(block);
                }
            }
            Err(ArchiveError::Unsound(what)) => {
                error!(number, what, "an entry of the archive is not sound; its blocks are archived again");
            }
            Err(error) => return Err(error.into()),
        }
        self.stage = Stage::Learn(number.saturating_add(1));
        Ok(Duration::ZERO)
    }

    async fn blocks_of(&self, number: u64) -> Result<Vec<Block>, ArchiveError> {
        let archive = &self.archiver.archive;
        let missing = || ArchiveError::Unsound(format!("entry {number} is missing"));
        let entry = patiently(archive.entry(number)).await?.ok_or_else(missing)?;
        Ok(patiently(archive.segment(&entry)).await?.blocks)
    }

    async fn walk(&mut self) -> Result<Duration, Failed> {
        let soon = self.walk_on().await?;
        if self.place.walk == Walk::Done {
            info!("all wallets were walked");
            (self.stage, self.walked) = (Stage::Follow, Some(Instant::now()));
        }
        Ok(soon)
    }

    async fn follow(&mut self) -> Result<Duration, Failed> {
        let mut random = self.archiver.clock.random();
        let batch = retry::read(|| random.f64(), || self.archiver.store.changes(&self.place.stream)).await?;
        if batch.lost {
            warn!("the change stream does not keep what comes next any more; all wallets are walked");
            self.begin_again().await?;
            // Not at once: what is lost again and again is asked for no more often than this.
            return Ok(LOST_REST);
        }
        for unsound in &batch.unsound {
            let (record, what) = (&unsound.record, &unsound.what);
            error!(record, what, "a record of the change stream is no sound block, and is not archived");
        }
        self.inspecting.see(&batch);
        let newest = batch.blocks.iter().map(|block| block.at).max();
        let age = newest.map(|newest| self.archiver.clock.now().micros().saturating_sub(newest.micros()));
        self.behind = match age {
            Some(micros) if batch.is_behind => Duration::from_micros(u64::try_from(micros).unwrap_or(0)),
            None if batch.is_behind => self.behind,
            _ => Duration::ZERO,
        };
        batch.blocks.into_iter().for_each(|block| self.take(block));
        (self.place.stream, self.unread_since) = (batch.position, None);
        if batch.is_behind {
            return Ok(Duration::ZERO);
        }
        if self.walked.is_some_and(|walked| walked.elapsed() >= REMEMBERED) {
            (self.known, self.walked) = (None, None);
        }
        Ok(READ_EVERY.min(self.until_due()))
    }

    /// A block that was read; archived, unless it is.
    pub(super) fn take(&mut self, block: Block) {
        if self.known.as_mut().is_some_and(|known| !known.take(&block)) {
            return;
        }
        self.oldest_since.get_or_insert_with(Instant::now);
        self.bytes = self.bytes.saturating_add(canonical::size(&block));
        self.blocks.push(block);
    }

    /// Whether there is room for what is read at once.
    pub(super) fn has_room(&self) -> bool {
        self.blocks.len() <= MAX_SEGMENT_BLOCKS - MAX_BATCH_BLOCKS && self.bytes <= MAX_SEGMENT_BYTES - MAX_BATCH_BYTES
    }

    /// Blocks that wait here.
    pub fn waiting(&self) -> usize {
        self.blocks.len() + self.pending.as_ref().map_or(0, |draft| draft.segment.blocks.len())
    }

    fn until_due(&self) -> Duration {
        let seal_after = if self.hurries { Duration::ZERO } else { SEAL_AFTER };
        self.oldest_since.map_or(Duration::MAX, |since| seal_after.saturating_sub(since.elapsed()))
    }

    /// From now on, no block waits for others.
    pub fn hurry(&mut self) {
        self.hurries = true;
    }

    fn is_due(&self) -> bool {
        !self.blocks.is_empty() && (self.until_due().is_zero() || !self.has_room())
    }

    /// Seals what was read, unless that was done, and appends it to the log.
    async fn append(&mut self) -> Result<Duration, Failed> {
        let Archiver { store, archive, clock, .. } = self.archiver;
        let blocks = &mut self.blocks;
        let draft = self.pending.get_or_insert_with(|| Draft {
            segment: Segment { blocks: std::mem::take(blocks) },
            at: clock.now(),
            position: self.place.to_text(),
        });
        owners::settle(store, archive, &draft.segment.blocks).await?;
        let entry = patiently(archive.append(self.newest.as_ref(), draft)).await?.ok_or(Failed::Outpaced)?;
        counter!("cell_archive_blocks_total").increment(entry.blocks);
        gauge!("cell_archive_entry").set(entry.number as f64);
        (self.newest, self.pending, self.bytes, self.oldest_since) = (Some(entry), None, 0, None);
        Ok(Duration::ZERO)
    }
}

/// Something that is asked of the archive, for no longer than [`PATIENCE`].
pub(super) async fn patiently<T>(asked: impl Future<Output = Result<T, ArchiveError>>) -> Result<T, ArchiveError> {
    let late = |_| ArchiveError::Unavailable(format!("it did not answer within {} s", PATIENCE.as_secs()));
    timeout(PATIENCE, asked).await.map_err(late)?
}

fn failed(error: &ArchiveError) {
    counter!("cell_archive_failures_total").increment(1);
    match error {
        ArchiveError::Unavailable(_) => warn!(%error, "nothing is archived; it is tried again"),
        ArchiveError::Unsound(_) => error!(%error, "nothing is archived; it is tried again"),
    }
}
