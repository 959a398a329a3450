//! What each cell takes, what it is asked for, what is left, and when the next cell is due.
//!
//! It must never decide anything by itself: cells are added by people.

use std::collections::BTreeMap;

use control_api::capacity::{Capacity, CellCapacity};
use control_api::{CellSpec, CellView};
use futures_util::future::join_all;
use store::dynamodb::TABLES;
use topology::wire::HotWallet;
use topology::{CellState, Placement, WalletId};

use crate::cells::fleet::Fleet;
use crate::error::Result;
use crate::lifecycle::registration;

/// Hot wallets of one cell that are reported.
const HOT_MAX: usize = 5;
/// Of what all serving cells take together, so that one cell's customers fit into the others while it is being emptied, and
/// load may rise while the next cell is prepared.
const DUE_TPS_PERCENT: f64 = 70.0;
const DUE_CUSTOMERS_PERCENT: f64 = 80.0;
/// Of what a single cell takes: then its neighbours should take some of it.
const UNEVEN_PERCENT: f64 = 85.0;
/// Of one wallet, of what its cell takes: moving others does not help it.
const HOT_PERCENT: f64 = 20.0;

pub async fn capacity(fleet: &Fleet) -> Result<Capacity> {
    let views = registration::list(fleet).await?.into_iter().filter(|view| view.state != CellState::Removed);
    let all = join_all(views.map(|view| of_cell(fleet, view))).await;
    Ok(summed(all))
}

async fn of_cell(fleet: &Fleet, view: CellView) -> CellCapacity {
    let load = fleet.loads.of(&view.id);
    let hot = join_all(view.instances.iter().map(|instance| fleet.instances.hot_wallets(instance))).await;
    CellCapacity {
        bytes: bytes(fleet, &view).await,
        cell: view.id,
        state: view.state,
        max_tps: view.max_tps,
        writes_per_second: load.map(|load| load.writes_per_second),
        requests_per_second: load.map(|load| load.requests_per_second),
        max_customers: view.max_customers,
        customers: view.customers,
        hot: hottest(hot.into_iter().flatten().flatten()),
    }
}

/// `None` where some table does not answer.
async fn bytes(fleet: &Fleet, view: &CellView) -> Option<u64> {
    let client = fleet.cell_client(&view.dynamodb).await;
    let mut sum = 0_u64;
    for table in TABLES {
        let described =
            client.describe_table().table_name(format!("{}{table}", view.dynamodb.table_prefix)).send().await;
        let bytes = described.ok()?.table?.table_size_bytes?;
        sum = sum.saturating_add(u64::try_from(bytes).ok()?);
    }
    Some(sum)
}

fn hottest(wallets: impl Iterator<Item = HotWallet>) -> Vec<HotWallet> {
    let mut sums: BTreeMap<WalletId, f64> = BTreeMap::new();
    for hot in wallets {
        *sums.entry(hot.wallet).or_default() += hot.writes_per_second;
    }
    let hot = |(wallet, writes_per_second)| HotWallet { wallet, writes_per_second };
    let mut all: Vec<HotWallet> = sums.into_iter().map(hot).collect();
    all.sort_by(|a, b| b.writes_per_second.total_cmp(&a.writes_per_second));
    all.truncate(HOT_MAX);
    all
}

fn summed(cells: Vec<CellCapacity>) -> Capacity {
    let serving = || cells.iter().filter(|cell| is_serving(cell.state));
    let capacity = Capacity {
        max_tps: serving().map(|cell| u64::from(cell.max_tps)).sum(),
        writes_per_second: serving().map(|cell| cell.writes_per_second).sum(),
        max_customers: serving().map(|cell| cell.max_customers).sum(),
        customers: serving().map(|cell| cell.customers).sum(),
        advice: vec![],
        cells,
    };
    let advice = advice(&capacity);
    Capacity { advice, ..capacity }
}

/// Of what all serving cells take, the part that is used, which trends are made of; and of each, its customers.
pub fn show_used(fleet: &Fleet, specs: &[CellSpec], placement: &Placement) {
    let serving =
        || specs.iter().filter(|spec| placement.cell_named(&spec.id).is_some_and(|cell| is_serving(cell.state)));
    let customers = serving().map(|spec| fleet.counts.of(&spec.id)).sum::<Option<u64>>();
    let writes = serving().map(|spec| Some(fleet.loads.of(&spec.id)?.writes_per_second)).sum::<Option<f64>>();
    let most = serving().map(|spec| spec.max_customers).sum();
    for spec in serving() {
        let held = fleet.counts.of(&spec.id).and_then(|held| percent(held as f64, spec.max_customers));
        if let Some(held) = held {
            metrics::gauge!("control_plane_cell_customers_ratio", "cell" => spec.id.to_string()).set(held / 100.0);
        }
    }
    show("customers", customers.map(|customers| customers as f64), most);
    show("writes", writes, serving().map(|spec| u64::from(spec.max_tps)).sum());
}

fn show(of: &'static str, used: Option<f64>, most: u64) {
    if let Some(percent) = used.and_then(|used| percent(used, most)) {
        metrics::gauge!("control_plane_capacity_used_ratio", "of" => of).set(percent / 100.0);
    }
}

fn is_serving(state: CellState) -> bool {
    matches!(state, CellState::Active | CellState::Draining)
}

fn percent(part: f64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part * 100.0 / whole as f64)
}

fn advice(capacity: &Capacity) -> Vec<String> {
    let mut advice = Vec::new();
    let due = |what: &str, part: Option<f64>, whole: u64, due: f64| {
        let percent = percent(part?, whole).filter(|percent| *percent >= due)?;
        Some(format!("add a cell now: all cells together are at {percent:.0} % of their {what}; {due:.0} % is when to"))
    };
    advice.extend(due("writes a second", capacity.writes_per_second, capacity.max_tps, DUE_TPS_PERCENT));
    let customers = capacity.customers.map(|customers| customers as f64);
    advice.extend(due("customers", customers, capacity.max_customers, DUE_CUSTOMERS_PERCENT));
    for cell in &capacity.cells {
        let used = cell.writes_per_second.and_then(|writes| percent(writes, cell.max_tps.into()));
        if let Some(used) = used.filter(|used| *used >= UNEVEN_PERCENT) {
            advice.push(format!(
                "{} is at {used:.0} % of its writes a second: lower its weight and rebalance",
                cell.cell
            ));
        }
        let held = cell.customers.and_then(|customers| percent(customers as f64, cell.max_customers));
        if let Some(held) = held.filter(|held| *held >= UNEVEN_PERCENT) {
            advice.push(format!("{} is at {held:.0} % of its customers: lower its weight and rebalance", cell.cell));
        }
        for hot in &cell.hot {
            if let Some(share) =
                percent(hot.writes_per_second, cell.max_tps.into()).filter(|share| *share >= HOT_PERCENT)
            {
                advice.push(format!(
                    "wallet {} alone takes {share:.0} % of {}: its payer should send batches, or pin it to a cell of its own",
                    hot.wallet, cell.cell
                ));
            }
        }
    }
    advice
}

#[cfg(test)]
mod tests {
    use topology::CellId;
    use uuid::Uuid;

    use super::*;

    fn cell(name: &str, writes: Option<f64>, customers: Option<u64>) -> CellCapacity {
        CellCapacity {
            cell: CellId::parse(name).expect("sound"),
            state: CellState::Active,
            max_tps: 1_000,
            writes_per_second: writes,
            requests_per_second: writes,
            max_customers: 100,
            customers,
            bytes: Some(1),
            hot: vec![],
        }
    }

    fn advice_on(cells: Vec<CellCapacity>) -> String {
        summed(cells).advice.join("\n")
    }

    #[test]
    fn a_cell_is_due_before_the_others_are_full() {
        assert_eq!(advice_on(vec![cell("a", Some(690.0), Some(10)), cell("b", Some(700.0), Some(10))]), "");
        assert!(
            advice_on(vec![cell("a", Some(700.0), Some(10)), cell("b", Some(700.0), Some(10))])
                .contains("70 % of their")
        );
        assert!(advice_on(vec![cell("a", Some(0.0), Some(80)), cell("b", Some(0.0), Some(80))]).contains("customers"));
        assert!(
            advice_on(vec![cell("a", Some(900.0), Some(10)), cell("b", Some(0.0), Some(10))]).contains("a is at 90 %")
        );
        assert_eq!(advice_on(vec![cell("a", None, None), cell("b", Some(900.0), Some(10))]).lines().count(), 1);
    }

    #[test]
    fn what_no_further_cell_would_help_is_told_apart() {
        let wallet = WalletId::from_uuid(Uuid::from_u128(7));
        let hot = hottest([100.0, 150.0].into_iter().map(|rate| HotWallet { wallet, writes_per_second: rate }));
        assert_eq!(hot.len(), 1, "what its processes tell of one wallet is one");
        let one = CellCapacity { hot, ..cell("a", Some(300.0), Some(1)) };
        assert!(advice_on(vec![one]).contains("alone takes 25 % of a"));
    }

    #[test]
    fn a_cell_that_takes_nobody_does_not_count() {
        let joining = CellCapacity { state: CellState::Joining, ..cell("b", Some(0.0), Some(0)) };
        let capacity = summed(vec![cell("a", Some(5.0), Some(1)), joining]);
        assert_eq!((capacity.max_tps, capacity.max_customers, capacity.customers), (1_000, 100, Some(1)));
    }
}
