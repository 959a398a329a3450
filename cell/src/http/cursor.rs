//! Opaque cursors of transaction listings. Bound to the wallet and checked, so that one of another wallet, or a
//! made-up one, is refused instead of giving a wrong page.

use sha2::{Digest, Sha256};
use topology::WalletId;

use crate::reads::history::Position;

const TAG_BYTES: usize = 6;
const BYTES: usize = 8 + 2 + TAG_BYTES;

pub fn encode(wallet: WalletId, position: Position) -> String {
    let tag = tag(wallet, position);
    let bytes = position.block.to_be_bytes().into_iter().chain(position.entry.to_be_bytes()).chain(tag);
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

pub fn decode(wallet: WalletId, text: &str) -> Option<Position> {
    if text.len() != 2 * BYTES || !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let bytes: Vec<u8> = (0..BYTES).map_while(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()).collect();
    let position = Position {
        block: u64::from_be_bytes(bytes.get(..8)?.try_into().ok()?),
        entry: u16::from_be_bytes(bytes.get(8..10)?.try_into().ok()?),
    };
    (tag(wallet, position) == bytes[10..]).then_some(position)
}

fn tag(wallet: WalletId, position: Position) -> [u8; TAG_BYTES] {
    let mut hash = Sha256::new();
    hash.update(b"transactions cursor 1");
    hash.update(wallet.as_bytes());
    hash.update(position.block.to_be_bytes());
    hash.update(position.entry.to_be_bytes());
    let digest: [u8; 32] = hash.finalize().into();
    let mut tag = [0; TAG_BYTES];
    tag.copy_from_slice(&digest[..TAG_BYTES]);
    tag
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn a_cursor_holds_for_its_own_wallet_only() {
        let (ann, bob) = (WalletId::from_uuid(Uuid::from_u128(1)), WalletId::from_uuid(Uuid::from_u128(2)));
        let position = Position { block: 77, entry: 3 };
        let text = encode(ann, position);
        assert_eq!(decode(ann, &text), Some(position));
        assert_eq!(decode(bob, &text), None);
        for wrong in ["", "zz", &text[1..], &text.replace('0', "1"), &text.to_uppercase()] {
            assert!(wrong == text || decode(ann, wrong).is_none(), "{wrong}");
        }
    }
}
