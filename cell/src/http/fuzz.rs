//! Doors for the fuzzers in `fuzz/`: each gives a parser of untrusted text to them, and says what it found.
//!
//! It must never be called by anything that serves.

use topology::{UserId, WalletId};
use uuid::Uuid;

use super::{body, cursor, wallets};
use crate::reads::history::Position;

/// What a body says, as far as each field can be taken.
pub struct Read {
    pub user: Option<UserId>,
    pub payer: Option<WalletId>,
}

pub fn body(bytes: &[u8]) -> Read {
    let Ok(fields) = body::Fields::parse(bytes) else { return Read { user: None, payer: None } };
    if let Ok(amount) = fields.amount() {
        let bounds = ledger::Money::MIN_AMOUNT..=ledger::Money::MAX_AMOUNT;
        assert!(bounds.contains(&amount), "{amount} is beyond the bounds");
    }
    // Read for what reading it may do.
    let _ = fields.payee();
    Read { user: fields.user_id().ok(), payer: fields.payer().ok() }
}

pub fn cursor(text: &str) {
    let (ann, bob) = (WalletId::from_uuid(Uuid::from_u128(1)), WalletId::from_uuid(Uuid::from_u128(2)));
    if let Some(position) = cursor::decode(ann, text) {
        assert_eq!(cursor::encode(ann, position), text, "one position, two cursors");
        assert!(cursor::decode(bob, text).is_none(), "a cursor of one wallet is none of another");
    }
    // Any position that the text can stand for comes back.
    let mut bytes = text.bytes().chain(std::iter::repeat(0));
    let block = u64::from_be_bytes(std::array::from_fn(|_| bytes.next().expect("it repeats")));
    let entry = u16::from_be_bytes(std::array::from_fn(|_| bytes.next().expect("it repeats")));
    let position = Position { block, entry };
    assert_eq!(cursor::decode(ann, &cursor::encode(ann, position)), Some(position));
}

pub fn user_in_query(query: &str) -> Option<UserId> {
    UserId::parse(wallets::parameter(Some(query), "userId")?).ok()
}
