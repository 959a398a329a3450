//! How verification, findings and checkpoints look to people.

use command_line::columns;
use control_api::ledgers::{BreakView, CheckpointView, VerifiedPage};
use topology::{Finding, WalletId};

/// Characters of a hash that are shown.
const HASH_SHOWN: usize = 16;

fn wallet(wallet: Option<WalletId>) -> String {
    wallet.map_or_else(|| "-".to_owned(), |wallet| wallet.to_string())
}

fn breaks(found: &[BreakView]) -> String {
    if found.is_empty() {
        return String::new();
    }
    let row = |one: &BreakView| vec![one.cell.to_string(), wallet(one.wallet), one.place.clone(), one.what.clone()];
    columns(&["CELL", "WALLET", "PLACE", "WHAT"], &found.iter().map(row).collect::<Vec<_>>())
}

pub fn verified(page: &VerifiedPage) -> String {
    let VerifiedPage { wallets, blocks, rows, breaks: found, .. } = page;
    format!("{}{wallets} wallets verified: {blocks} blocks, {rows} rows, {} breaks\n", breaks(found), found.len())
}

pub fn checkpoints_verified(page: &VerifiedPage) -> String {
    let VerifiedPage { wallets, checkpoints, leaves, breaks: found, .. } = page;
    let found_text = breaks(found);
    format!(
        "{found_text}{checkpoints} checkpoints verified: {leaves} leaves of {wallets} wallets, {} breaks\n",
        found.len()
    )
}

pub fn findings(findings: &[Finding]) -> String {
    let row = |one: &Finding| {
        vec![
            one.last_seen.clone(),
            one.cell.to_string(),
            wallet(one.wallet),
            one.place.clone(),
            one.times.to_string(),
            one.response.clone(),
            one.what.clone(),
        ]
    };
    let header = ["LAST SEEN", "CELL", "WALLET", "PLACE", "TIMES", "RESPONSE", "WHAT"];
    columns(&header, &findings.iter().map(row).collect::<Vec<_>>())
}

pub fn checkpoints(checkpoints: &[CheckpointView]) -> String {
    let row = |one: &CheckpointView| {
        let signed = match one.signed {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "no key",
        };
        vec![
            one.cell.to_string(),
            one.number.to_string(),
            one.leaves.to_string(),
            one.root_hash.chars().take(HASH_SHOWN).collect(),
            one.at.clone(),
            signed.to_owned(),
        ]
    };
    let header = ["CELL", "CHECKPOINT", "LEAVES", "ROOT", "AT", "SIGNED"];
    columns(&header, &checkpoints.iter().map(row).collect::<Vec<_>>())
}
