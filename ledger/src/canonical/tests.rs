//! One block, one encoding: what is written is read, and nothing else is.

use super::*;
use proptest::prelude::*;

fn any_kind() -> impl Strategy<Value = EntryKind> {
    let id = any::<u128>().prop_map(Uuid::from_u128);
    let wallet = any::<u128>().prop_map(|n| WalletId::from_uuid(Uuid::from_u128(n)));
    let reason = prop_oneof![Just(CreditRefusal::WalletFrozen), Just(CreditRefusal::BalanceLimit)];
    let cell = "[a-z][a-z0-9-]{0,30}".prop_filter_map("a reserved name", |name| CellId::parse(name).ok());
    prop_oneof![
        Just(EntryKind::Opened),
        Just(EntryKind::Deposit),
        Just(EntryKind::Withdrawal),
        (wallet.clone(), proptest::option::of(id.clone()))
            .prop_map(|(to, reverses)| EntryKind::TransferOut { to, reverses }),
        wallet.clone().prop_map(|from| EntryKind::TransferIn { from }),
        id.clone().prop_map(|transfer| EntryKind::TransferSettled { transfer }),
        (id.clone(), reason.clone()).prop_map(|(transfer, reason)| EntryKind::TransferReturned { transfer, reason }),
        (id.clone(), wallet, reason).prop_map(|(transfer, from, reason)| EntryKind::TransferRefused {
            transfer,
            from,
            reason
        }),
        Just(EntryKind::Frozen),
        Just(EntryKind::Unfrozen),
        Just(EntryKind::Closed),
        Just(EntryKind::Erased),
        (cell.clone(), cell, any::<u64>()).prop_map(|(from, to, epoch)| EntryKind::Moved { from, to, epoch }),
        any::<i64>().prop_map(|at| EntryKind::HoldPlaced { expires_at: Timestamp::from_micros(at) }),
        id.clone().prop_map(|hold| EntryKind::HoldCaptured { hold }),
        id.clone().prop_map(|hold| EntryKind::HoldVoided { hold }),
        id.clone().prop_map(|hold| EntryKind::HoldExpired { hold }),
        id.clone().prop_map(|of| EntryKind::DepositReversed { of }),
        id.prop_map(|of| EntryKind::WithdrawalReversed { of }),
        proptest::collection::vec(0..OUTCOMES.len(), 0..9)
            .prop_map(|codes| EntryKind::Batch { outcomes: codes.into_iter().map(|code| OUTCOMES[code]).collect() }),
    ]
}

prop_compose! {
    fn any_entry()(
        id in any::<u128>(), kind in any_kind(), amount in any::<u64>(), after in any::<u64>(),
        key in proptest::option::of((any::<[u8; 16]>(), any::<[u8; 16]>())),
        texts in prop_oneof![Just(Default::default()), proptest::array::uniform3("\\PC{0,80}")],
    ) -> Entry {
        let [reference, request_id, trace_id] = texts.map(|text| ShortText::cut(&text, 255));
        Entry {
            id: Uuid::from_u128(id), kind, amount: Money::from_minor(amount), balance_after: Money::from_minor(after),
            key: key.map(|(key, request)| Key { key, request }),
            reference, trace: Trace { request_id, trace_id },
        }
    }
}

prop_compose! {
    fn any_block()(
        wallet in any::<u128>(), number in any::<u64>(), previous in any::<[u8; 32]>(), at in any::<i64>(),
        sealed in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..90)), created in any::<i64>(), balance in any::<u64>(),
        entries in proptest::collection::vec(any_entry(), 0..6), open in any::<(u32, u64)>(),
        holds in proptest::collection::vec((any::<u128>(), any::<u64>(), any::<i64>()), 0..4),
    ) -> Block {
        let holds = holds.into_iter().map(|(id, amount, expires)| Hold {
            id: Uuid::from_u128(id), amount: Money::from_minor(amount), expires_at: Timestamp::from_micros(expires),
        }).collect();
        let mut block = Block {
            wallet: WalletId::from_uuid(Uuid::from_u128(wallet)), number, previous: Hash(previous),
            at: Timestamp::from_micros(at), home: CellId::parse("cell-1").expect("sound"),
            state: WalletState {
                created_at: Timestamp::from_micros(created),
                balance: Money::from_minor(balance), status: Status::Active, open_count: open.0, open_since: open.1, holds,
            },
            entries, sealed: sealed.map(Sealed::from_bytes), hash: Hash::ZERO,
        };
        block.hash = hash(&encode(&block));
        block
    }
}

/// Reads bytes beside the personal part of `block`.
fn read(bytes: &[u8], block: &Block) -> Result<Block, DecodeError> {
    decode(bytes, block.sealed.as_ref().map(Sealed::as_bytes))
}

proptest! {
    #[test]
    fn another_personal_part_is_refused(block in any_block(), other in proptest::option::of(any::<[u8; 9]>())) {
        let other = other.as_ref().map(|bytes| bytes.as_slice());
        if other != block.sealed.as_ref().map(Sealed::as_bytes) {
            prop_assert_eq!(decode(&encode(&block), other), Err(DecodeError::Personal));
        }
    }

    #[test]
    fn a_block_reads_back_as_it_was(block in any_block()) {
        prop_assert_eq!(from_text(&to_text(&block)), Ok(block.clone()));
        prop_assert_eq!(read(&encode(&block), &block), Ok(block));
    }

    #[test]
    fn a_changed_byte_is_another_block_or_none(block in any_block(), position in any::<usize>(), flip in 1..=255u8) {
        let mut bytes = encode(&block);
        let position = position % bytes.len();
        bytes[position] ^= flip;
        if let Ok(other) = read(&bytes, &block) {
            prop_assert_ne!(other.hash, block.hash);
            prop_assert_eq!(encode(&other), bytes, "one block has one encoding");
        }
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), text in "[0-9a-fx.]{0,40}") {
        let _ = decode(&bytes, None);
        let _ = from_text(&text);
    }
}
