//! The control plane as a witness: it keeps every checkpoint that a cell has published, in tables that the cell's own
//! operators need not have. A cell that later shows another past is found out.
//!
//! It must never sign anything, nor forget what it was shown.

use std::path::PathBuf;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use control_api::now_rfc3339;
use ledger::checkpoint::{Checkpoint, PublicKey, SIGNATURE_BYTES, Signed};
use ledger::{Hash, merkle};
use store::log::{Log, Witnessed};
use store::{Store, StoreError};
use topology::{CellId, CellState, Finding};

use crate::cells::fleet::Fleet;
use crate::dynamo::{Item, TableShape, n, number, s, text};
use crate::error::{Error, Result};

/// Checkpoints taken in of one cell before the next one has its turn.
const TAKEN_MAX: usize = 256;
/// Violations in one answer.
const LISTED_MAX: i32 = 500;
const VIOLATIONS: &str = "violations#";
const LOST: &str = "lost#";

pub struct Witness {
    client: Client,
    table: String,
    keys: Option<PathBuf>,
    every: Duration,
}

/// The table this module keeps: checkpoints under the cell's name and their number, violations and
/// the logs of tables that were lost under others.
pub fn table(prefix: &str) -> TableShape {
    TableShape { name: format!("{prefix}checkpoints"), partition: "cell", sort: Some("n") }
}

impl Witness {
    pub fn new(client: Client, prefix: &str, keys: Option<PathBuf>, every: Duration) -> Self {
        Self { client, table: table(prefix).name, keys, every }
    }

    /// The keys of a cell; none, where none are given.
    pub fn keys(&self, cell: &CellId) -> Result<Vec<PublicKey>> {
        let Some(folder) = &self.keys else { return Ok(Vec::new()) };
        let path = folder.join(format!("{cell}.pub"));
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                PublicKey::all_from_pem(&text).map_err(|error| Error::Unsound(format!("{}: {error}", path.display())))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(Error::Unsound(format!("{}: {error}", path.display()))),
        }
    }

    /// The newest checkpoint kept of a cell.
    pub async fn newest(&self, cell: &CellId) -> Result<Option<Signed>> {
        self.page(cell.as_str(), None, true, 1).await?.first().map(signed).transpose()
    }

    /// All checkpoints kept of a cell, or the newest `limit`.
    pub async fn kept(&self, cell: &CellId) -> Result<Witnessed> {
        let (mut kept, mut after) = (Witnessed::new(), None);
        loop {
            let page = self.page(cell.as_str(), after, false, LISTED_MAX).await?;
            if page.is_empty() {
                return Ok(kept);
            }
            for item in &page {
                let signed = signed(item)?;
                after = Some(signed.checkpoint.number);
                kept.insert(signed.checkpoint.number, signed);
            }
        }
    }

    /// Newest first.
    pub async fn list(&self, cell: &CellId, limit: i32) -> Result<Vec<Signed>> {
        self.page(cell.as_str(), None, true, limit).await?.iter().map(signed).collect()
    }

    async fn page(&self, key: &str, after: Option<u64>, newest_first: bool, limit: i32) -> Result<Vec<Item>> {
        let query = self.client.query().table_name(&self.table).consistent_read(true);
        let query = query.key_condition_expression("cell = :cell AND n > :after");
        let query = query
            .expression_attribute_values(":cell", s(key))
            .expression_attribute_values(":after", n(after.unwrap_or(0)))
            .scan_index_forward(!newest_first)
            .limit(limit);
        let answer = query.send().await.map_err(Error::storage("reading witnessed checkpoints"))?;
        Ok(answer.items.unwrap_or_default())
    }

    /// Keeps a checkpoint; `false`: another of its number is kept already.
    async fn keep(&self, signed: &Signed) -> Result<bool> {
        let checkpoint = &signed.checkpoint;
        let blob = |bytes: Vec<u8>| AttributeValue::B(Blob::new(bytes));
        let put = self.client.put_item().table_name(&self.table).condition_expression("attribute_not_exists(cell)");
        let put = put
            .item("cell", s(checkpoint.cell.as_str()))
            .item("n", n(checkpoint.number))
            .item("b", blob(checkpoint.to_bytes()))
            .item("g", blob(signed.signature.to_vec()))
            .item("seen", s(now_rfc3339()));
        match put.send().await.map_err(Error::storage("keeping a checkpoint")) {
            Ok(_) => Ok(true),
            Err(error) if error.is_condition_failed() => {
                let before = self.page(checkpoint.cell.as_str(), checkpoint.number.checked_sub(1), false, 1).await?;
                Ok(before.first().map(self::signed).transpose()?.is_some_and(|kept| kept.checkpoint == *checkpoint))
            }
            Err(error) => Err(error),
        }
    }

    /// Records that a cell has shown something that cannot be; once for each checkpoint.
    async fn violated(&self, cell: &CellId, number: u64, what: &str) -> Result<()> {
        let put = self.client.put_item().table_name(&self.table).condition_expression("attribute_not_exists(cell)");
        let put = put
            .item("cell", s(format!("{VIOLATIONS}{cell}")))
            .item("n", n(number))
            .item("what", s(what))
            .item("seen", s(now_rfc3339()));
        match put.send().await.map_err(Error::storage("recording a violation")) {
            Ok(_) => {
                metrics::counter!("control_plane_checkpoint_violations_total", "cell" => cell.to_string()).increment(1);
                tracing::error!(%cell, number, what, "a cell's checkpoints are not what was witnessed");
                Ok(())
            }
            Err(error) if error.is_condition_failed() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// What was found wrong with a cell's checkpoints.
    pub async fn violations(&self, cell: &CellId) -> Result<Vec<Finding>> {
        let items = self.page(&format!("{VIOLATIONS}{cell}"), None, false, LISTED_MAX).await?;
        let finding = |item: &Item| {
            let seen = text(item, "seen")?;
            Ok(Finding {
                cell: cell.clone(),
                wallet: None,
                place: format!("checkpoint {}", number(item, "n")?),
                block: None,
                what: text(item, "what")?,
                first_seen: seen.clone(),
                last_seen: seen,
                times: 1,
                response: "reported by the witness".into(),
            })
        };
        items.iter().map(finding).collect()
    }

    /// From now on the cell may begin a new log: its tables were lost, and it was restored at that time. What it had shown
    /// is kept under another name. May be done again where it was interrupted.
    pub async fn begin_anew(&self, cell: &CellId, restored_at: &str) -> Result<()> {
        let mut kept = self.kept(cell).await?;
        // The newest first: what is left is always the beginning of a log.
        while let Some((number, signed)) = kept.pop_last() {
            let archive = format!("{LOST}{cell}#{restored_at}");
            let blob = |bytes: Vec<u8>| AttributeValue::B(Blob::new(bytes));
            let put = self.client.put_item().table_name(&self.table);
            let put = put
                .item("cell", s(archive))
                .item("n", n(number))
                .item("b", blob(signed.checkpoint.to_bytes()))
                .item("g", blob(signed.signature.to_vec()))
                .item("seen", s(now_rfc3339()));
            put.send().await.map_err(Error::storage("keeping a checkpoint of a lost log"))?;
            let delete = self.client.delete_item().table_name(&self.table);
            let delete = delete.key("cell", s(cell.as_str())).key("n", n(number));
            delete.send().await.map_err(Error::storage("putting a lost log aside"))?;
        }
        Ok(())
    }

    /// Takes in what a cell has published since the last look.
    pub async fn look<S: Store>(&self, log: &Log<S>) -> Result<()> {
        let cell = log.cell();
        let keys = self.keys(cell)?;
        if keys.is_empty() {
            return Ok(());
        }
        // None yet, as far as this process has seen.
        metrics::counter!("control_plane_checkpoint_violations_total", "cell" => cell.to_string()).increment(0);
        let mut last = self.newest(cell).await?.map(|signed| signed.checkpoint);
        if let Some(last) = &last {
            // What was shown once must still be there.
            let shown = match log.entry(last.number).await {
                Ok(entry) => entry.is_some_and(|entry| entry.signed.checkpoint == *last),
                Err(StoreError::Corrupt(_)) => false,
                Err(error) => return Err(error.into()),
            };
            if !shown {
                return self.violated(cell, last.number, "it is gone, or another than the one that was shown").await;
            }
        }
        for _ in 0..TAKEN_MAX {
            let number = last.as_ref().map_or(0, |last| last.number) + 1;
            let entry = match log.entry(number).await {
                Ok(Some(entry)) => entry,
                Ok(None) => return Ok(()),
                Err(StoreError::Corrupt(what)) => return self.violated(cell, number, &what).await,
                Err(error) => return Err(error.into()),
            };
            if let Some(what) = fault(log, &keys, last.as_ref(), &entry).await? {
                return self.violated(cell, number, &what).await;
            }
            if !self.keep(&entry.signed).await? {
                return self.violated(cell, number, "another checkpoint of this number was shown").await;
            }
            metrics::gauge!("control_plane_witnessed_checkpoint", "cell" => cell.to_string()).set(number as f64);
            last = Some(entry.signed.checkpoint);
        }
        Ok(())
    }
}

/// What is wrong with a checkpoint, seen from the one before it. The proof that the tree has only grown is checked
/// before the last tile of the newest one needs to be there: it is made of older ones and of the checkpoint's own edge.
async fn fault<S: Store>(
    log: &Log<S>,
    keys: &[PublicKey],
    last: Option<&Checkpoint>,
    entry: &store::log::Entry,
) -> Result<Option<String>> {
    let checkpoint = &entry.signed.checkpoint;
    if !keys.iter().any(|key| key.verifies(&entry.signed)) {
        return Ok(Some("no key of this cell has signed it".into()));
    }
    if checkpoint.previous != last.map_or(Hash::ZERO, Checkpoint::hash) {
        return Ok(Some("it does not name the checkpoint before it".into()));
    }
    let Some(last) = last else { return Ok(None) };
    let proof = match log.consistency_once_finished(last.size, entry).await {
        Ok(Some(proof)) => proof,
        // Its tiles are still being written.
        Ok(None) => return Err(Error::Unsound(format!("checkpoint {} is not finished yet", checkpoint.number))),
        Err(StoreError::Corrupt(what)) => return Ok(Some(what)),
        Err(error) => return Err(error.into()),
    };
    let grown = merkle::is_consistent((last.size, last.root), entry.tree(), &proof);
    Ok((!grown).then(|| "its tree does not begin with that of the checkpoint before it".into()))
}

fn signed(item: &Item) -> Result<Signed> {
    let unsound = || Error::Unsound("a witnessed checkpoint".into());
    let bytes = |name| item.get(name).and_then(|value| value.as_b().ok()).map(Blob::as_ref).ok_or_else(unsound);
    let checkpoint = Checkpoint::from_bytes(bytes("b")?).ok_or_else(unsound)?;
    let signature: [u8; SIGNATURE_BYTES] = bytes("g")?.try_into().map_err(|_| unsound())?;
    Ok(Signed { checkpoint, signature })
}

/// Looks at every cell again and again, for ever. A cell without its tables is looked at later.
pub async fn keep_watching(fleet: &Fleet, witness: &Witness) {
    loop {
        tokio::time::sleep(witness.every).await;
        if let Err(error) = look_at_all(fleet, witness).await {
            tracing::warn!(%error, "checkpoints not witnessed; trying again");
        }
    }
}

async fn look_at_all(fleet: &Fleet, witness: &Witness) -> Result<()> {
    let Some(known) = fleet.placements.known() else { return Ok(()) };
    for cell in known.placement.cells().iter().filter(|cell| cell.state != CellState::Removed) {
        let side = fleet.side(&cell.id).await?;
        if let Err(error) = witness.look(&Log::new(side.store, cell.id.clone())).await {
            tracing::warn!(cell = %cell.id, %error, "checkpoints of a cell not witnessed; trying again");
        }
    }
    Ok(())
}
