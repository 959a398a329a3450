//! `ctl load`: runs the load generator as the flags say, and prints what customers saw.

use anyhow::Result;
use command_line::{FAILED, PRECONDITION, USAGE, failure};
use load_generator::{Load, Settings, journal, placement, running, summary, write};
use local_fleet::fleet::Fleet;

use crate::api::client;
use crate::flags::Common;
use crate::flags::load::LoadArgs;
use crate::output::show;

pub async fn run(common: &Common, wanted: &LoadArgs) -> Result<()> {
    let settings = settings(common, wanted).await?;
    eprintln!("seed {}; creating {} wallets", settings.seed, settings.wallets);
    let duration = settings.duration;
    let mut load = Load::start(settings).await?;
    eprintln!("{} requests a second for {:.1} s", wanted.rate, duration.as_secs_f64());
    load.mark("load");
    let outcome = tokio::select! {
        () = tokio::time::sleep(duration) => load.until_end().await?,
        _ = tokio::signal::ctrl_c() => load.finish().await?,
    };
    let summary = summary::summary(&outcome);
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
    Ok(())
}

async fn settings(common: &Common, wanted: &LoadArgs) -> Result<Settings> {
    if u64::from(wanted.rate).saturating_mul(wanted.duration.as_secs()) > running::OPERATIONS_MAX {
        let most = running::OPERATIONS_MAX;
        return Err(failure(
            USAGE,
            format!("--rate times --duration is more than the {most} requests that can be remembered"),
        ));
    }
    let router = match &wanted.router {
        Some(url) => url.clone(),
        None => {
            let fleet = Fleet::load(&common.data)?;
            let none =
                || failure(PRECONDITION, "no local fleet in --data: start one with `ctl up`, or name a --router");
            let fleet = fleet.ok_or_else(none)?;
            if fleet.secure {
                return Err(failure(PRECONDITION, "the fleet in --data is secure; load needs an open one"));
            }
            format!("http://{}", fleet.ports().router())
        }
    };
    let placement = placement(&client(common)?).await;
    if let (Some(_), Err(error)) = (wanted.cross_share, &placement) {
        return Err(failure(PRECONDITION, format!("--cross-share needs the placement: {error:#}")));
    }
    Ok(Settings {
        router,
        rate: wanted.rate,
        duration: wanted.duration,
        wallets: wanted.wallets as usize,
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
