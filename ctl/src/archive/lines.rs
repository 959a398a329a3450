//! A block as `ctl ledger export` prints it, and what was encrypted in it.

use anyhow::Result;
use ledger::{Block, Owner, Personal, ShortText, canonical};
use serde_json::{Value, json};

/// With an owner, the personal part is opened too.
pub fn line(block: &Block, owner: Option<&Owner>) -> Result<Value> {
    let bytes = canonical::hex(&canonical::encode(block));
    let mut line =
        json!({ "wallet": block.wallet, "number": block.number, "hash": block.hash.to_string(), "canonical": bytes });
    if let Some(sealed) = &block.sealed {
        line["sealed"] = canonical::hex(sealed.as_bytes()).into();
    }
    if let Some(owner) = owner {
        let part = owner.key.open(block)?;
        let entries: Vec<Value> = part.entries.iter().map(personal).collect();
        line["personal"] = json!({ "userId": owner.user, "entries": entries });
    }
    Ok(line)
}

fn personal(entry: &Personal) -> Value {
    let Personal { source_ip, user_agent, actor, description, metadata } = entry;
    let text = ShortText::as_str;
    let metadata: serde_json::Map<String, Value> =
        metadata.iter().map(|(name, value)| (text(name).to_owned(), text(value).into())).collect();
    json!({
        "sourceIp": text(source_ip), "userAgent": text(user_agent), "actor": text(actor),
        "description": text(description), "metadata": metadata,
    })
}

#[cfg(test)]
mod tests {
    use ledger::{Entry, EntryKind, Money, PersonalPart, Timestamp, WalletKey, chain};
    use topology::{CellId, UserId, WalletId};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn what_is_personal_is_shown_only_to_an_owner_of_the_key() {
        let owner = |byte| Owner { user: UserId::parse("ann").expect("sound"), key: WalletKey::from_bytes([byte; 32]) };
        let wallet = WalletId::from_uuid(Uuid::from_u128(9));
        let opened = Entry::new(Uuid::from_u128(1), EntryKind::Opened, Money::ZERO, Money::ZERO);
        let part = PersonalPart { user: Some(owner(1).user), entries: vec![Personal::default()] };
        let home = CellId::parse("cell-1").expect("sound");
        let sealed = owner(1).key.seal(wallet, 0, &part);
        let block = chain::open(wallet, home, Timestamp::from_micros(1), opened, sealed);
        let plain = line(&block, None).expect("it needs no key");
        assert_eq!((&plain["number"], plain.get("personal")), (&json!(0), None));
        let opened = line(&block, Some(&owner(1))).expect("its own key");
        assert_eq!(opened["personal"]["userId"], "ann");
        assert_eq!(opened["personal"]["entries"][0]["metadata"], json!({}));
        assert!(line(&block, Some(&owner(2))).is_err(), "another key");
    }
}
