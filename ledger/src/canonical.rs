//! The canonical bytes of a block: what is stored, what is hashed, and what anyone can check offline. The layout is
//! written down byte by byte in `docs/ledger-format.md`; change both together and raise [`VERSION`].
//!
//! One block has exactly one encoding: [`decode`] refuses anything that [`encode`] would not have written.

use sha2::{Digest, Sha256};
use topology::wire::CreditRefusal;
use topology::{CellId, UserId, WalletId};
use uuid::Uuid;

use crate::block::{Audit, Block, Entry, EntryKind, Hash, Key, Route, ShortText, Status, WalletState};
use crate::money::Money;
use crate::time::Timestamp;

/// First byte of every block.
pub const VERSION: u8 = 1;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("unknown format version {0}")]
    Version(u8),
    #[error("the bytes end too early or too late")]
    Length,
    #[error("not a {0}")]
    Invalid(&'static str),
}

/// The canonical bytes of everything in `block` but its hash.
pub fn encode(block: &Block) -> Vec<u8> {
    let mut out = Vec::with_capacity(160_usize.saturating_add(block.entries.len().saturating_mul(192)));
    out.push(VERSION);
    out.extend_from_slice(block.wallet.as_bytes());
    out.extend_from_slice(&block.number.to_be_bytes());
    out.extend_from_slice(&block.previous.0);
    out.extend_from_slice(&block.at.micros().to_be_bytes());
    put_text(&mut out, block.home.as_str());
    put_text(&mut out, block.state.user.as_str());
    out.extend_from_slice(&block.state.created_at.micros().to_be_bytes());
    out.push(status_code(block.state.status));
    out.extend_from_slice(&block.state.balance.minor().to_be_bytes());
    let count = u16::try_from(block.entries.len()).expect("a block holds at most 100 entries");
    out.extend_from_slice(&count.to_be_bytes());
    for entry in &block.entries {
        put_entry(&mut out, entry);
    }
    out
}

/// SHA-256 of canonical bytes.
pub fn hash(canonical: &[u8]) -> Hash {
    Hash(Sha256::digest(canonical).into())
}

/// Reads a block back; its hash is computed, not trusted.
pub fn decode(bytes: &[u8]) -> Result<Block, DecodeError> {
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
    let user = UserId::parse(input.text()?).map_err(|_| DecodeError::Invalid("user id"))?;
    let created_at = input.timestamp()?;
    let status = status_of(input.byte()?)?;
    let balance = Money::from_minor(input.u64()?);
    let count = u16::from_be_bytes(input.array()?);
    let entries = (0..count).map(|_| input.entry()).collect::<Result<Vec<_>, _>>()?;
    if !input.0.is_empty() {
        return Err(DecodeError::Length);
    }
    let state = WalletState { user, created_at, balance, status };
    Ok(Block { wallet, number, previous, at, home, state, entries, hash: hash(bytes) })
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
        EntryKind::TransferOut { to: other, route } | EntryKind::TransferIn { from: other, route } => {
            out.extend_from_slice(other.as_bytes());
            out.push(match route {
                Route::Inside => 0,
                Route::Across => 1,
            });
        }
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
        EntryKind::Opened
        | EntryKind::Deposit
        | EntryKind::Withdrawal
        | EntryKind::Frozen
        | EntryKind::Unfrozen
        | EntryKind::Closed => {}
    }
    match &entry.key {
        None => out.push(0),
        Some(key) => {
            out.push(1);
            out.extend_from_slice(&key.key);
            out.extend_from_slice(&key.request);
        }
    }
    let Audit { source_ip, user_agent, request_id, actor } = &entry.audit;
    for text in [source_ip, user_agent, request_id, actor] {
        put_text(out, text.as_str());
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
    }
}

fn status_code(status: Status) -> u8 {
    match status {
        Status::Active => 1,
        Status::Frozen => 2,
        Status::Closed => 3,
    }
}

fn status_of(code: u8) -> Result<Status, DecodeError> {
    match code {
        1 => Ok(Status::Active),
        2 => Ok(Status::Frozen),
        3 => Ok(Status::Closed),
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

    fn route(&mut self) -> Result<Route, DecodeError> {
        match self.byte()? {
            0 => Ok(Route::Inside),
            1 => Ok(Route::Across),
            _ => Err(DecodeError::Invalid("transfer route")),
        }
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
            4 => EntryKind::TransferOut { to: self.wallet()?, route: self.route()? },
            5 => EntryKind::TransferIn { from: self.wallet()?, route: self.route()? },
            6 => EntryKind::TransferSettled { transfer: self.uuid()? },
            7 => EntryKind::TransferReturned { transfer: self.uuid()?, reason: self.reason()? },
            8 => EntryKind::TransferRefused { transfer: self.uuid()?, from: self.wallet()?, reason: self.reason()? },
            9 => EntryKind::Frozen,
            10 => EntryKind::Unfrozen,
            11 => EntryKind::Closed,
            12 => EntryKind::Moved { from: self.cell()?, to: self.cell()?, epoch: self.u64()? },
            _ => return Err(DecodeError::Invalid("entry kind")),
        })
    }

    fn entry(&mut self) -> Result<Entry, DecodeError> {
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
        let audit = Audit {
            source_ip: self.short_text()?,
            user_agent: self.short_text()?,
            request_id: self.short_text()?,
            actor: self.short_text()?,
        };
        Ok(Entry { id, kind, amount, balance_after, key, audit })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub fn any_kind() -> impl Strategy<Value = EntryKind> {
        let id = any::<u128>().prop_map(Uuid::from_u128);
        let wallet = any::<u128>().prop_map(|n| WalletId::from_uuid(Uuid::from_u128(n)));
        let route = prop_oneof![Just(Route::Inside), Just(Route::Across)];
        let reason = prop_oneof![Just(CreditRefusal::WalletFrozen), Just(CreditRefusal::BalanceLimit)];
        let cell = "[a-z][a-z0-9-]{0,30}".prop_map(|s| CellId::parse(s).expect("sound"));
        prop_oneof![
            Just(EntryKind::Opened),
            Just(EntryKind::Deposit),
            Just(EntryKind::Withdrawal),
            (wallet.clone(), route.clone()).prop_map(|(to, route)| EntryKind::TransferOut { to, route }),
            (wallet.clone(), route).prop_map(|(from, route)| EntryKind::TransferIn { from, route }),
            id.clone().prop_map(|transfer| EntryKind::TransferSettled { transfer }),
            (id.clone(), reason.clone())
                .prop_map(|(transfer, reason)| EntryKind::TransferReturned { transfer, reason }),
            (id, wallet, reason).prop_map(|(transfer, from, reason)| EntryKind::TransferRefused {
                transfer,
                from,
                reason
            }),
            Just(EntryKind::Frozen),
            Just(EntryKind::Unfrozen),
            Just(EntryKind::Closed),
            (cell.clone(), cell, any::<u64>()).prop_map(|(from, to, epoch)| EntryKind::Moved { from, to, epoch }),
        ]
    }

    prop_compose! {
        fn any_entry()(
            id in any::<u128>(), kind in any_kind(), amount in any::<u64>(), after in any::<u64>(),
            key in proptest::option::of((any::<[u8; 16]>(), any::<[u8; 16]>())),
            texts in proptest::array::uniform4("\\PC{0,80}"),
        ) -> Entry {
            let [source_ip, user_agent, request_id, actor] = texts.map(|text| ShortText::cut(&text, 255));
            Entry {
                id: Uuid::from_u128(id), kind, amount: Money::from_minor(amount), balance_after: Money::from_minor(after),
                key: key.map(|(key, request)| Key { key, request }),
                audit: Audit { source_ip, user_agent, request_id, actor },
            }
        }
    }

    prop_compose! {
        fn any_block()(
            wallet in any::<u128>(), number in any::<u64>(), previous in any::<[u8; 32]>(), at in any::<i64>(),
            user in "[ -~]{1,100}", created in any::<i64>(), balance in any::<u64>(),
            entries in proptest::collection::vec(any_entry(), 0..6),
        ) -> Block {
            let mut block = Block {
                wallet: WalletId::from_uuid(Uuid::from_u128(wallet)), number, previous: Hash(previous),
                at: Timestamp::from_micros(at), home: CellId::parse("cell-1").expect("sound"),
                state: WalletState {
                    user: UserId::parse(user).expect("sound"), created_at: Timestamp::from_micros(created),
                    balance: Money::from_minor(balance), status: Status::Active,
                },
                entries, hash: Hash::ZERO,
            };
            block.hash = hash(&encode(&block));
            block
        }
    }

    proptest! {
        #[test]
        fn a_block_reads_back_as_it_was(block in any_block()) {
            prop_assert_eq!(decode(&encode(&block)), Ok(block));
        }

        #[test]
        fn a_changed_byte_is_another_block_or_none(block in any_block(), position in any::<usize>(), flip in 1..=255u8) {
            let mut bytes = encode(&block);
            let position = position % bytes.len();
            bytes[position] ^= flip;
            if let Ok(other) = decode(&bytes) {
                prop_assert_ne!(other.hash, block.hash);
                prop_assert_eq!(encode(&other), bytes, "one block has one encoding");
            }
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = decode(&bytes);
        }
    }
}
