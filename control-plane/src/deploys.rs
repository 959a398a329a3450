//! Deploys: a new version of cells or of routers, part by part and instance by instance, watched after each wave, and taken
//! back where it is worse. Stored in the control plane's own tables and written down.
//!
//! What is in memory here never matters: a process may be killed at any write and another one carries on, or two at once.

pub mod canaries;
pub mod limits;
pub mod parts;
pub mod record;
pub mod replacer;
pub mod service;
pub mod start;
pub mod state;
pub mod table;
pub mod watch;
pub mod worker;

use control_api::{Because, DeployId, DeployView, PromoteDeploy, Refusal};

use crate::because::check_meant;
use crate::deploys::service::Deploys;
use crate::error::{Result, refused};
use crate::jobs::asked;
use record::Deploy;
pub use start::{Started, start};
use state::Event;

/// Deploys or audit entries in one answer.
pub const LIST_MAX: i32 = 500;

pub async fn list(deploys: &Deploys, limit: i32) -> Result<Vec<DeployView>> {
    Ok(deploys.table.newest(limit).await?.iter().map(Deploy::view).collect())
}

pub async fn get(deploys: &Deploys, id: DeployId) -> Result<Deploy> {
    deploys.table.named(id.0).await
}

pub async fn pause(deploys: &Deploys, id: DeployId, because: &Because) -> Result<DeployView> {
    ask(deploys, id, because, |_| Event::Pause).await
}

pub async fn resume(deploys: &Deploys, id: DeployId, because: &Because) -> Result<DeployView> {
    ask(deploys, id, because, |_| Event::Resume).await
}

/// On to the next wave although the figures do not say so.
pub async fn promote(deploys: &Deploys, id: DeployId, wanted: &PromoteDeploy) -> Result<DeployView> {
    check_meant(&wanted.because)?;
    ask(deploys, id, &wanted.because, |deploy| match deploy.is_last_wave() {
        true => Event::Finish,
        false => Event::Promote,
    })
    .await
}

/// Puts back what ran before. One that is over is taken back only while no newer one of the same program has changed
/// anything.
pub async fn rollback(deploys: &Deploys, id: DeployId, because: &Because) -> Result<DeployView> {
    let of = get(deploys, id).await?.of;
    let all = deploys.table.newest(LIST_MAX).await?;
    let newest = all.iter().find(|deploy| deploy.of == of).map_or(id, Deploy::id);
    if newest != id {
        let detail = format!("{newest} came after {id}: roll that one back, or deploy the version that you want");
        return Err(refused(Refusal::NotTheNewest, detail));
    }
    ask(deploys, id, because, |_| Event::Rollback).await
}

type Wanted = fn(&Deploy) -> Event;

async fn ask(deploys: &Deploys, id: DeployId, because: &Because, event: Wanted) -> Result<DeployView> {
    Ok(asked::ask(&deploys.table, id.0, because, event).await?.view())
}
