//! One byte changed, anywhere in what is stored: found.

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use store::log::{Audit, Witnessed};
use topology::WalletId;

use super::database::{Database, Item, keys_of};
use super::ledgers::{Ledgers, breaks_of};
use crate::fleet::{setting, within};

const TABLES: [&str; 2] = ["ledger", "snapshots"];
/// Places that are tried, of each kind of row as many.
const TRIES: u64 = 200;

/// What an item is, for the sake of trying all kinds equally often.
fn kind(table: &str, item: &Item) -> String {
    let text = |name: &str| item[name].as_s().map_or("", |text| text.as_str()).to_owned();
    let head = |text: String| text.split(['#', '-']).next().unwrap_or_default().to_owned();
    match table {
        "ledger" => if item.contains_key("k") { "first blocks" } else { "blocks" }.to_owned(),
        _ if text("w").starts_with("cell#") => text("w").split('#').nth(1).unwrap_or_default().to_owned(),
        // Members have no attribute but their keys.
        _ if text("w").starts_with("members#") => "members".to_owned(),
        _ => head(text("s")),
    }
}

/// The attribute with one byte of it changed.
fn changed(value: &AttributeValue, random: &mut fastrand::Rng) -> AttributeValue {
    match value {
        AttributeValue::B(blob) => {
            let mut bytes = blob.as_ref().to_vec();
            let at = random.usize(..bytes.len());
            bytes[at] ^= random.u8(1..);
            AttributeValue::B(Blob::new(bytes))
        }
        AttributeValue::N(text) => AttributeValue::N(other_digit(text, random)),
        AttributeValue::S(text) => {
            let at = random.usize(..text.len());
            let other = if text.as_bytes()[at] == b'0' { "1" } else { "0" };
            AttributeValue::S(format!("{}{other}{}", &text[..at], &text[at + 1..]))
        }
        other => panic!("no such attribute is written: {other:?}"),
    }
}

fn other_digit(text: &str, random: &mut fastrand::Rng) -> String {
    let at = random.usize(..text.len());
    let digit = text.as_bytes()[at] - b'0';
    format!("{}{}{}", &text[..at], (digit + random.u8(1..10)) % 10, &text[at + 1..])
}

/// `sound`: what the log said before anything was changed.
async fn is_found(database: &Database, ledgers: &Ledgers, sound: &Audit, item: &Item) -> bool {
    match item["w"].as_s().expect("a text").parse::<WalletId>() {
        Ok(wallet) => !breaks_of(&database.store, wallet, sound).await.is_empty(),
        Err(_) => !ledgers.audit(&database.store, &Witnessed::new()).await.breaks.is_empty(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_byte_changed_anywhere_is_found() {
    let tries = setting("WALLET_FLIPS", TRIES);
    within(120 + tries, "the test", async {
        let database = Database::start().await;
        let ledgers = Ledgers::write(&database.store).await;
        let mut random = fastrand::Rng::with_seed(setting("WALLET_SEED", 1));
        let mut kinds: std::collections::BTreeMap<String, Vec<(&str, Item)>> = std::collections::BTreeMap::new();
        for table in TABLES {
            for item in database.items(table).await {
                kinds.entry(kind(table, &item)).or_default().push((table, item));
            }
        }
        assert!(kinds.remove("members").is_some());
        let names: Vec<String> = kinds.keys().cloned().collect();
        let expected = ["blocks", "checkpoints", "first blocks", "latest", "leaves", "marks", "snap", "tiles"];
        assert_eq!(names, expected);
        let before = sound(&database, &ledgers).await;
        let mut attributes = std::collections::BTreeMap::<String, u64>::new();
        for number in 0..tries {
            let name = &names[number as usize % names.len()];
            let (table, item) = random.choice(&kinds[name]).expect("there are some");
            let mut places: Vec<&String> = item.keys().collect();
            places.sort();
            let place = (*random.choice(&places).expect("an item has attributes")).clone();
            let mut spoilt = item.clone();
            spoilt.insert(place.clone(), changed(&item[&place], &mut random));
            *attributes.entry(format!("{name}.{place}")).or_default() += 1;
            // A key cannot be changed in place: the item vanishes and another one appears.
            let is_key = keys_of(table).contains(&place.as_str());
            if is_key {
                database.delete(table, item).await;
            }
            let replaced = database.get(table, &spoilt).await;
            database.put(table, spoilt.clone()).await;
            let missing_is_no_fault = is_key && matches!(name.as_str(), "snap" | "marks");
            let found = is_found(&database, &ledgers, &before, item).await;
            // Rows recorded after their blocks may be missing. Under a wrong name or another's, they are found.
            let elsewhere = is_key && is_found(&database, &ledgers, &before, &spoilt).await;
            assert!(
                found || elsewhere || missing_is_no_fault && spoilt["w"] != item["w"],
                "{name}, attribute {place}: {item:?} became {spoilt:?}"
            );
            if is_key {
                database.delete(table, &spoilt).await;
            }
            if let Some(replaced) = replaced.filter(|_| is_key) {
                database.put(table, replaced).await;
            }
            database.put(table, item.clone()).await;
        }
        sound(&database, &ledgers).await;
        eprintln!("{tries} bytes changed and found, by attribute: {attributes:?}");
    })
    .await;
}

/// Nothing is found where nothing was changed.
async fn sound(database: &Database, ledgers: &Ledgers) -> Audit {
    let audit = ledgers.audit(&database.store, &Witnessed::new()).await;
    assert_eq!(audit.breaks, []);
    for wallet in ledgers.chains.keys() {
        assert_eq!(breaks_of(&database.store, *wallet, &audit).await, [], "{wallet}");
    }
    audit
}
