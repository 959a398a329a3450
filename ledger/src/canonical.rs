//! The canonical bytes of a block: what is stored, what is hashed, and what anyone can check offline. The layout is
//! written down byte by byte in `docs/ledger-format.md`; change both together and raise [`VERSION`].
//!
//! One block has exactly one encoding: [`decode`] refuses anything that [`encode`] would not have written.

use sha2::{Digest, Sha256};
use topology::wire::CreditRefusal;
use topology::{CellId, WalletId};
use uuid::Uuid;

use crate::block::{Block, Entry, EntryKind, Hash, ItemOutcome, Key, ShortText, Trace};
use crate::money::Money;
use crate::personal::Sealed;
use crate::state::{Hold, Status, WalletState};
use crate::time::Timestamp;

/// First byte of every block. No deployment ever wrote an earlier version.
pub const VERSION: u8 = 3;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("unknown format version {0}")]
    Version(u8),
    #[error("the bytes end too early or too late")]
    Length,
    #[error("not a {0}")]
    Invalid(&'static str),
    #[error("the personal part is not the one that the bytes name")]
    Personal,
}

/// The canonical bytes of everything in `block` but its hash; of its personal part, the digest.
pub fn encode(block: &Block) -> Vec<u8> {
    let mut out = Vec::with_capacity(160_usize.saturating_add(block.entries.len().saturating_mul(192)));
    out.push(VERSION);
    out.extend_from_slice(block.wallet.as_bytes());
    out.extend_from_slice(&block.number.to_be_bytes());
    out.extend_from_slice(&block.previous.0);
    out.extend_from_slice(&block.at.micros().to_be_bytes());
    put_text(&mut out, block.home.as_str());
    out.extend_from_slice(&block.state.created_at.micros().to_be_bytes());
    out.push(status_code(block.state.status));
    out.extend_from_slice(&block.state.balance.minor().to_be_bytes());
    out.extend_from_slice(&block.state.open_count.to_be_bytes());
    out.extend_from_slice(&block.state.open_since.to_be_bytes());
    out.push(u8::try_from(block.state.holds.len()).expect("a wallet has at most 64 open holds"));
    for hold in &block.state.holds {
        out.extend_from_slice(hold.id.as_bytes());
        out.extend_from_slice(&hold.amount.minor().to_be_bytes());
        out.extend_from_slice(&hold.expires_at.micros().to_be_bytes());
    }
    out.push(u8::from(block.sealed.is_some()));
    out.extend(block.sealed.iter().flat_map(|sealed| sealed.digest().0));
    let count = u16::try_from(block.entries.len()).expect("a block holds at most 600 entries");
    out.extend_from_slice(&count.to_be_bytes());
    let mut trace = None;
    for entry in &block.entries {
        put_entry(&mut out, entry);
        put_trace(&mut out, trace.replace(&entry.trace), &entry.trace);
    }
    out
}

/// What a block takes where it is stored or sent, in bytes: its canonical bytes and its personal part.
pub fn size(block: &Block) -> usize {
    let sealed = block.sealed.as_ref().map_or(0, |sealed| sealed.as_bytes().len());
    encode(block).len().saturating_add(sealed)
}

/// A block as it travels in a text: its canonical bytes in hexadecimal digits and, after a dot, those of its personal part,
/// if it has one.
pub fn to_text(block: &Block) -> String {
    let sealed = block.sealed.as_ref().map(|sealed| format!(".{}", hex(sealed.as_bytes())));
    hex(&encode(block)) + &sealed.unwrap_or_default()
}

/// Reads what [`to_text`] writes.
pub fn from_text(text: &str) -> Result<Block, DecodeError> {
    let (bytes, sealed) = text.split_once('.').map_or((text, None), |(bytes, sealed)| (bytes, Some(sealed)));
    let sealed = sealed.map(from_hex).transpose()?;
    decode(&from_hex(bytes)?, sealed.as_deref())
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes that are written in hexadecimal digits.
pub fn from_hex(digits: &str) -> Result<Vec<u8>, DecodeError> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let byte = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)?.checked_shl(4)? | digit(*low)?),
        _ => None,
    };
    let bytes: Option<Vec<u8>> = digits.as_bytes().chunks(2).map(byte).collect();
    bytes.ok_or(DecodeError::Invalid("text of hexadecimal digits"))
}

/// SHA-256 of canonical bytes.
pub fn hash(canonical: &[u8]) -> Hash {
    Hash(Sha256::digest(canonical).into())
}

/// Reads a block back, with its encrypted personal part, if it has one; its hash is computed, not trusted.
pub fn decode(bytes: &[u8], sealed: Option<&[u8]>) -> Result<Block, DecodeError> {
    let mut input = Reader(bytes);
    match input.byte()? {
        VERSION => {}
        other => return Err(DecodeError::Version(other)),
    }
    let wallet = input.wallet()?;
    let number = input.u64()?;
    let previous = Hash(input.array()?);
    let at = input.timestamp()?;
    let home = input.cell()?;
    let created_at = input.timestamp()?;
    let status = status_of(input.byte()?)?;
    let balance = Money::from_minor(input.u64()?);
    let open_count = u32::from_be_bytes(input.array()?);
    let open_since = input.u64()?;
    let holds = (0..input.byte()?).map(|_| input.hold()).collect::<Result<Vec<_>, _>>()?;
    let sealed = input.sealed(sealed)?;
    let count = u16::from_be_bytes(input.array()?);
    let mut entries: Vec<Entry> = Vec::new();
    for _ in 0..count {
        entries.push(input.entry(entries.last())?);
    }
    if !input.0.is_empty() {
        return Err(DecodeError::Length);
    }
    let state = WalletState { created_at, balance, status, open_count, open_since, holds };
    Ok(Block { wallet, number, previous, at, home, state, entries, sealed, hash: hash(bytes) })
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.push(
        u8::try_from(text.len()).expect("user ids, cell ids and short texts are at most 255 bytes by construction"),
    );
    out.extend_from_slice(text.as_bytes());
}

fn put_entry(out: &mut Vec<u8>, entry: &Entry) {
    out.push(kind_code(&entry.kind));
    out.extend_from_slice(entry.id.as_bytes());
    out.extend_from_slice(&entry.amount.minor().to_be_bytes());
    out.extend_from_slice(&entry.balance_after.minor().to_be_bytes());
    match &entry.kind {
        EntryKind::TransferOut { to, reverses } => {
            out.extend_from_slice(to.as_bytes());
            out.push(u8::from(reverses.is_some()));
            out.extend(reverses.iter().flat_map(|of| of.as_bytes()));
        }
        EntryKind::TransferIn { from } => out.extend_from_slice(from.as_bytes()),
        EntryKind::TransferSettled { transfer } => out.extend_from_slice(transfer.as_bytes()),
        EntryKind::TransferReturned { transfer, reason } => {
            out.extend_from_slice(transfer.as_bytes());
            out.push(reason_code(*reason));
        }
        EntryKind::TransferRefused { transfer, from, reason } => {
            out.extend_from_slice(transfer.as_bytes());
            out.extend_from_slice(from.as_bytes());
            out.push(reason_code(*reason));
        }
        EntryKind::Moved { from, to, epoch } => {
            put_text(out, from.as_str());
            put_text(out, to.as_str());
            out.extend_from_slice(&epoch.to_be_bytes());
        }
        EntryKind::HoldPlaced { expires_at } => out.extend_from_slice(&expires_at.micros().to_be_bytes()),
        EntryKind::HoldCaptured { hold: id }
        | EntryKind::HoldVoided { hold: id }
        | EntryKind::HoldExpired { hold: id }
        | EntryKind::DepositReversed { of: id }
        | EntryKind::WithdrawalReversed { of: id } => out.extend_from_slice(id.as_bytes()),
        EntryKind::Batch { outcomes } => {
            let count = u16::try_from(outcomes.len()).expect("the operations of a batch fit 16 bits");
            out.extend_from_slice(&count.to_be_bytes());
            out.extend(outcomes.iter().map(|outcome| outcome_code(*outcome)));
        }
        EntryKind::Opened
        | EntryKind::Deposit
        | EntryKind::Withdrawal
        | EntryKind::Frozen
        | EntryKind::Unfrozen
        | EntryKind::Closed
        | EntryKind::Erased => {}
    }
    match &entry.key {
        None => out.push(0),
        Some(key) => {
            out.push(1);
            out.extend_from_slice(&key.key);
            out.extend_from_slice(&key.request);
        }
    }
    put_text(out, entry.reference.as_str());
}

/// One request may cause many entries: it is named once.
fn put_trace(out: &mut Vec<u8>, previous: Option<&Trace>, trace: &Trace) {
    let is_same = previous == Some(trace);
    out.push(u8::from(!is_same));
    if !is_same {
        let Trace { request_id, trace_id } = trace;
        put_text(out, request_id.as_str());
        put_text(out, trace_id.as_str());
    }
}

fn kind_code(kind: &EntryKind) -> u8 {
    match kind {
        EntryKind::Opened => 1,
        EntryKind::Deposit => 2,
        EntryKind::Withdrawal => 3,
        EntryKind::TransferOut { .. } => 4,
        EntryKind::TransferIn { .. } => 5,
        EntryKind::TransferSettled { .. } => 6,
        EntryKind::TransferReturned { .. } => 7,
        EntryKind::TransferRefused { .. } => 8,
        EntryKind::Frozen => 9,
        EntryKind::Unfrozen => 10,
        EntryKind::Closed => 11,
        EntryKind::Moved { .. } => 12,
        EntryKind::HoldPlaced { .. } => 13,
        EntryKind::HoldCaptured { .. } => 14,
        EntryKind::HoldVoided { .. } => 15,
        EntryKind::HoldExpired { .. } => 16,
        EntryKind::DepositReversed { .. } => 17,
        EntryKind::WithdrawalReversed { .. } => 18,
        EntryKind::Batch { .. } => 19,
        EntryKind::Erased => 20,
    }
}

const OUTCOMES: [ItemOutcome; 9] = [
    ItemOutcome::Done,
    ItemOutcome::DoneBefore,
    ItemOutcome::InsufficientBalance,
    ItemOutcome::BalanceLimit,
    ItemOutcome::NoOpenHold,
    ItemOutcome::AboveHold,
    ItemOutcome::TooManyHolds,
    ItemOutcome::ExpiryPassed,
    ItemOutcome::KeyReused,
];

fn outcome_code(outcome: ItemOutcome) -> u8 {
    let place = OUTCOMES.iter().position(|known| *known == outcome).and_then(|place| u8::try_from(place).ok());
    place.expect("every outcome is listed")
}

fn status_code(status: Status) -> u8 {
    match status {
        Status::Active => 1,
        Status::Frozen => 2,
        Status::Closed => 3,
        Status::Erased => 4,
    }
}

fn status_of(code: u8) -> Result<Status, DecodeError> {
    match code {
        1 => Ok(Status::Active),
        2 => Ok(Status::Frozen),
        3 => Ok(Status::Closed),
        4 => Ok(Status::Erased),
        _ => Err(DecodeError::Invalid("wallet status")),
    }
}

fn reason_code(reason: CreditRefusal) -> u8 {
    match reason {
        CreditRefusal::WalletFrozen => 1,
        CreditRefusal::WalletClosed => 2,
        CreditRefusal::BalanceLimit => 3,
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(DecodeError::Length)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        self.take(N)?.try_into().map_err(|_| DecodeError::Length)
    }

    fn byte(&mut self) -> Result<u8, DecodeError> {
        Ok(self.array::<1>()?[0])
    }

    fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    fn timestamp(&mut self) -> Result<Timestamp, DecodeError> {
        Ok(Timestamp::from_micros(i64::from_be_bytes(self.array()?)))
    }

    fn uuid(&mut self) -> Result<Uuid, DecodeError> {
        Ok(Uuid::from_bytes(self.array()?))
    }

    fn wallet(&mut self) -> Result<WalletId, DecodeError> {
        self.uuid().map(WalletId::from_uuid)
    }

    fn text(&mut self) -> Result<&'a str, DecodeError> {
        let length = usize::from(self.byte()?);
        std::str::from_utf8(self.take(length)?).map_err(|_| DecodeError::Invalid("UTF-8 text"))
    }

    fn short_text(&mut self) -> Result<ShortText, DecodeError> {
        self.text().map(|text| ShortText::cut(text, ShortText::MAX_BYTES))
    }

    fn cell(&mut self) -> Result<CellId, DecodeError> {
        CellId::parse(self.text()?).map_err(|_| DecodeError::Invalid("cell id"))
    }

    fn reason(&mut self) -> Result<CreditRefusal, DecodeError> {
        match self.byte()? {
            1 => Ok(CreditRefusal::WalletFrozen),
            2 => Ok(CreditRefusal::WalletClosed),
            3 => Ok(CreditRefusal::BalanceLimit),
            _ => Err(DecodeError::Invalid("refusal reason")),
        }
    }

    fn kind(&mut self, code: u8) -> Result<EntryKind, DecodeError> {
        Ok(match code {
            1 => EntryKind::Opened,
            2 => EntryKind::Deposit,
            3 => EntryKind::Withdrawal,
            4 => EntryKind::TransferOut { to: self.wallet()?, reverses: self.reverses()? },
            5 => EntryKind::TransferIn { from: self.wallet()? },
            6 => EntryKind::TransferSettled { transfer: self.uuid()? },
            7 => EntryKind::TransferReturned { transfer: self.uuid()?, reason: self.reason()? },
            8 => EntryKind::TransferRefused { transfer: self.uuid()?, from: self.wallet()?, reason: self.reason()? },
            9 => EntryKind::Frozen,
            10 => EntryKind::Unfrozen,
            11 => EntryKind::Closed,
            12 => EntryKind::Moved { from: self.cell()?, to: self.cell()?, epoch: self.u64()? },
            13 => EntryKind::HoldPlaced { expires_at: self.timestamp()? },
            14 => EntryKind::HoldCaptured { hold: self.uuid()? },
            15 => EntryKind::HoldVoided { hold: self.uuid()? },
            16 => EntryKind::HoldExpired { hold: self.uuid()? },
            17 => EntryKind::DepositReversed { of: self.uuid()? },
            18 => EntryKind::WithdrawalReversed { of: self.uuid()? },
            19 => EntryKind::Batch { outcomes: self.outcomes()? },
            20 => EntryKind::Erased,
            _ => return Err(DecodeError::Invalid("entry kind")),
        })
    }

    fn outcomes(&mut self) -> Result<Vec<ItemOutcome>, DecodeError> {
        let count = u16::from_be_bytes(self.array()?);
        let outcome = |code: &u8| OUTCOMES.get(usize::from(*code)).copied().ok_or(DecodeError::Invalid("outcome"));
        self.take(usize::from(count))?.iter().map(outcome).collect()
    }

    fn reverses(&mut self) -> Result<Option<Uuid>, DecodeError> {
        match self.byte()? {
            0 => Ok(None),
            1 => self.uuid().map(Some),
            _ => Err(DecodeError::Invalid("reversal flag")),
        }
    }

    fn hold(&mut self) -> Result<Hold, DecodeError> {
        Ok(Hold { id: self.uuid()?, amount: Money::from_minor(self.u64()?), expires_at: self.timestamp()? })
    }

    /// The personal part, if it is the one that the bytes name.
    fn sealed(&mut self, stored: Option<&[u8]>) -> Result<Option<Sealed>, DecodeError> {
        let digest = match self.byte()? {
            0 => None,
            1 => Some(Hash(self.array()?)),
            _ => return Err(DecodeError::Invalid("personal flag")),
        };
        let sealed = stored.map(|bytes| Sealed::from_bytes(bytes.to_vec()));
        let is_named = sealed.as_ref().map(Sealed::digest) == digest;
        is_named.then_some(sealed).ok_or(DecodeError::Personal)
    }

    fn trace(&mut self, previous: Option<&Trace>) -> Result<Trace, DecodeError> {
        match (self.byte()?, previous) {
            (0, Some(previous)) => return Ok(previous.clone()),
            (1, _) => {}
            _ => return Err(DecodeError::Invalid("trace flag")),
        }
        let trace = Trace { request_id: self.short_text()?, trace_id: self.short_text()? };
        if previous == Some(&trace) {
            return Err(DecodeError::Invalid("trace flag"));
        }
        Ok(trace)
    }

    fn entry(&mut self, previous: Option<&Entry>) -> Result<Entry, DecodeError> {
        let code = self.byte()?;
        let id = self.uuid()?;
        let amount = Money::from_minor(self.u64()?);
        let balance_after = Money::from_minor(self.u64()?);
        let kind = self.kind(code)?;
        let key = match self.byte()? {
            0 => None,
            1 => Some(Key { key: self.array()?, request: self.array()? }),
            _ => return Err(DecodeError::Invalid("key flag")),
        };
        let reference = self.short_text()?;
        let trace = self.trace(previous.map(|entry| &entry.trace))?;
        Ok(Entry { id, kind, amount, balance_after, key, reference, trace })
    }
}

#[cfg(test)]
mod tests;
