//! Personal data of a block: it stands beside the canonical bytes, encrypted under a key of the wallet. The block's hash
//! covers the encrypted bytes. So anyone can verify a chain without the key, and does so after the key is destroyed.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use sha2::{Digest, Sha256};
use topology::{UserId, WalletId};

use crate::block::{Audit, Block, Entry, Hash, ShortText};

/// Longest reference, in bytes.
pub const MAX_REFERENCE_BYTES: usize = 64;
/// Longest description, in bytes.
pub const MAX_DESCRIPTION_BYTES: usize = ShortText::MAX_BYTES;
/// Most pairs of an entry's metadata.
pub const MAX_METADATA_PAIRS: usize = 8;
/// Longest name of a pair of metadata, in bytes.
pub const MAX_METADATA_NAME_BYTES: usize = 40;
/// Most bytes of all names and values of an entry's metadata.
pub const MAX_METADATA_BYTES: usize = 512;

/// What a client says of an entry in words of its own.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash)]
pub struct Note {
    /// The client's name for it, such as an invoice number. Not personal: it stays readable, and of a transfer both
    /// wallets show it.
    pub reference: ShortText,
    pub description: ShortText,
    /// Name and value, in the order given.
    pub metadata: Vec<(ShortText, ShortText)>,
}

/// The owner of a wallet: all that is known of a person outside the chain. Without it, what the chain holds encrypted can
/// be read no more.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Owner {
    pub user: UserId,
    pub key: WalletKey,
}

/// What of one entry is about a person.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash)]
pub struct Personal {
    pub source_ip: ShortText,
    pub user_agent: ShortText,
    pub actor: ShortText,
    pub description: ShortText,
    pub metadata: Vec<(ShortText, ShortText)>,
}

impl Personal {
    pub fn of(audit: &Audit, note: &Note) -> Self {
        Self {
            source_ip: audit.source_ip.clone(),
            user_agent: audit.user_agent.clone(),
            actor: audit.actor.clone(),
            description: note.description.clone(),
            metadata: note.metadata.clone(),
        }
    }

    fn is_by_the_same(&self, other: &Self) -> bool {
        let caller = |of: &Self| (of.source_ip.clone(), of.user_agent.clone(), of.actor.clone());
        caller(self) == caller(other)
    }
}

/// What of one block is about a person.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash)]
pub struct PersonalPart {
    /// The owner of the wallet; in block 0 only.
    pub user: Option<UserId>,
    /// Of each entry, in order.
    pub entries: Vec<Personal>,
}

/// The personal part of a block as it is stored: a nonce, the encrypted bytes, and their tag.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Sealed(Vec<u8>);

impl Sealed {
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What the canonical bytes say of it.
    pub fn digest(&self) -> Hash {
        Hash(Sha256::digest(&self.0).into())
    }
}

/// Why a personal part cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the personal part is not what this key has encrypted")]
pub struct Unreadable;

/// The key of one wallet's personal data: 32 random bytes. It shows itself in no log.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct WalletKey([u8; WalletKey::BYTES]);

impl std::fmt::Debug for WalletKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WalletKey")
    }
}

impl WalletKey {
    pub const BYTES: usize = 32;

    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    pub fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    /// Encrypts the personal part of a block; `None` if it says nothing.
    ///
    /// The nonce is a hash of key, place and content. So what is written twice is the same bytes, and no nonce serves
    /// two contents.
    pub fn seal(&self, wallet: WalletId, number: u64, part: &PersonalPart) -> Option<Sealed> {
        if part.user.is_none() && part.entries.iter().all(|entry| *entry == Personal::default()) {
            return None;
        }
        let (place, mut text) = (place(wallet, number), to_bytes(part));
        let mut hash = Sha256::new();
        [b"nonce".as_slice(), &self.0, &place, &text].into_iter().for_each(|bytes| hash.update(bytes));
        let digest: [u8; 32] = hash.finalize().into();
        let (nonce, _) = digest.split_first_chunk::<NONCE_LEN>()?;
        let sealed =
            self.cipher().seal_in_place_append_tag(Nonce::assume_unique_for_key(*nonce), Aad::from(place), &mut text);
        sealed.expect("a block is far shorter than what the cipher takes");
        let mut bytes = nonce.to_vec();
        bytes.append(&mut text);
        Some(Sealed(bytes))
    }

    /// The personal part of a block; of one without, an empty one.
    pub fn open(&self, block: &Block) -> Result<PersonalPart, Unreadable> {
        let Some(sealed) = &block.sealed else {
            return Ok(PersonalPart { user: None, entries: vec![Personal::default(); block.entries.len()] });
        };
        let (nonce, text) = sealed.0.split_first_chunk::<NONCE_LEN>().ok_or(Unreadable)?;
        let mut text = text.to_vec();
        let aad = Aad::from(place(block.wallet, block.number));
        let opened = self.cipher().open_in_place(Nonce::assume_unique_for_key(*nonce), aad, &mut text);
        let part = opened.ok().and_then(|text| from_bytes(text)).ok_or(Unreadable)?;
        (part.entries.len() == block.entries.len()).then_some(part).ok_or(Unreadable)
    }

    fn cipher(&self) -> LessSafeKey {
        LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &self.0).expect("the key has the cipher's length"))
    }
}

/// What binds a personal part to its block: a copy of it elsewhere does not open.
fn place(wallet: WalletId, number: u64) -> [u8; 24] {
    let mut bytes = [0; 24];
    let (id, rest) = bytes.split_at_mut(16);
    id.copy_from_slice(wallet.as_bytes());
    rest.copy_from_slice(&number.to_be_bytes());
    bytes
}

/// The encrypted text, as `docs/ledger-format.md` has it.
fn to_bytes(part: &PersonalPart) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    put_text(&mut out, part.user.as_ref().map_or("", UserId::as_str));
    let count = u16::try_from(part.entries.len()).expect("a block holds at most 600 entries");
    out.extend_from_slice(&count.to_be_bytes());
    let mut previous: Option<&Personal> = None;
    for entry in &part.entries {
        let is_same = previous.replace(entry).is_some_and(|previous| previous.is_by_the_same(entry));
        out.push(u8::from(!is_same));
        if !is_same {
            for text in [&entry.source_ip, &entry.user_agent, &entry.actor] {
                put_text(&mut out, text.as_str());
            }
        }
        put_text(&mut out, entry.description.as_str());
        out.push(u8::try_from(entry.metadata.len()).expect("metadata has at most 8 pairs"));
        for (name, value) in &entry.metadata {
            put_text(&mut out, name.as_str());
            put_text(&mut out, value.as_str());
        }
    }
    out
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.push(u8::try_from(text.len()).expect("user ids and short texts are at most 255 bytes by construction"));
    out.extend_from_slice(text.as_bytes());
}

fn from_bytes(bytes: &[u8]) -> Option<PersonalPart> {
    let mut rest = bytes;
    let user = take_text(&mut rest)?;
    let user = if user.as_str().is_empty() { None } else { Some(UserId::parse(user.as_str()).ok()?) };
    let count = u16::from_be_bytes(take(&mut rest, 2)?.try_into().ok()?);
    let mut entries: Vec<Personal> = Vec::new();
    for _ in 0..count {
        let mut entry = match take(&mut rest, 1)? {
            [0] => Personal { description: ShortText::default(), metadata: Vec::new(), ..entries.last()?.clone() },
            [1] => Personal {
                source_ip: take_text(&mut rest)?,
                user_agent: take_text(&mut rest)?,
                actor: take_text(&mut rest)?,
                ..Personal::default()
            },
            _ => return None,
        };
        entry.description = take_text(&mut rest)?;
        for _ in 0..*take(&mut rest, 1)?.first()? {
            entry.metadata.push((take_text(&mut rest)?, take_text(&mut rest)?));
        }
        entries.push(entry);
    }
    rest.is_empty().then_some(PersonalPart { user, entries })
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(taken)
}

fn take_text(rest: &mut &[u8]) -> Option<ShortText> {
    let length = usize::from(*take(rest, 1)?.first()?);
    let text = std::str::from_utf8(take(rest, length)?).ok()?;
    Some(ShortText::cut(text, ShortText::MAX_BYTES))
}

impl Entry {
    /// Its personal data in an opened part of its block.
    pub fn personal<'a>(&self, block: &Block, part: &'a PersonalPart) -> Option<&'a Personal> {
        let place = block.entries.iter().position(|entry| entry.id == self.id)?;
        part.entries.get(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::EntryKind;
    use crate::chain;
    use crate::money::Money;
    use crate::time::Timestamp;
    use topology::CellId;
    use uuid::Uuid;

    fn short(text: &str) -> ShortText {
        ShortText::cut(text, ShortText::MAX_BYTES)
    }

    fn part() -> PersonalPart {
        let personal = Personal {
            source_ip: short("192.0.2.1"),
            user_agent: short("curl/8"),
            actor: short("customer:ann"),
            description: short("for the tea"),
            metadata: vec![(short("shop"), short("7")), (short("till"), short(""))],
        };
        PersonalPart { user: UserId::parse("ann").ok(), entries: vec![personal] }
    }

    fn opened(key: &WalletKey, part: &PersonalPart) -> Block {
        let wallet = WalletId::from_uuid(Uuid::from_u128(9));
        let opened = Entry::new(Uuid::from_u128(1), EntryKind::Opened, Money::ZERO, Money::ZERO);
        let home = CellId::parse("cell-1").expect("sound");
        chain::open(wallet, home, Timestamp::from_micros(1), opened, key.seal(wallet, 0, part))
    }

    #[test]
    fn only_the_key_opens_what_it_sealed_and_only_in_its_place() {
        let (key, other) = (WalletKey::from_bytes([1; 32]), WalletKey::from_bytes([2; 32]));
        let block = opened(&key, &part());
        assert_eq!(key.open(&block), Ok(part()));
        assert_eq!(other.open(&block), Err(Unreadable));
        assert_eq!(key.open(&Block { number: 1, ..block.clone() }), Err(Unreadable), "in another block");
        let bytes = block.sealed.as_ref().expect("it says something").as_bytes();
        let text = String::from_utf8_lossy(bytes);
        assert!(!text.contains("ann") && !text.contains("tea"), "{text}");
        for at in 0..bytes.len() {
            let mut changed = bytes.to_vec();
            changed[at] ^= 1;
            let changed = Sealed::from_bytes(changed);
            assert_ne!(changed.digest(), block.sealed.as_ref().expect("as above").digest());
            assert_eq!(key.open(&Block { sealed: Some(changed), ..block.clone() }), Err(Unreadable), "byte {at}");
        }
    }

    #[test]
    fn the_same_is_sealed_alike_and_anything_else_under_another_nonce() {
        let key = WalletKey::from_bytes([1; 32]);
        let wallet = WalletId::from_uuid(Uuid::from_u128(9));
        let nonce = |number, part: &PersonalPart| {
            key.seal(wallet, number, part).map(|sealed| sealed.as_bytes()[..NONCE_LEN].to_vec())
        };
        let mut another = part();
        another.entries[0].description = short("for the teas");
        assert_eq!(key.seal(wallet, 0, &part()), key.seal(wallet, 0, &part()));
        assert_ne!(nonce(0, &part()), nonce(1, &part()));
        assert_ne!(nonce(0, &part()), nonce(0, &another));
        assert_eq!(nonce(0, &PersonalPart { user: None, entries: vec![Personal::default(); 3] }), None);
    }

    #[test]
    fn a_caller_of_many_entries_is_written_once() {
        let key = WalletKey::from_bytes([1; 32]);
        let wallet = WalletId::from_uuid(Uuid::from_u128(9));
        let mut many = part();
        let size = |part: &PersonalPart| key.seal(wallet, 0, part).map_or(0, |sealed| sealed.as_bytes().len());
        let one = size(&many);
        many.entries.push(Personal {
            description: ShortText::default(),
            metadata: Vec::new(),
            ..many.entries[0].clone()
        });
        assert_eq!(size(&many), one + 3, "a flag, an empty description, no metadata");
        assert_eq!(from_bytes(&to_bytes(&many)), Some(many));
    }
}
