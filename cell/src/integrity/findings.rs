//! Findings as rows of the cell: one for each place that was found broken, however often and by
//! whichever instance. Never deleted.

use ledger::Timestamp;
use store::verify::Break;
use store::{CellRow, Store, StoreError};
use topology::finding::FINDINGS;
use topology::{CellId, Finding, WalletId};

use super::shown;

const PAGE: usize = 256;
/// Findings in one answer.
pub const MAX_LISTED: usize = 10_000;
/// How often a finding is written again after another instance wrote it at the same moment.
const MAX_RACES: usize = 8;

pub struct Findings<'a, S> {
    store: &'a S,
    cell: &'a CellId,
}

impl<'a, S: Store> Findings<'a, S> {
    pub fn new(store: &'a S, cell: &'a CellId) -> Self {
        Self { store, cell }
    }

    pub async fn record(
        &self,
        wallet: Option<WalletId>,
        found: &Break,
        response: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let of = wallet.map_or_else(|| "log".to_owned(), |wallet| wallet.to_string());
        let key = format!("{of}#{}", found.place);
        for _ in 0..MAX_RACES {
            let row = self.store.cell_row(FINDINGS, &key).await?;
            let expected = row.as_ref().map(|row| row.version);
            let before = row.and_then(|row| serde_json::from_slice::<Finding>(&row.bytes).ok());
            let finding = Finding {
                cell: self.cell.clone(),
                wallet,
                place: found.place.clone(),
                block: found.block,
                what: found.what.clone(),
                first_seen: before.as_ref().map_or_else(|| shown(now), |before| before.first_seen.clone()),
                last_seen: shown(now),
                times: before.map_or(0, |before| before.times) + 1,
                response: response.to_owned(),
            };
            let bytes = serde_json::to_vec(&finding).expect("plain data");
            let row = CellRow { version: expected.unwrap_or(0) + 1, bytes };
            if self.store.put_cell_row(FINDINGS, &key, expected, &row).await? {
                return Ok(());
            }
        }
        Err(StoreError::Unavailable(format!("the finding {key} was written by others at every attempt")))
    }
}

/// All findings, by wallet and place.
pub async fn list<S: Store>(store: &S) -> Result<Vec<Finding>, StoreError> {
    let mut findings = Vec::new();
    let mut after: Option<String> = None;
    while findings.len() < MAX_LISTED {
        let rows = store.cell_rows(FINDINGS, after.as_deref(), false, PAGE).await?;
        let Some((last, _)) = rows.last() else { break };
        after = Some(last.clone());
        for (key, row) in rows {
            let finding = serde_json::from_slice(&row.bytes);
            findings.push(finding.map_err(|error| StoreError::Corrupt(format!("finding {key}: {error}")))?);
        }
    }
    Ok(findings)
}
