//! A cell's states that an operator asks for: drained, taken back into service, removed.
//!
//! It must never remove a cell that a wallet still lives in.

use control_api::{Because, CellSpec, CellView, Refusal, RemoveCell};
use mover::{Buckets, GROUP_BUCKETS, Group, Route};
use store::Chains;
use topology::placement::CellState;
use topology::{Bucket, CellEntry, CellId, Placement, WalletId};

use super::registration::show;
use crate::because::{check_because, check_meant};
use crate::cells::fleet::Fleet;
use crate::error::{Error, Result, no_placement, refused, unknown_cell};
use crate::operations;
use crate::operations::estimate::Looking;
use crate::operations::plan::state_name;
use crate::operations::service::Operations;
use crate::operations::step::with_state;
use crate::placement::placements::Delta;

/// Chains looked at before a cell is removed; one with more is first made to forget what was moved away.
const CHAINS_MAX: usize = 50_000;
/// Buckets listed at once: those with the same first two digits.
const LOOKED_AT: usize = 256;

/// The cell takes no new customers and keeps those it has.
pub async fn drain(fleet: &Fleet, id: &CellId, because: &Because) -> Result<CellView> {
    change(fleet, id, because, "cell_drained", &[CellState::Active, CellState::Joining], CellState::Draining).await
}

/// The cell takes new customers: again, or for the first time.
pub async fn undrain(fleet: &Fleet, id: &CellId, because: &Because) -> Result<CellView> {
    let from = [CellState::Draining, CellState::Empty, CellState::Joining];
    change(fleet, id, because, "cell_undrained", &from, CellState::Active).await
}

async fn change(
    fleet: &Fleet,
    id: &CellId,
    because: &Because,
    kind: &str,
    from: &[CellState],
    to: CellState,
) -> Result<CellView> {
    check_because(because)?;
    let decide = |placement: &Placement| {
        let cell = placement.cell_named(id).ok_or_else(|| unknown_cell(id))?;
        if cell.state != to && !from.contains(&cell.state) {
            let detail = format!("{id} is {}: it cannot become {}", state_name(cell.state), state_name(to));
            return Err(refused(Refusal::CellState, detail));
        }
        let cells = with_state(placement, id, from, to);
        Ok(cells.map(|cells| Delta { cells: Some(cells), ..Delta::default() }))
    };
    fleet.placements.change(kind, because, decide).await?;
    show(fleet, id).await
}

/// The cell is no more; its name and number are never given again.
pub async fn remove(operations: &Operations, id: &CellId, wanted: &RemoveCell) -> Result<CellView> {
    let fleet = &*operations.fleet;
    check_because(&wanted.because)?;
    let now = fleet.placements.refresh().await?.ok_or_else(no_placement)?;
    let cell = now.placement.cell_named(id).ok_or_else(|| unknown_cell(id))?;
    if cell.state != CellState::Removed {
        check_owns_nothing(&now.placement, cell)?;
        match wanted.force {
            true => check_meant(&wanted.because)?,
            false => check_no_wallets(fleet, id).await?,
        }
    }
    let decide = |placement: &Placement| {
        let cell = placement.cell_named(id).ok_or_else(|| unknown_cell(id))?;
        check_owns_nothing(placement, cell)?;
        if cell.state == CellState::Removed {
            return Ok(None);
        }
        let mut cells = placement.cells().to_vec();
        for cell in cells.iter_mut().filter(|cell| &cell.id == id) {
            (cell.state, cell.instances) = (CellState::Removed, vec![]);
        }
        Ok(Some(Delta { cells: Some(cells), ..Delta::default() }))
    };
    operations::check_nothing_moves(operations, id).await?;
    fleet.placements.change("cell_removed", &wanted.because, decide).await?;
    reopen(fleet, id).await?;
    if let Some(record) = fleet.registry.get(id).await? {
        fleet.registry.change(&record, &CellSpec { instances: vec![], ..record.spec.clone() }).await?;
    }
    show(fleet, id).await
}

/// Buckets that other cells had closed to hand them to the removed one are served again: a move that was given up because
/// its target did not answer leaves them closed.
async fn reopen(fleet: &Fleet, removed: &CellId) -> Result<()> {
    let now = fleet.placements.refresh().await?.ok_or_else(no_placement)?;
    for cell in now.placement.cells().iter().filter(|cell| cell.state != CellState::Removed) {
        let side = fleet.side(&cell.id).await?;
        let owned = |group: &Group| group.buckets().any(|bucket| now.placement.owner_of(bucket) == cell.index);
        let groups = Bucket::all().step_by(GROUP_BUCKETS).map(|first| {
            let last = first.0.saturating_add(u16::try_from(GROUP_BUCKETS - 1).expect("a small number"));
            Group { first, last: Bucket(last) }
        });
        for group in groups.filter(owned) {
            let buckets = Buckets { cell: &cell.id, store: &side.store, group };
            buckets.reopen_for_lost(removed).await.map_err(|error| {
                let detail = format!("{}: {error}. {removed} is removed; run the same command again", cell.id);
                refused(Refusal::CellTablesUnavailable, detail)
            })?;
        }
    }
    Ok(())
}

fn check_owns_nothing(placement: &Placement, cell: &CellEntry) -> Result<()> {
    let buckets = placement.owners().iter().filter(|&&owner| owner == cell.index).count();
    let pins = placement.pins().values().filter(|&&pinned| pinned == cell.index).count();
    if buckets + pins == 0 {
        return Ok(());
    }
    let detail = format!("{} owns {buckets} buckets and {pins} pinned wallets: `ctl cell evacuate {0}` first", cell.id);
    Err(not_empty(detail))
}

/// No chain in the cell's tables says that its home is this cell.
async fn check_no_wallets(fleet: &Fleet, id: &CellId) -> Result<()> {
    let side = fleet.side(id).await?;
    let route = Route { from: side.clone(), to: side };
    let looking = Looking::new(fleet);
    let mover = looking.mover(&route);
    let mut seen = 0;
    for first in Bucket::all().step_by(LOOKED_AT) {
        let group = Group { first, last: Bucket(first.0 | 0xff) };
        let mut after: Option<WalletId> = None;
        loop {
            let page = mover.wallets_at_source(group, after).await.map_err(|error| unreadable(id, &error))?;
            let Some(&last) = page.last() else { break };
            seen += page.len();
            if seen > CHAINS_MAX {
                let todo = "let it forget what was moved away (`ctl migrate forget`), or use --force with a --reason";
                return Err(not_empty(format!("{id} still stores more than {CHAINS_MAX} chains: {todo}")));
            }
            for &wallet in &page {
                let head = route.from.store.head(wallet).await.map_err(|error| unreadable(id, &error))?;
                if head.is_some_and(|head| &head.home == id) {
                    let todo = "`ctl migrate --wallet` moves it";
                    return Err(not_empty(format!("wallet {wallet} still lives in {id} by its chain: {todo}")));
                }
            }
            after = Some(last);
        }
    }
    Ok(())
}

fn not_empty(detail: String) -> Error {
    refused(Refusal::CellNotEmpty, detail)
}

fn unreadable(id: &CellId, error: &dyn std::fmt::Display) -> Error {
    let detail = format!("{id}: {error}. If its tables are gone for good, use --force with a --reason");
    Error::Refused(Refusal::CellTablesUnavailable.detail(detail).titled("The cell's tables could not be read"))
}
