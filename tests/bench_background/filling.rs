//! Tables of a cell with many wallets, as a program writes them that has no time to open each: block 0, the owner, the
//! row of the list of members; and where it is asked for, all of it in the archive and in the log of checkpoints.
//!
//! It writes rows past the store, so it reads some of them through the store afterwards.

use std::time::Instant;

use archive::{Archive, Draft, Segment};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use ledger::checkpoint::Leaf;
use ledger::personal::{Personal, PersonalPart};
use ledger::{Block, Entry, EntryKind, Money, WalletKey, canonical, chain};
use local_dynamodb::engine::Engine;
use serde_json::{Value, json};
use store::log::{self, Log, MAX_LEAVES};
use store::memory::MemoryStore;
use store::{CellRow, CellRows, Chains, Homes, Owners};
use topology::{Bucket, UserId, WalletId};
use uuid::Uuid;

use super::site::{Duty, PREFIX, Site};
use crate::fleet::open_transfers::now;
use crate::fleet::{Call, NAMESPACE, until};

/// Wallets that are written at once.
const AT_ONCE: usize = 20_000;
/// Blocks of a segment: below its bounds, of blocks and of bytes.
const SEGMENT_BLOCKS: usize = 8_000;
/// From the first wallet to an entry of the archive that says so.
const FIRST_S: u64 = 30;
/// Wallets that are read afterwards.
const SAMPLED: usize = 50;
/// The keys of a cell's rows in its table, as `docs/checkpoints.md` has them.
const LISTS: [&str; 3] = [log::CHECKPOINTS, "leaves", "tiles"];
const LIST_PAGE: usize = 1_000;

/// What is done about wallets that are in the tables.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Caught {
    /// They are in no archive and no log: the cell has that to do.
    Nothing,
    Up,
}

/// A cell without a process, with so many wallets, in the order of their ids.
pub async fn filled(count: usize, caught: Caught) -> (Site, Vec<WalletId>) {
    let began = Instant::now();
    let mut site = Site::new().await;
    let position = if caught == Caught::Up { first_position(&site).await } else { String::new() };
    let mut users: Vec<(WalletId, UserId)> = (0..count).map(user).collect();
    users.sort_unstable_by_key(|(wallet, _)| *wallet);
    site.beside(|engine| import(engine, &users)).await;
    let wallets: Vec<WalletId> = users.iter().map(|(wallet, _)| *wallet).collect();
    eprintln!("{count} wallets are in the tables after {:.0?}", began.elapsed());
    if caught == Caught::Up {
        archived(&site.archive(), &users, &position).await;
        committed(&mut site, &users).await;
        eprintln!("and in the archive and the log of checkpoints after {:.0?}", began.elapsed());
    }
    check(&site, &users, caught).await;
    (site, wallets)
}

fn user(number: usize) -> (WalletId, UserId) {
    let user = UserId::parse(format!("filled-{number}")).expect("sound");
    (WalletId::for_user(NAMESPACE, &user), user)
}

/// The archive's position once there is nothing to walk: what is written past the stream does not change it.
async fn first_position(site: &Site) -> String {
    let instance = site.start(Duty::Archive).await;
    let client = instance.client();
    let wallet = client.create("first").await;
    let archive = site.archive();
    let mut position = String::new();
    until(FIRST_S, "the archive is caught up", async || {
        client.insist(&Call::deposit(wallet, "1").key(Uuid::new_v4().to_string())).await.expect(200);
        let newest = archive.newest(0).await.expect("it answers");
        position = newest.map(|entry| entry.position).unwrap_or_default();
        position.contains(r#""walk":"Done""#)
    })
    .await;
    let written = site.store().await.head(wallet).await.expect("it answers").expect("a wallet").number;
    until(FIRST_S, "all is archived", async || {
        let newest = archive.newest(0).await.expect("it answers").expect("archived");
        position.clone_from(&newest.position);
        archive.segment(&newest).await.expect("sound").blocks.iter().any(|block| block.number == written)
    })
    .await;
    position
}

/// The same one each time.
fn block(wallet: WalletId, user: &UserId) -> Block {
    let part = PersonalPart { user: Some(user.clone()), entries: vec![Personal::default()] };
    let opened = Entry::new(wallet.as_uuid(), EntryKind::Opened, Money::ZERO, Money::ZERO);
    chain::open(
        wallet,
        Site::cell(),
        ledger::Timestamp::from_micros(1_790_000_000_000_000),
        opened,
        key().seal(wallet, 0, &part),
    )
}

/// One for all: nothing here depends on it.
fn key() -> WalletKey {
    WalletKey::from_bytes([7; WalletKey::BYTES])
}

fn bytes(bytes: &[u8]) -> Value {
    json!({ "B": BASE64_STANDARD.encode(bytes) })
}

fn import(engine: &Engine, users: &[(WalletId, UserId)]) {
    let table = |name: &str| format!("{PREFIX}{name}");
    for some in users.chunks(AT_ONCE) {
        let ledger = some.iter().map(|(wallet, user)| block_item(&block(*wallet, user))).collect();
        let owners = some.iter().map(|(wallet, user)| {
            json!({ "w": { "S": wallet.to_string() }, "u": { "S": user.as_str() }, "k": bytes(key().as_bytes()) })
        });
        let members = some.iter().map(|(wallet, _)| {
            let list = format!("members#{:02x}", wallet.bucket().0 >> 8);
            json!({ "w": { "S": list }, "s": { "S": wallet.to_string() } })
        });
        engine.import(&table("ledger"), ledger).expect("written");
        engine.import(&table("owners"), owners.collect()).expect("written");
        engine.import(&table("snapshots"), members.collect()).expect("written");
    }
}

fn block_item(block: &Block) -> Value {
    let mut item = json!({
        "w": { "S": block.wallet.to_string() },
        "n": { "N": block.number.to_string() },
        "b": bytes(&canonical::encode(block)),
        "h": bytes(&block.hash.0),
        "k": { "S": block.wallet.bucket().to_string() },
    });
    if let Some(sealed) = &block.sealed {
        item["p"] = bytes(sealed.as_bytes());
    }
    item
}

/// Appends all of it to the log. Owners are left out: nothing that is measured reads them there.
async fn archived(archive: &Archive, users: &[(WalletId, UserId)], position: &str) {
    let mut newest = archive.newest(0).await.expect("it answers");
    for some in users.chunks(SEGMENT_BLOCKS) {
        let blocks = some.iter().map(|(wallet, user)| block(*wallet, user)).collect();
        let draft = Draft { segment: Segment { blocks }, at: now(), position: position.to_owned() };
        newest = Some(archive.append(newest.as_ref(), &draft).await.expect("it answers").expect("nothing else writes"));
    }
}

/// Signs over all of it in memory, and writes the rows into the tables. The job goes on after that.
async fn committed(site: &mut Site, users: &[(WalletId, UserId)]) {
    let memory = MemoryStore::default();
    let log = Log::new(memory.clone(), Site::cell());
    let mut newest = None;
    for some in users.chunks(MAX_LEAVES) {
        let leaves: Vec<Leaf> = some.iter().map(|(wallet, user)| Leaf::of(0, &block(*wallet, user))).collect();
        let signed = log.append(newest.as_ref(), &leaves, &site.key, now(), Uuid::new_v4()).await;
        let entry = signed.expect("it extends the last one").expect("nothing else writes");
        log.finish(&entry).await.expect("it is recorded");
        newest = Some(entry);
    }
    let mut rows = Vec::new();
    for list in LISTS {
        let mut after: Option<String> = None;
        loop {
            let page = memory.cell_rows(list, after.as_deref(), false, LIST_PAGE).await.expect("it answers");
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            rows.extend(page.into_iter().map(|(key, row)| row_item(list, &key, &row)));
        }
    }
    for (wallet, _) in users {
        let (list, key) = (format!("latest#{:02x}", wallet.bucket().0 >> 8), wallet.to_string());
        let row = memory.cell_row(&list, &key).await.expect("it answers").expect("it was recorded");
        rows.push(row_item(&list, &key, &row));
    }
    site.beside(|engine| {
        while !rows.is_empty() {
            let some = rows.split_off(rows.len().saturating_sub(AT_ONCE));
            engine.import(&format!("{PREFIX}snapshots"), some).expect("written");
        }
    })
    .await;
    let archived = site.archive().newest(0).await.expect("it answers").expect("archived").number;
    let finished = newest.map_or(0, |entry| entry.signed.checkpoint.number);
    let progress = json!({ "archived": archived, "again": [], "finished": finished, "completed_micros": null });
    let job = json!({ "owner": "filling", "until_micros": 0, "progress": progress });
    let row = CellRow { version: 1, bytes: job.to_string().into_bytes() };
    assert!(site.store().await.put_cell_row("jobs", "checkpoints", None, &row).await.expect("it answers"));
}

fn row_item(list: &str, key: &str, row: &CellRow) -> Value {
    json!({
        "w": { "S": format!("cell#{list}") },
        "s": { "S": key },
        "v": { "N": row.version.to_string() },
        "b": bytes(&row.bytes),
    })
}

/// What was written past the store is what the store would have written.
async fn check(site: &Site, users: &[(WalletId, UserId)], caught: Caught) {
    let store = site.store().await;
    let log = Log::new(store.clone(), Site::cell());
    for (wallet, user) in users.iter().step_by(users.len().div_ceil(SAMPLED)) {
        let block = block(*wallet, user);
        assert_eq!(store.head(*wallet).await.expect("it answers").as_ref(), Some(&block));
        assert_eq!(store.owner(*wallet).await.expect("it answers").map(|owner| owner.user).as_ref(), Some(user));
        let bucket: Bucket = wallet.bucket();
        assert!(store.members((bucket, bucket), None, 100).await.expect("it answers").contains(wallet));
        if caught == Caught::Up {
            let proof = log.prove(*wallet).await.expect("it answers").expect("it is committed to");
            assert_eq!(proof.leaf, Leaf::of(0, &block));
        }
    }
}
