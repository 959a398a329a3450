//! A chain as text, for checks without this software: one JSON object a block, with the canonical
//! bytes that the hash is made of. `docs/ledger-format.md` says how to read them.

use std::io::{self, Write};

use ledger::{Block, canonical};
use serde_json::json;
use store::{BlockRange, Store, StoreError};
use topology::WalletId;

/// Blocks asked for in one page.
const PAGE_BLOCKS: usize = 256;

#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot write: {0}")]
    Write(#[from] io::Error),
}

/// Writes the whole chain in order and returns the number of its blocks.
pub async fn export<S: Store>(store: &S, wallet: WalletId, out: &mut impl Write) -> Result<u64, ExportError> {
    let mut first = 0;
    loop {
        let page = store.blocks(wallet, BlockRange { first, last: u64::MAX, newest_first: false }, PAGE_BLOCKS).await?;
        let Some(last) = page.last() else { return Ok(first) };
        first = last.number + 1;
        for block in &page {
            writeln!(out, "{}", line(block))?;
        }
    }
}

/// One block. Its personal part stays encrypted: reading it takes the wallet's key.
pub fn line(block: &Block) -> serde_json::Value {
    let bytes = canonical::hex(&canonical::encode(block));
    let mut line =
        json!({ "wallet": block.wallet, "number": block.number, "hash": block.hash.to_string(), "canonical": bytes });
    if let Some(sealed) = &block.sealed {
        line["sealed"] = canonical::hex(sealed.as_bytes()).into();
    }
    line
}
