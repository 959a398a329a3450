//! `ctl load`: runs the load generator as the flags say, and prints what customers saw.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use command_line::{FAILED, MISMATCH, PRECONDITION, USAGE, failure, silent};
use control_api::client::Credentials;
use control_api::{Client, Where};
use http::Uri;
use load_generator::mix::Kind;
use load_generator::{Load, Settings, journal, objectives, placement, running, summary, write};
use local_fleet::fleet::Fleet;
use local_fleet::secrets::Secrets;
use serde_json::json;
use topology::CellId;
use topology::slo::Slo;
use uuid::Uuid;

use crate::api::client;
use crate::flags::Common;
use crate::flags::load::LoadArgs;
use crate::output::show;

/// What the load asks for, as a program does.
const SCOPE: &str = "wallets:create wallets:read deposit withdraw transfer";
/// Longest time until all wallets are there.
const SETUP_MAX: Duration = Duration::from_secs(3_600);
/// Names that are tried for each customer of the cells that were asked for.
const LOOKED_AT_MAX: usize = 200;

pub async fn run(common: &Common, wanted: &LoadArgs) -> Result<()> {
    let settings = settings(common, wanted).await?;
    let slo = wanted.slo.as_ref().map(|file| slo(file.as_deref())).transpose()?;
    eprintln!("seed {}; creating {} wallets", settings.seed, settings.wallets);
    let duration = settings.duration;
    let mut load = Load::start(settings).await?;
    eprintln!("{} requests a second for {:.1} s", wanted.rate, duration.as_secs_f64());
    load.mark("load");
    let outcome = tokio::select! {
        () = tokio::time::sleep(duration) => load.until_end().await?,
        _ = tokio::signal::ctrl_c() => load.finish().await?,
    };
    let mut summary = summary::summary(&outcome);
    summary.objectives = slo.map(|slo| objectives::judged(&summary, &slo)).unwrap_or_default();
    if let Some(path) = &wanted.report {
        write(path, &serde_json::to_vec_pretty(&summary)?)?;
    }
    if let Some(path) = &wanted.journal {
        journal(&outcome, path)?;
    }
    show(common, &summary, summary::table)?;
    if summary.all.still_errors == summary.all.count {
        return Err(failure(FAILED, "not one request was served"));
    }
    if objectives::are_kept(&summary.objectives) { Ok(()) } else { Err(silent(MISMATCH)) }
}

fn slo(file: Option<&Path>) -> Result<Slo> {
    let Some(file) = file else { return Ok(Slo::own().clone()) };
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {} (--slo)", file.display()))?;
    Slo::parse(&text).map_err(|error| failure(USAGE, error.to_string()))
}

async fn settings(common: &Common, wanted: &LoadArgs) -> Result<Settings> {
    if u64::from(wanted.rate).saturating_mul(wanted.duration.as_secs()) > running::OPERATIONS_MAX {
        let most = running::OPERATIONS_MAX;
        return Err(failure(
            USAGE,
            format!("--rate times --duration is more than the {most} requests that can be remembered"),
        ));
    }
    let most = wanted.most_customers.unwrap_or(u32::MAX);
    if wanted.wallets > most {
        return Err(failure(USAGE, format!("--wallets {} is more than --most-customers {most}", wanted.wallets)));
    }
    let (router, credentials) = door(common, wanted)?;
    let api = client(common)?;
    let placement = placement(&api).await;
    if let (Some(_), Err(error)) = (wanted.cross_share, &placement) {
        return Err(failure(PRECONDITION, format!("--cross-share needs the placement: {error:#}")));
    }
    let users = match wanted.cells.is_empty() {
        true => vec![],
        false => users_in(&api, wanted).await?,
    };
    Ok(Settings {
        router,
        credentials,
        rate: wanted.rate,
        duration: wanted.duration,
        wallets: wanted.wallets as usize,
        customers_max: most as usize,
        users,
        customers: None,
        mix: wanted.mix,
        cross_percent: wanted.cross_share,
        seed: wanted.seed.unwrap_or_else(|| fastrand::u64(..)),
        retry: wanted.retry,
        patience: wanted.patience,
        placement: placement.ok(),
        namespace: None,
    })
}

/// The router, and what it is shown. In the directory of a secure fleet there is what it takes to make a token.
fn door(common: &Common, wanted: &LoadArgs) -> Result<(String, Credentials)> {
    if let Some(url) = &wanted.router {
        if wanted.most_customers.is_none() && !is_local(url) {
            let why = "a load leaves its customers behind: say how many it may create with --most-customers";
            return Err(failure(PRECONDITION, format!("{url}: {why}")));
        }
        let credentials = Credentials { authority: wanted.router_ca.clone(), token: wanted.router_token.clone() };
        return Ok((url.clone(), credentials));
    }
    let none = || failure(PRECONDITION, "no local fleet in --data: start one with `ctl up`, or name a --router");
    let fleet = Fleet::load(&common.data)?.ok_or_else(none)?;
    let mut credentials = Credentials::default();
    if fleet.secure {
        let secrets = Secrets::of(&common.data);
        let claims = json!({ "kind": "service", "sub": "load", "scope": SCOPE });
        credentials.token = Some(secrets.mint(claims, wanted.duration + SETUP_MAX)?);
        credentials.authority = Some(secrets.authority());
    }
    Ok((format!("{}://{}", fleet.scheme(), fleet.ports().router()), credentials))
}

/// Whether it is on this machine.
fn is_local(url: &str) -> bool {
    let host = url.parse::<Uri>().ok().and_then(|url| Some(url.host()?.trim_matches(['[', ']']).to_owned()));
    host.is_some_and(|host| host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()))
}

/// Names of new customers that the placement has in the cells that were asked for.
async fn users_in(api: &Client, wanted: &LoadArgs) -> Result<Vec<String>> {
    if wanted.mix.has(Kind::Creates) {
        return Err(failure(USAGE, "with --cells no wallets are created during the load: leave creates out of --mix"));
    }
    let (count, run) = (wanted.wallets as usize, Uuid::new_v4().simple().to_string());
    let mut users = Vec::with_capacity(count);
    for number in 0..count * LOOKED_AT_MAX {
        let user = format!("load-{run}-{number}");
        let place: Where = api.get_with(&["v1", "where", &user], &[("as", "user".to_owned())]).await?;
        if wanted.cells.contains(&place.cell) {
            users.push(user);
        }
        if users.len() == count {
            return Ok(users);
        }
    }
    let cells: Vec<_> = wanted.cells.iter().map(CellId::as_str).collect();
    Err(failure(PRECONDITION, format!("hardly any new customer is one of {}: do they own buckets?", cells.join(", "))))
}
