//! `ctl cell add`, `set` and `drift`: cells as they are registered.
//!
//! It must never start a process by itself: the local fleet does, or an operator.

use anyhow::Result;
use command_line::{CHANGES, silent};
use control_api::capacity::SetCapacity;
use control_api::{Client, Difference};
use http::Method;
use local_fleet::socket::{self, Started};
use topology::placement::InstanceEntry;
use topology::{CellId, InstanceId};

use crate::api::because;
use crate::flags::operations::{Change, Waiting};
use crate::flags::{AddCell, Common, SetCell};
use crate::output::show;
use crate::{local, operations, tables};

pub async fn set(common: &Common, api: &Client, wanted: SetCell) -> Result<()> {
    let SetCell { id, weight, max_tps, max_customers } = wanted;
    let body = SetCapacity { weight, max_tps, max_customers, because: because(common) };
    let path = ["v1", "cells", id.as_str(), "capacity"];
    let cell: control_api::CellView = api.send(Method::PUT, &path, Some(&body)).await?;
    show(common, &cell, tables::declared)
}

pub async fn standby(common: &Common, api: &Client, id: &CellId) -> Result<()> {
    let path = ["v1", "cells", id.as_str(), "standby"];
    let cell: control_api::CellView = api.send(Method::PUT, &path, Some(&because(common))).await?;
    show(common, &cell, |cell| tables::cells(std::slice::from_ref(cell)))
}

pub async fn drift(common: &Common, api: &Client) -> Result<()> {
    let drift: Vec<Difference> = api.get(&["v1", "drift"]).await?;
    show(common, &drift, |drift| tables::drift(drift))?;
    if drift.is_empty() { Ok(()) } else { Err(silent(CHANGES)) }
}

pub async fn add(common: &Common, api: &Client, wanted: &AddCell) -> Result<()> {
    let spec = match wanted.address.is_empty() {
        true => {
            let started: Started =
                socket::ask(&common.data, &socket::Request::AddCell(local::new_cell(wanted))).await?;
            started.cell
        }
        false => remote(wanted),
    };
    let body = control_api::AddCell { cell: spec, because: because(common) };
    let cell: control_api::CellView = api.send(Method::POST, &["v1", "cells"], Some(&body)).await?;
    show(common, &cell, |cell| tables::cells(std::slice::from_ref(cell)))?;
    if !wanted.rebalance {
        return Ok(());
    }
    let wait = Waiting { detach: wanted.detach, wait: None };
    operations::rebalance(common, api, None, &Change { yes: wanted.yes, wait, ..Change::default() }).await
}

fn remote(wanted: &AddCell) -> control_api::CellSpec {
    let instances = ('a'..='z').zip(&wanted.address);
    let instances = instances.map(|(letter, address)| InstanceEntry {
        id: InstanceId(format!("{}-{letter}", wanted.id)),
        address: address.address.clone(),
        role: address.role,
        zone: address.zone.clone(),
    });
    control_api::CellSpec {
        id: wanted.id.clone(),
        weight: wanted.weight,
        max_tps: wanted.max_tps,
        max_customers: wanted.max_customers,
        instances: instances.collect(),
        dynamodb: control_api::CellTables {
            endpoint: wanted.dynamodb_endpoint.clone(),
            region: wanted.region.clone(),
            table_prefix: format!("{}-", wanted.id),
            role: wanted.role_arn.clone(),
        },
        standby: None,
        region_epoch: 0,
    }
}
