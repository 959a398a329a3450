//! Instances on Kubernetes: an instance is a zone of its cell, which has one Deployment, `cell-<zone>`, in the cell's own
//! cluster, or a zone of the routers, `router-<zone>` in theirs; a cell with a second Region has one cluster in each, and
//! the zone says in which. A cell with split roles has two instances in each zone, and a Deployment for each:
//! `cell-<zone>-accounts` and `cell-<zone>-transactions`. The Deployment is given the version's image, and Kubernetes
//! replaces its pods: a new one is ready, and its load balancer knows it, before an old one leaves.
//!
//! The API server decides between two control planes: a Deployment is changed only as it was read, and says which order it
//! has carried out last, so that one that was suspended undoes nothing.

mod api;
mod eks;
mod rollout;
mod settings;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use topology::{Role, ZoneId};

use self::api::{Api, ApiError};
use self::rollout::{Rollout, Step};
use self::settings::Settings;
use super::{Order, Replaced, Replacer, Trouble};

const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Each pod of a zone leaves and comes one after the other, and a load balancer takes minutes to notice each.
const ROLLOUT_MAX: Duration = Duration::from_secs(3_600);

/// The clusters that this file names; it is read for each order.
pub struct Kubernetes(pub PathBuf);

impl Replacer for Kubernetes {
    fn replace<'a>(&'a self, order: &'a Order) -> Replaced<'a> {
        Box::pin(async move {
            let settings = Settings::read(&self.0).map_err(Trouble::Later)?;
            let lacks = |what: String| Trouble::Fatal(format!("{} has no {what}", self.0.display()));
            let zone = order.zone.as_ref().ok_or_else(|| Trouble::Fatal(format!("{} has no zone", order.instance)))?;
            let place = settings.at(order.of, &order.part, zone);
            let (images, cluster) = place.ok_or_else(|| lacks(format!("cluster of {}", order.part)))?;
            let image = images.get(&order.version);
            let image = image.ok_or_else(|| lacks(format!("image of version {} of {}", order.version, order.of)))?;
            let mut api = Api::of(cluster).await.map_err(later)?;
            let container = order.of.binary();
            let wanted = Rollout { container, image, order: order.number };
            roll_out(&mut api, &named(container, zone, order.role), &wanted).await
        })
    }
}

/// The Deployment of an instance, as the manifests name it (`kubernetes/lib/workload.ts`).
fn named(container: &str, zone: &ZoneId, role: Role) -> String {
    match role {
        Role::All => format!("{container}-{zone}"),
        Role::Accounts | Role::Transactions => format!("{container}-{zone}-{role}"),
    }
}

async fn roll_out(api: &mut Api<'_>, name: &str, wanted: &Rollout<'_>) -> Result<(), Trouble> {
    let began = Instant::now();
    loop {
        let deployment = api.deployment(name).await.map_err(later)?;
        let missing =
            match wanted.next(&deployment).map_err(|error| Trouble::Fatal(format!("deployment {name}: {error}")))? {
                Step::Change(patch) => match api.patch(name, &patch).await {
                    // It is read again. Where something else sets it back again and again, that ends too.
                    Ok(()) | Err(ApiError::Conflict) => "it was changed just now".to_owned(),
                    Err(ApiError::Refused(why)) => return Err(Trouble::Fatal(format!("deployment {name}: {why}"))),
                    Err(error) => return Err(later(error)),
                },
                Step::Done => return Ok(()),
                Step::Outdated(by) => {
                    return Err(Trouble::Later(format!("deployment {name} has carried out order {by} since")));
                }
                Step::Failed(why) => return Err(Trouble::Fatal(format!("deployment {name}: {why}"))),
                Step::Wait(missing) => missing,
            };
        if began.elapsed() > ROLLOUT_MAX {
            let waited = ROLLOUT_MAX.as_secs();
            return Err(Trouble::Fatal(format!("deployment {name} is not there after {waited} s: {missing}")));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn later(error: impl ToString) -> Trouble {
    Trouble::Later(error.to_string())
}

#[cfg(test)]
mod tests;
