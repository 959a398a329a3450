//! What a deploy brings a version to, part by part, as it is now: cells as they are placed, routers as the flags name them.
//!
//! It must never decide which part comes when: the plan does.

use std::collections::BTreeSet;
use std::str::FromStr;

use control_api::{InstanceHealth, PartId, Program};
use deploy_analysis::figures::Page;
use topology::{InstanceEntry, InstanceId, Role, ZoneId};

use crate::cells::instances::Instances;
use crate::deploys::service::Deploys;
use crate::error::{Result, no_placement};

/// What gets a version as a whole, with the processes that are replaced one after the other.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    pub id: PartId,
    pub instances: Vec<InstanceEntry>,
}

/// A router that this control plane knows: `ID=URL` or `ID@ZONE=URL`, the URL being that of its admin pages.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedRouter {
    pub entry: InstanceEntry,
    pub is_tls: bool,
}

/// The routers of this deployment, and the way to their admin pages.
#[derive(Default)]
pub struct Routers {
    entries: Vec<InstanceEntry>,
    way: Instances,
}

impl FromStr for NamedRouter {
    type Err = String;
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let shape = || format!("a router is ID=http://HOST:PORT or ID@ZONE=http://HOST:PORT, or https: not {text:?}");
        let (name, url) = text.split_once('=').ok_or_else(shape)?;
        let (id, zone) = name.split_once('@').map_or((name, None), |(id, zone)| (id, Some(zone)));
        let zone = zone.map(ZoneId::parse).transpose().map_err(|error| error.to_string())?;
        let (scheme, address) = url.trim_end_matches('/').split_once("://").ok_or_else(shape)?;
        let is_sound = !id.is_empty() && matches!(scheme, "http" | "https") && address.contains(':');
        if !is_sound || address.contains('/') {
            return Err(shape());
        }
        let entry = InstanceEntry { id: InstanceId(id.to_owned()), address: address.to_owned(), role: Role::All, zone };
        Ok(Self { entry, is_tls: scheme == "https" })
    }
}

impl Routers {
    /// `plain` and `over_tls`: the ways to routers with such URLs. The second is absent where this process has no
    /// certificate. All routers of a deployment are asked in the same way.
    pub fn new(named: Vec<NamedRouter>, over_tls: Option<Instances>) -> std::result::Result<Self, String> {
        let is_tls = named.first().is_some_and(|one| one.is_tls);
        if named.iter().any(|one| one.is_tls != is_tls) {
            return Err("all routers are http, or all are https".to_owned());
        }
        let ids: BTreeSet<&InstanceId> = named.iter().map(|one| &one.entry.id).collect();
        if ids.len() < named.len() {
            return Err("each router has an id of its own".to_owned());
        }
        let way = match is_tls {
            true => over_tls.ok_or_else(|| "routers with https are asked with a certificate of the mesh".to_owned())?,
            false => Instances::new(),
        };
        Ok(Self { entries: named.into_iter().map(|one| one.entry).collect(), way })
    }
}

impl Deploys {
    /// In the order in which they get a version, but for the canary.
    pub async fn parts(&self, of: Program) -> Result<Vec<Part>> {
        if of == Program::Routers {
            let part = |entry: &InstanceEntry| Part { id: PartId(entry.id.0.clone()), instances: vec![entry.clone()] };
            return Ok(self.routers.entries.iter().map(part).collect());
        }
        let known = self.fleet.placements.refresh().await?.ok_or_else(no_placement)?;
        let cells = known.placement.cells().iter();
        Ok(cells.map(|cell| Part { id: PartId(cell.id.to_string()), instances: cell.instances.clone() }).collect())
    }

    /// What an instance says of itself.
    pub async fn page(&self, of: Program, instance: &InstanceEntry) -> std::result::Result<Page, String> {
        let text = self.way(of).metrics(instance).await?;
        Page::read(&text).ok_or_else(|| format!("{} answers with no page that names its version", instance.id))
    }

    pub async fn health(&self, of: Program, instance: &InstanceEntry) -> InstanceHealth {
        self.way(of).probe(instance).await
    }

    fn way(&self, of: Program) -> &Instances {
        match of {
            Program::Cells => &self.fleet.instances,
            Program::Routers => &self.routers.way,
        }
    }
}

/// Those that do the same as this instance, of which one has to be ready before it is drained: of a cell its processes of
/// the same role, of routers all others.
pub fn alike<'p>(
    of: Program,
    parts: &'p [Part],
    part: &'p PartId,
    instance: &'p InstanceEntry,
) -> impl Iterator<Item = &'p InstanceEntry> {
    let near = parts.iter().filter(move |one| of == Program::Routers || &one.id == part);
    let entries = near.flat_map(|one| &one.instances);
    entries.filter(move |other| other.id != instance.id && other.role == instance.role)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str) -> NamedRouter {
        text.parse().expect(text)
    }

    #[test]
    fn routers_are_named_with_the_address_of_their_admin_pages() {
        let one = named("router-a@z1=https://z1.router.wallet.internal:8082");
        assert_eq!((one.entry.id.0.as_str(), one.is_tls), ("router-a", true));
        assert_eq!(one.entry.address, "z1.router.wallet.internal:8082");
        assert_eq!(one.entry.zone, ZoneId::parse("z1").ok());
        assert_eq!(named("router=http://127.0.0.1:8082/").entry.address, "127.0.0.1:8082");
        for unsound in [
            "router",
            "=http://a:1",
            "router=a:1",
            "router=ftp://a:1",
            "router=http://a",
            "r=http://a:1/p",
            "r@Z 1=http://a:1",
        ] {
            assert!(unsound.parse::<NamedRouter>().is_err(), "{unsound}");
        }
    }

    #[test]
    fn routers_are_asked_in_one_way_and_each_has_a_name() {
        let both = |first: &str, second: &str| Routers::new(vec![named(first), named(second)], None);
        assert!(both("a=http://h:1", "b=http://h:2").is_ok());
        assert!(both("a=http://h:1", "a=http://h:2").is_err(), "the same name");
        assert!(both("a=http://h:1", "b=https://h:2").is_err(), "two ways");
        assert!(both("a=https://h:1", "b=https://h:2").is_err(), "without a certificate");
    }

    #[test]
    fn what_has_to_be_ready_is_in_the_cell_or_any_other_router() {
        let entry = |id: &str| InstanceEntry {
            id: InstanceId(id.to_owned()),
            address: "h:1".to_owned(),
            role: Role::All,
            zone: None,
        };
        let part = |id: &str, of: &[&str]| Part {
            id: PartId(id.to_owned()),
            instances: of.iter().map(|id| entry(id)).collect(),
        };
        let parts = [part("one", &["a", "b"]), part("two", &["c"])];
        let of = |program| {
            let found = alike(program, &parts, &parts[0].id, &parts[0].instances[0]);
            found.map(|entry| entry.id.0.clone()).collect::<Vec<_>>()
        };
        assert_eq!(of(Program::Cells), ["b"]);
        assert_eq!(of(Program::Routers), ["b", "c"]);
    }

    #[test]
    fn of_a_split_cell_another_process_of_the_role_has_to_be_ready() {
        let entry = |id: &str, role| InstanceEntry {
            id: InstanceId(id.to_owned()),
            address: "h:1".to_owned(),
            role,
            zone: None,
        };
        let (money, wallets) = (Role::Transactions, Role::Accounts);
        let instances = vec![entry("a", money), entry("b", wallets), entry("c", money), entry("d", wallets)];
        let part = Part { id: PartId("one".to_owned()), instances };
        let parts = [part.clone()];
        let of = |at: usize| {
            let found = alike(Program::Cells, &parts, &part.id, &part.instances[at]);
            found.map(|entry| entry.id.0.clone()).collect::<Vec<_>>()
        };
        assert_eq!(of(0), ["c"]);
        assert_eq!(of(1), ["d"]);
    }
}
