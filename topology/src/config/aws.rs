//! What `cdk/` needs beside the cells: whose accounts, and under which name clients find the router.

use serde::{Deserialize, Serialize};

use super::{CellConfig, Deployment, regions};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Aws {
    /// Account of the routers and of the DNS zone.
    pub router_account: String,
    /// Account of the control plane and of the pipeline.
    pub control_plane_account: String,
    /// Account of what the cells have archived. No process that runs has a right to change it there.
    pub archive_account: String,
    /// Days for which nothing archived can be changed or deleted, by any account; from 1 to [`MAX_ARCHIVE_DAYS`]. The
    /// default is as long as books are kept in most countries of the EU: ten years, and the one that they end in.
    #[serde(default = "archive_days")]
    pub archive_days: u64,
    /// Region of the archive, if it is not the deployment's. It is restored from if a cell's Region is lost, so a cell with
    /// a standby has to be in another one.
    #[serde(default)]
    pub archive_region: Option<String>,
    /// The name that clients use; its zone is in the router's account.
    pub domain: String,
}

/// A hundred years.
pub const MAX_ARCHIVE_DAYS: u64 = 36_500;

fn archive_days() -> u64 {
    11 * 366
}

// Stacks trust roles by their names: `cdk/lib/names.ts` makes them by the same rule.

impl Aws {
    /// The role that may take a zone out of DNS.
    pub fn zones_role(&self, deployment: &Deployment) -> String {
        format!("arn:aws:iam::{}:role/{}-zones", self.router_account, deployment.name)
    }
}

impl CellConfig {
    /// The role that may use the cell's tables for the control plane, where the cell has an account.
    pub fn tables_role(&self, deployment: &Deployment) -> Option<String> {
        let account = self.account.as_ref()?;
        Some(format!("arn:aws:iam::{account}:role/{}-{}-tables", deployment.name, self.id))
    }
}

/// The first rule that is broken, and by what. Each cell has an account of its own, so that what goes wrong with an account
/// (its quotas, its keys, its bill) is one cell's.
pub(super) fn broken(aws: Option<&Aws>, deployment: &Deployment, cells: &[CellConfig]) -> Option<String> {
    let shared = aws.map(|aws| {
        [
            ("aws.router_account", &aws.router_account),
            ("aws.control_plane_account", &aws.control_plane_account),
            ("aws.archive_account", &aws.archive_account),
        ]
    });
    let own = cells.iter().filter_map(|cell| Some((cell.id.as_str(), cell.account.as_ref()?)));
    let all: Vec<(&str, &String)> = shared.into_iter().flatten().chain(own).collect();
    for (position, (name, account)) in all.iter().enumerate() {
        if account.len() != 12 || !account.bytes().all(|byte| byte.is_ascii_digit()) {
            return Some(format!("{name}: an AWS account is twelve digits, not {account:?}"));
        }
        if let Some((other, _)) = all[..position].iter().find(|(_, earlier)| earlier == account) {
            return Some(format!("{name} has the account of {other}: each has its own"));
        }
    }
    let aws = aws?;
    if let Some(cell) = cells.iter().find(|cell| cell.account.is_none()) {
        return Some(format!("{} has no account; with [aws], each cell has its own", cell.id));
    }
    if !(1..=MAX_ARCHIVE_DAYS).contains(&aws.archive_days) {
        return Some(format!("aws.archive_days is {}; 1 to {MAX_ARCHIVE_DAYS}", aws.archive_days));
    }
    let archive = aws.archive_region.as_ref().unwrap_or(&deployment.region);
    if !regions::is_sound(archive) {
        return Some(format!("aws.archive_region: not the name of a Region: {archive:?}"));
    }
    if let Some(cell) = cells.iter().find(|cell| cell.standby.is_some() && cell.region_in(deployment) == archive) {
        let together = format!("{} has a standby, and the archive is in its own Region, {archive}", cell.id);
        return Some(format!("{together}: set aws.archive_region"));
    }
    let labels: Vec<&str> = aws.domain.split('.').collect();
    let sound = |label: &&str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    (labels.len() < 2 || !labels.iter().all(sound) || aws.domain.len() > 253)
        .then(|| format!("aws.domain: not a domain in lower case: {:?}", aws.domain))
}
