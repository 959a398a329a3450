//! What each command asks the API for.

use anyhow::Result;
use command_line::{MISMATCH, USAGE, failure, silent};
use control_api::{
    self, AuditEntry, CellView, Client, DeployAudit, OperationId, OperationView, Scope, Verified, VerifyFrom, Wanted,
};
use http::Method;
use topology::CellId;

use super::{follow, start};
use crate::api::because;
use crate::flags::Common;
use crate::flags::operations::{
    Abort, Audit, AuditVerb, Buckets, Change, Evacuate, Migrate, MigrateVerb, Op, Remove, StartMigrate,
};
use crate::output::show;
use crate::{conservation, tables};

/// Pages of one verification; each is some seconds of work of the control plane.
const VERIFY_PAGES_MAX: usize = 100_000;

pub async fn migrate(common: &Common, api: &Client, wanted: Migrate) -> Result<()> {
    let Some(verb) = wanted.verb else { return start_migration(common, api, wanted.start).await };
    if wanted.start.to.is_some() {
        return Err(failure(USAGE, "give --to after the verb: `ctl migrate start --to CELL`"));
    }
    match verb {
        MigrateVerb::Start(wanted) => start_migration(common, api, wanted).await,
        MigrateVerb::Status { operation } => show(common, &get(api, operation).await?, tables::operations::one),
        MigrateVerb::Pause { operation } => {
            let view = ask(common, api, operation, "pause").await?;
            show(common, &view, tables::operations::one)
        }
        MigrateVerb::Resume { operation, wait } => {
            let view = ask(common, api, operation, "resume").await?;
            follow(common, api, view, &wait).await
        }
        MigrateVerb::Abort(wanted) => abort(common, api, &wanted).await,
        MigrateVerb::Reverse { operation, change } => start(common, api, Wanted::Reverse { operation }, &change).await,
        MigrateVerb::Verify { operation } => verify(common, api, operation).await,
        MigrateVerb::Forget { operation, change } => start(common, api, Wanted::Forget { operation }, &change).await,
    }
}

async fn start_migration(common: &Common, api: &Client, wanted: StartMigrate) -> Result<()> {
    let StartMigrate { user, wallet, bucket, to, change } = wanted;
    let to = to.ok_or_else(|| failure(USAGE, "which cell receives? --to CELL"))?;
    let scope = match (user, wallet, bucket) {
        (Some(user), None, None) => Scope::User(user),
        (None, Some(wallet), None) => Scope::Wallet(wallet),
        (None, None, Some(Buckets(range))) => Scope::Buckets(range),
        _ => return Err(failure(USAGE, "what is to be moved? One of --user, --wallet, --bucket")),
    };
    start(common, api, Wanted::Migrate { scope, to }, &change).await
}

pub async fn rebalance(common: &Common, api: &Client, max_moves: Option<usize>, change: &Change) -> Result<()> {
    start(common, api, Wanted::Rebalance { max_moves }, change).await
}

pub async fn evacuate(common: &Common, api: &Client, wanted: Evacuate) -> Result<()> {
    let Evacuate { id: cell, force, change } = wanted;
    start(common, api, Wanted::Evacuate { cell, force }, &change).await
}

pub async fn remove_cell(common: &Common, api: &Client, wanted: &Remove) -> Result<()> {
    let body = control_api::RemoveCell { force: wanted.force, because: because(common) };
    let path = ["v1", "cells", wanted.id.as_str(), "remove"];
    let cell: CellView = api.send(Method::POST, &path, Some(&body)).await?;
    show(common, &cell, |cell| tables::cells(std::slice::from_ref(cell)))
}

/// `drain` or `undrain`.
pub async fn set_cell(common: &Common, api: &Client, id: &CellId, verb: &str) -> Result<()> {
    let cell: CellView = api.send(Method::POST, &["v1", "cells", id.as_str(), verb], Some(&because(common))).await?;
    show(common, &cell, |cell| tables::cells(std::slice::from_ref(cell)))
}

pub async fn op(common: &Common, api: &Client, verb: Op) -> Result<()> {
    match verb {
        Op::List { limit } => {
            let limit = [("limit", limit.to_string())];
            let list: Vec<OperationView> = api.get_with(&["v1", "operations"], &limit).await?;
            show(common, &list, |list| tables::operations::list(list))
        }
        Op::Show { operation } => show(common, &get(api, operation).await?, tables::operations::one),
        Op::Watch { operation, wait } => {
            let view = get(api, operation).await?;
            follow(common, api, view, &wait).await
        }
        Op::Cancel(wanted) => abort(common, api, &wanted).await,
    }
}

/// Changes of operations, deploys and the placement together, newest first.
pub async fn audit(common: &Common, api: &Client, wanted: &Audit) -> Result<()> {
    if let Some(AuditVerb::Conservation) = wanted.verb {
        return conservation::run(common, api).await;
    }
    let mut query = vec![("limit", wanted.limit.to_string())];
    query.extend(wanted.operation.map(|operation| ("operation", operation.to_string())));
    let entries: Vec<AuditEntry> = api.get_with(&["v1", "audit"], &query).await?;
    let changes: Vec<control_api::Change> = api.history(wanted.limit).await?;
    let deploys: Vec<DeployAudit> = match wanted.operation {
        Some(_) => vec![],
        None => api.get_with(&["v1", "deploys", "audit"], &[("limit", wanted.limit.to_string())]).await?,
    };
    let mut rows = tables::operations::merged(entries, changes, wanted.operation, wanted.limit as usize);
    rows.extend(deploys.into_iter().map(tables::operations::Line::from));
    let rows = tables::operations::newest(rows, wanted.limit as usize);
    show(common, &rows, |rows| tables::operations::audit(rows))
}

async fn get(api: &Client, id: OperationId) -> Result<OperationView> {
    api.get(&["v1", "operations", &id.to_string()]).await
}

async fn ask(common: &Common, api: &Client, id: OperationId, verb: &str) -> Result<OperationView> {
    api.send(Method::POST, &["v1", "operations", &id.to_string(), verb], Some(&because(common))).await
}

async fn abort(common: &Common, api: &Client, wanted: &Abort) -> Result<()> {
    let body = control_api::AbortOperation { force: wanted.force, because: because(common) };
    let path = ["v1", "operations", &wanted.operation.to_string(), "abort"];
    let view: OperationView = api.send(Method::POST, &path, Some(&body)).await?;
    show(common, &view, tables::operations::one)
}

async fn verify(common: &Common, api: &Client, id: OperationId) -> Result<()> {
    let (mut all, mut from) = (Verified::default(), VerifyFrom::default());
    for _ in 0..VERIFY_PAGES_MAX {
        let path = ["v1", "operations", &id.to_string(), "verify"];
        let page: Verified = api.send(Method::POST, &path, Some(&from)).await?;
        all.wallets += page.wallets;
        all.mismatches.extend(page.mismatches);
        match page.next {
            Some(next) => from = next,
            None => break,
        }
    }
    show(common, &all, tables::operations::verified)?;
    if all.mismatches.is_empty() { Ok(()) } else { Err(silent(MISMATCH)) }
}
