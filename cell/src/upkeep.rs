//! What the cell does by itself: its flags, and the start of its jobs.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use archive::Archive;
use cell::archiver::{self, Archiver};
use cell::checkpoints::Checkpoints;
use cell::feed::{self, Feed};
use cell::hot::Hot;
use cell::instance::Instance;
use cell::integrity::{self, Integrity};
use cell::peers::RouterPeers;
use clap::Args;
use ledger::checkpoint::{PublicKey, SigningKey};
use store::dynamodb::DynamoStore;
use tokio::sync::{mpsc, watch};
use topology::CellId;

use super::clock_beside;

/// What the cell does by itself.
#[derive(Args)]
pub struct UpkeepArgs {
    /// Seconds from the end of one verification of all wallets to the next; 0: never
    #[arg(long, env = "CELL_INTEGRITY_SECONDS", default_value_t = 3_600)]
    integrity_seconds: u64,
    /// Blocks and rows that a verification reads in a second, at most
    #[arg(long, env = "CELL_INTEGRITY_ITEMS_PER_SECOND", default_value_t = 1_000)]
    integrity_items_per_second: u64,
    /// PEM file of PKCS#8 with the Ed25519 key that this cell signs its checkpoints with, by what --archive says has
    /// changed; without it, it signs none.
    /// Public keys that it had before are in the file of the same name that ends in `.pub`
    #[arg(long, env = "CELL_CHECKPOINT_KEY")]
    checkpoint_key: Option<PathBuf>,
    /// URL of the archive, which has a folder for each cell: s3://bucket or file:///directory; without it, nothing is
    /// archived, there are no events, and no checkpoints are signed
    #[arg(long, env = "CELL_ARCHIVE")]
    archive: Option<String>,
    /// Whether this instance may be the one that follows the cell's change stream, and the one that archives it
    #[arg(long, env = "CELL_FEED", default_value_t = true, action = clap::ArgAction::Set)]
    feed: bool,
    /// Seconds between two checkpoints
    #[arg(long, env = "CELL_CHECKPOINT_SECONDS", default_value_t = 60)]
    checkpoint_seconds: u64,
}

impl UpkeepArgs {
    pub fn records(&self, cell: &CellId, epoch: u64) -> Result<Records> {
        ensure!(self.checkpoint_key.is_none() || self.archive.is_some(), "--checkpoint-key needs --archive");
        let open = |url: &str| Archive::open(url, cell.clone()).context("--archive");
        Ok(Records {
            key: self.checkpoint_key.as_deref().map(read_key).transpose()?,
            archive: self.archive.as_deref().map(open).transpose()?,
            epoch,
            hot: Hot::default(),
        })
    }
}

/// Where the cell records what it has written, and the key that it signs its checkpoints with; neither has to be.
pub struct Records {
    pub key: Option<SigningKey>,
    pub archive: Option<Archive>,
    /// How often the cell had changed its Region.
    pub epoch: u64,
    /// Which wallets are written to most.
    pub hot: Hot,
}

/// The jobs of this instance; each is done by one instance of the cell at a time.
pub fn start(
    cell: &CellId,
    store: &DynamoStore,
    instance: &mut Instance<DynamoStore, RouterPeers>,
    owner: String,
    args: &UpkeepArgs,
    Records { key, archive, epoch, hot }: Records,
    stop: &watch::Receiver<bool>,
) {
    if args.feed {
        start_feed(cell, store, instance, owner.clone(), hot, stop);
    }
    let (doubtful, named) = mpsc::channel(archiver::QUEUE);
    if let Some(archive) = archive.clone().filter(|_| args.feed) {
        let (store, clock, owner) = (store.clone(), clock_beside(store), owner.clone());
        let archiver = Archiver { store, archive, clock, epoch, owner, doubtful };
        instance.tasks.spawn(archiver.run(stop.clone()));
    }
    if args.integrity_seconds > 0 {
        let integrity = Integrity {
            cell: cell.clone(),
            store: store.clone(),
            wallets: instance.wallets.clone(),
            clock: clock_beside(store),
            owner: owner.clone(),
            settings: integrity::Settings {
                every: Duration::from_secs(args.integrity_seconds),
                items_per_second: args.integrity_items_per_second.max(1),
            },
            keys: key.as_ref().map(SigningKey::known).unwrap_or_default(),
        };
        let (stop, stop_too) = (stop.clone(), stop.clone());
        instance.tasks.spawn(async move {
            tokio::join!(integrity.run(stop), integrity.inspect(named, stop_too));
        });
    }
    if let Some((key, archive)) = key.zip(archive) {
        let every = Duration::from_secs(args.checkpoint_seconds.max(1));
        let checkpoints = Checkpoints::new(store.clone(), archive, clock_beside(store), owner, every, key);
        instance.tasks.spawn(checkpoints.run(stop.clone()));
    }
}

fn start_feed(
    cell: &CellId,
    store: &DynamoStore,
    instance: &mut Instance<DynamoStore, RouterPeers>,
    owner: String,
    hot: Hot,
    stop: &watch::Receiver<bool>,
) {
    let (found, mut wallets) = mpsc::channel(feed::MAILBOX);
    let feed = Feed { cell: cell.clone(), store: store.clone(), clock: clock_beside(store), owner, hot, found };
    instance.tasks.spawn(feed.run(stop.clone()));
    let carrier = instance.wallets.clone();
    instance.tasks.spawn(async move {
        while let Some((wallet, number)) = wallets.recv().await {
            carrier.carry_on(wallet, number).await;
        }
    });
}

fn read_key(path: &std::path::Path) -> Result<SigningKey> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let key = SigningKey::from_pem(&text).with_context(|| format!("{} (--checkpoint-key)", path.display()))?;
    let beside = path.with_extension("pub");
    match std::fs::read_to_string(&beside) {
        Ok(text) => {
            let earlier =
                PublicKey::all_from_pem(&text).with_context(|| format!("{} holds no key", beside.display()))?;
            Ok(key.after(earlier))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(key),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", beside.display())),
    }
}
