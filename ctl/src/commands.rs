//! What each command does: one call of the API, printed.

use anyhow::Result;
use command_line::columns;
use http::Method;
use local_fleet::up;
use topology::PlacementUpdate;

use crate::api::{because, client};
use crate::flags::{Cell, Customer, Flags, Noun, Placement, Transfer, Wallet};
use crate::output::show;
use crate::{
    archive, cells, deploys, drill, ledger, load, local, log, operations, recovery, regions, tables, token, zones,
};

pub async fn run(flags: Flags) -> Result<()> {
    let common = &flags.common;
    match flags.noun {
        Noun::Up(wanted) => return up::run(&common.data, because(common), &wanted).await,
        Noun::Local(verb) => return local::run(common, &verb).await,
        Noun::Log(verb) => return log::run(common, &verb).await,
        Noun::Drill(verb) => return drill::run(common, &verb).await,
        Noun::Load(wanted) => return load::run(common, &wanted).await,
        Noun::Token(wanted) => return token::run(common, &wanted),
        Noun::Archive(verb) => return archive::run(common, verb).await,
        _ => {}
    }
    let api = client(common)?;
    match flags.noun {
        Noun::Up(_)
        | Noun::Local(_)
        | Noun::Log(_)
        | Noun::Load(_)
        | Noun::Drill(_)
        | Noun::Token(_)
        | Noun::Archive(_) => {
            unreachable!("handled above")
        }
        Noun::Cell(Cell::Add(wanted)) => cells::add(common, &api, &wanted).await,
        Noun::Cell(Cell::List) => {
            show(common, &api.get::<Vec<control_api::CellView>>(&["v1", "cells"]).await?, |c| tables::cells(c))
        }
        Noun::Cell(Cell::Show { id }) => {
            let cell: control_api::CellView = api.get(&["v1", "cells", id.as_str()]).await?;
            show(common, &cell, |cell| tables::cells(std::slice::from_ref(cell)))
        }
        Noun::Cell(Cell::Set(wanted)) => cells::set(common, &api, wanted).await,
        Noun::Cell(Cell::Standby { id }) => cells::standby(common, &api, &id).await,
        Noun::Cell(Cell::Drift) => cells::drift(common, &api).await,
        Noun::Cell(Cell::Drain { id }) => operations::set_cell(common, &api, &id, "drain").await,
        Noun::Cell(Cell::Undrain { id }) => operations::set_cell(common, &api, &id, "undrain").await,
        Noun::Cell(Cell::Evacuate(wanted)) => operations::evacuate(common, &api, wanted).await,
        Noun::Cell(Cell::Remove(wanted)) => operations::remove_cell(common, &api, &wanted).await,
        Noun::Cell(Cell::Export(wanted)) => recovery::export(common, &api, &wanted).await,
        Noun::Cell(Cell::Restore(wanted)) => recovery::restore(common, &api, &wanted).await,
        Noun::Cell(Cell::Failover(wanted)) => regions::fail_over(common, &api, wanted).await,
        Noun::Cell(Cell::Reconcile { id }) => regions::reconcile(common, &api, &id).await,
        Noun::Migrate(wanted) => operations::migrate(common, &api, *wanted).await,
        Noun::Rebalance(wanted) => operations::rebalance(common, &api, wanted.max_moves, &wanted.change).await,
        Noun::Deploy(verb) => deploys::run(common, &api, verb).await,
        Noun::Op(verb) => operations::op(common, &api, verb).await,
        Noun::Audit(wanted) => operations::audit(common, &api, &wanted).await,
        Noun::Wallet(verb) => {
            let (wallet, noun, verb) = match verb {
                Wallet::Freeze { wallet } => (wallet, "wallets", "freeze"),
                Wallet::Unfreeze { wallet } => (wallet, "wallets", "unfreeze"),
                Wallet::Close { wallet } => (wallet, "wallets", "close"),
                Wallet::Erase { wallet } => (wallet, "owners", "erase"),
            };
            let path = ["v1", noun, &wallet.to_string(), verb];
            let changed: serde_json::Value = api.send(Method::POST, &path, Some(&because(common))).await?;
            show(common, &changed, |wallet| {
                format!("{} is {}\n", wallet["walletId"], wallet["status"]).replace('"', "")
            })
        }
        Noun::Transfer(Transfer::Deliver { wallet, transfer }) => {
            let path = ["v1", "wallets", &wallet.to_string(), "transfers", &transfer.to_string(), "deliver"];
            let shown: serde_json::Value = api.send(Method::POST, &path, Some(&because(common))).await?;
            show(common, &shown, |transfer| {
                format!("{} is {}\n", transfer["transferId"], transfer["status"]).replace('"', "")
            })
        }
        Noun::Ledger(verb) => ledger::run(common, &api, verb).await,
        Noun::Zone(verb) => zones::run(common, &api, verb).await,
        Noun::Where(wanted) => {
            let (id, meant) = wanted.meant();
            let query: Vec<_> = meant.map(|meant| ("as", meant.to_owned())).into_iter().collect();
            show(common, &api.get_with::<control_api::Where>(&["v1", "where", &id], &query).await?, tables::place)
        }
        Noun::Customer(Customer::Onboard { user, cell, region }) => {
            let body = control_api::Onboard { user_id: user, cell, region, because: because(common) };
            let done: control_api::Customer = api.send(Method::POST, &["v1", "customers"], Some(&body)).await?;
            show(common, &done, tables::customer)
        }
        Noun::Customer(Customer::Show { user }) => {
            show(common, &api.get::<control_api::Customer>(&["v1", "customers", &user]).await?, tables::customer)
        }
        Noun::Placement(Placement::Get) => {
            let placement: PlacementUpdate = api.get(&["v1", "placement"]).await?;
            show(common, &placement, placement_table)
        }
        Noun::Placement(Placement::History { limit }) => {
            show(common, &api.history::<Vec<control_api::Change>>(limit).await?, |changes| tables::history(changes))
        }
        Noun::Capacity => {
            let capacity = api.get::<control_api::capacity::Capacity>(&["v1", "capacity"]).await?;
            show(common, &capacity, tables::capacity::capacity)
        }
        Noun::Status => show(common, &api.get::<control_api::Status>(&["v1", "status"]).await?, tables::status),
    }
}

fn placement_table(placement: &PlacementUpdate) -> String {
    let name = |index| {
        let found = placement.cells.iter().find(|cell| cell.index == index);
        found.map_or_else(|| "?".to_owned(), |cell| cell.id.to_string())
    };
    let runs = placement.buckets.iter().map(|run| vec![format!("{:04x}-{:04x}", run.first, run.last), name(run.cell)]);
    let pins = placement.pins.iter().filter_map(|pin| Some(vec![pin.wallet.to_string(), name(pin.cell?)]));
    let rows: Vec<_> = runs.chain(pins).collect();
    format!("{}placement version {}\n", columns(&["BUCKETS OR WALLET", "CELL"], &rows), placement.version)
}
