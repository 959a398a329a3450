//! What a cell commits to: leaves that name blocks, checkpoints over the tree of all leaves, and their signatures. The
//! layouts are written down byte by byte in `docs/checkpoints.md`; change both together and raise the version.
//!
//! Like a block, each has exactly one encoding. Nothing here does I/O.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use sha2::{Digest, Sha256};
use topology::{CellId, WalletId};
use uuid::Uuid;

use crate::block::{Block, Hash};
use crate::time::Timestamp;

const VERSION: u8 = 1;
/// What every checkpoint begins with, so that its signature can never be taken for one over anything else.
const MAGIC: &[u8] = b"wallet-checkpoint";
pub const LEAF_BYTES: usize = 73;
pub const SIGNATURE_BYTES: usize = 64;
/// What comes before the 32 bytes of a key in a SubjectPublicKeyInfo of Ed25519 (RFC 8410).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
const PEM_LINE: usize = 64;

/// The head of one wallet, as it was when it was committed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Leaf {
    pub wallet: WalletId,
    /// The first block that no earlier leaf of the wallet commits to.
    pub first: u64,
    pub block: u64,
    pub hash: Hash,
    pub at: Timestamp,
}

impl Leaf {
    /// `first`: see the field.
    pub fn of(first: u64, block: &Block) -> Self {
        Self { wallet: block.wallet, first, block: block.number, hash: block.hash, at: block.at }
    }

    pub fn to_bytes(self) -> [u8; LEAF_BYTES] {
        let mut out = [VERSION; LEAF_BYTES];
        out[1..17].copy_from_slice(self.wallet.as_bytes());
        out[17..25].copy_from_slice(&self.first.to_be_bytes());
        out[25..33].copy_from_slice(&self.block.to_be_bytes());
        out[33..65].copy_from_slice(&self.hash.0);
        out[65..].copy_from_slice(&self.at.micros().to_be_bytes());
        out
    }

    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut input = Input(bytes);
        if input.array::<1>()? != [VERSION] {
            return None;
        }
        let leaf = Leaf {
            wallet: WalletId::from_uuid(Uuid::from_bytes(input.array()?)),
            first: u64::from_be_bytes(input.array()?),
            block: u64::from_be_bytes(input.array()?),
            hash: Hash(input.array()?),
            at: Timestamp::from_micros(i64::from_be_bytes(input.array()?)),
        };
        input.0.is_empty().then_some(leaf)
    }

    /// As the tree takes it.
    pub fn tree_hash(self) -> Hash {
        crate::merkle::leaf_hash(&self.to_bytes())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Checkpoint {
    pub cell: CellId,
    /// 1, 2, 3 …
    pub number: u64,
    /// Leaves in the tree.
    pub size: u64,
    pub root: Hash,
    /// Hash of the checkpoint before; zero for the first.
    pub previous: Hash,
    pub at: Timestamp,
}

impl Checkpoint {
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.push(VERSION);
        out.push(u8::try_from(self.cell.as_str().len()).expect("a cell id is at most 32 bytes"));
        out.extend_from_slice(self.cell.as_str().as_bytes());
        out.extend_from_slice(&self.number.to_be_bytes());
        out.extend_from_slice(&self.size.to_be_bytes());
        out.extend_from_slice(&self.root.0);
        out.extend_from_slice(&self.previous.0);
        out.extend_from_slice(&self.at.micros().to_be_bytes());
        out
    }

    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut input = Input(bytes.strip_prefix(MAGIC)?);
        let [version, length] = input.array()?;
        if version != VERSION {
            return None;
        }
        let cell = std::str::from_utf8(input.take(usize::from(length))?).ok()?;
        let checkpoint = Checkpoint {
            cell: CellId::parse(cell).ok()?,
            number: u64::from_be_bytes(input.array()?),
            size: u64::from_be_bytes(input.array()?),
            root: Hash(input.array()?),
            previous: Hash(input.array()?),
            at: Timestamp::from_micros(i64::from_be_bytes(input.array()?)),
        };
        input.0.is_empty().then_some(checkpoint)
    }

    /// What the next checkpoint names.
    pub fn hash(&self) -> Hash {
        Hash(Sha256::digest(self.to_bytes()).into())
    }
}

/// A checkpoint with its cell's signature over its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Signed {
    pub checkpoint: Checkpoint,
    pub signature: [u8; SIGNATURE_BYTES],
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("not PEM, or not of the kind that is wanted")]
    Pem,
    #[error("not a key for Ed25519")]
    Key,
    #[error("no randomness to make a key of")]
    Random,
}

/// What a cell signs with. Printed nowhere.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    /// Other keys of this cell, which it signed with before.
    earlier: Vec<PublicKey>,
}

impl SigningKey {
    /// A new key as a PEM file of PKCS#8.
    pub fn generate() -> Result<String, KeyError> {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| KeyError::Random)?;
        Ok(to_pem("PRIVATE KEY", document.as_ref()))
    }

    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let der = from_pem("PRIVATE KEY", text).into_iter().next().ok_or(KeyError::Pem)?;
        // Also keys made by other tools, which leave the public half out.
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der)
            .map(|pair| Self { pair, earlier: Vec::new() })
            .map_err(|_| KeyError::Key)
    }

    /// The same key, of a cell that also had these.
    pub fn after(self, earlier: Vec<PublicKey>) -> Self {
        Self { earlier, ..self }
    }

    /// All keys of the cell, this one first.
    pub fn known(&self) -> Vec<PublicKey> {
        let own = self.public();
        let earlier = self.earlier.iter().copied().filter(|key| *key != own);
        std::iter::once(own).chain(earlier).collect()
    }

    pub fn public(&self) -> PublicKey {
        PublicKey(self.pair.public_key().as_ref().try_into().expect("a public key of Ed25519 is 32 bytes"))
    }

    pub fn sign(&self, checkpoint: Checkpoint) -> Signed {
        let signature = self.pair.sign(&checkpoint.to_bytes());
        Signed { checkpoint, signature: signature.as_ref().try_into().expect("64 bytes") }
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey(of {:?})", self.public())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    pub fn to_pem(self) -> String {
        to_pem("PUBLIC KEY", &[&SPKI_PREFIX[..], &self.0].concat())
    }

    /// All keys in the file: while a key is changed there are two.
    pub fn all_from_pem(text: &str) -> Result<Vec<Self>, KeyError> {
        let of = |der: &Vec<u8>| {
            let key = der.strip_prefix(&SPKI_PREFIX[..]).ok_or(KeyError::Key)?;
            key.try_into().map(Self).map_err(|_| KeyError::Key)
        };
        let keys = from_pem("PUBLIC KEY", text).iter().map(of).collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() { Err(KeyError::Pem) } else { Ok(keys) }
    }

    pub fn verifies(&self, signed: &Signed) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(&signed.checkpoint.to_bytes(), &signed.signature).is_ok()
    }
}

fn to_pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(PEM_LINE).map(|line| std::str::from_utf8(line).expect("plain ASCII")).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// Every block with this label.
fn from_pem(label: &str, text: &str) -> Vec<Vec<u8>> {
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
    let bodies = text.split(&begin).skip(1).filter_map(|rest| rest.split_once(&end));
    let decode = |body: &str| STANDARD.decode(body.split_whitespace().collect::<String>()).ok();
    bodies.filter_map(|(body, _)| decode(body)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        Checkpoint {
            cell: CellId::parse("cell-1").expect("sound"),
            number: 7,
            size: 300,
            root: Hash([1; 32]),
            previous: Hash([2; 32]),
            at: Timestamp::from_micros(1_760_000_000_000_000),
        }
    }

    #[test]
    fn what_was_signed_verifies_and_nothing_else_does() {
        let key = SigningKey::from_pem(&SigningKey::generate().expect("randomness")).expect("its own");
        let signed = key.sign(checkpoint());
        let public = PublicKey::all_from_pem(&key.public().to_pem()).expect("its own");
        assert_eq!(public, [key.public()]);
        assert!(public[0].verifies(&signed));
        let bytes = checkpoint().to_bytes();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            if let Some(checkpoint) = Checkpoint::from_bytes(&changed) {
                assert_eq!(checkpoint.to_bytes(), changed);
                assert!(!public[0].verifies(&Signed { checkpoint, signature: signed.signature }), "byte {at}");
            }
        }
        for at in 0..SIGNATURE_BYTES {
            let mut changed = signed.clone();
            changed.signature[at] ^= 1;
            assert!(!public[0].verifies(&changed), "byte {at} of the signature");
        }
    }

    /// RFC 8032, 7.1, test 1, in the forms that openssl writes.
    #[test]
    fn keys_of_other_tools_are_read() {
        let seed = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";
        let der = [
            &[0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20][..],
            &STANDARD.decode(seed).expect("base64"),
        ];
        let key = SigningKey::from_pem(&to_pem("PRIVATE KEY", &der.concat())).expect("PKCS#8 version 1");
        assert_eq!(STANDARD.encode(key.public().0), "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=");
        assert!(SigningKey::from_pem("not PEM").is_err() && PublicKey::all_from_pem("not PEM").is_err());
    }

    #[test]
    fn a_leaf_reads_as_it_was_written() {
        let leaf = Leaf {
            wallet: WalletId::from_uuid(Uuid::from_u128(5)),
            first: 7,
            block: 9,
            hash: Hash([3; 32]),
            at: Timestamp::from_micros(-1),
        };
        assert_eq!(Leaf::from_bytes(&leaf.to_bytes()), Some(leaf));
        assert_eq!(Leaf::from_bytes(&leaf.to_bytes()[..LEAF_BYTES - 1]), None);
        assert_eq!(Leaf::from_bytes(&[&leaf.to_bytes()[..], &[0]].concat()), None);
    }
}
