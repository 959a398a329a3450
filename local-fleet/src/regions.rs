//! The two Regions of a fleet on one machine, and the way of each to the archive, which can be cut.
//!
//! The control plane, its database and the archive are in neither of them: they are where a third one would be.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use topology::CellId;

use crate::fleet::{Fleet, FleetCell};
use crate::layout::{ARCHIVE, ROUTERS};
use crate::ports::Ports;

/// Cells with odd numbers have their home in the first one, the others in the second one.
pub const REGIONS: [&str; 2] = ["local-1", "local-2"];

/// What `fleet.json` remembers of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Regions {
    /// A round trip between any two of them takes so much longer.
    pub latency_ms: u16,
}

/// A cell's processes and tables are there twice where it has a standby.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Home,
    Standby,
}

impl Side {
    /// What the names of its processes and of its database begin with.
    pub fn set_of(self, cell: &CellId) -> String {
        match self {
            Side::Home => cell.to_string(),
            Side::Standby => format!("{cell}-standby"),
        }
    }
}

impl Fleet {
    /// Where each cell has processes and tables.
    pub fn sides(&self) -> &'static [Side] {
        if self.regions.is_some() { &[Side::Home, Side::Standby] } else { &[Side::Home] }
    }

    /// The Region in which this side of a cell is; that of the configuration where there is only one.
    pub fn region_of(&self, cell: &FleetCell, side: Side) -> &str {
        let is_first = (cell.number % 2 == 1) == (side == Side::Home);
        if self.regions.is_some() { REGIONS[usize::from(!is_first)] } else { &self.region }
    }

    /// Names, ports and Regions of all routers: of each Region one, or as many as were asked for where there is only one.
    pub fn routers(&self) -> Vec<(&'static str, Ports, &str)> {
        let of_regions =
            ROUTERS.into_iter().zip(REGIONS).map(|(name, region)| (name, self.router_ports(region), region));
        let ports = [self.ports(), self.ports().second_router()];
        let here = ROUTERS.into_iter().zip(ports).map(|(name, ports)| (name, ports, self.region.as_str()));
        match self.regions {
            Some(_) => of_regions.collect(),
            None => here.take(self.routers.into()).collect(),
        }
    }

    /// Ports of the router of a Region.
    pub fn router_ports(&self, region: &str) -> Ports {
        if region == REGIONS[1] { self.ports().second() } else { self.ports() }
    }
}

/// Where the processes of a Region find the archive: a folder with a link for each cell.
pub fn archive_in(data: &Path, region: &str) -> PathBuf {
    data.join("regions").join(region).join(ARCHIVE)
}

/// Gives every Region its way to the archives of these cells; nothing in a fleet with one Region.
pub fn open_archives(data: &Path, fleet: &Fleet) -> Result<()> {
    if fleet.regions.is_none() {
        return Ok(());
    }
    REGIONS.iter().try_for_each(|region| set_archive(data, fleet, region, true))
}

/// Opens the way of a Region to the archive, or cuts it.
pub fn set_archive(data: &Path, fleet: &Fleet, region: &str, is_open: bool) -> Result<()> {
    let folder = archive_in(data, region);
    let set = |cell: &CellId| {
        let archive = data.join(ARCHIVE).join(cell.as_str());
        std::fs::create_dir_all(&archive)?;
        std::fs::create_dir_all(&folder)?;
        let (link, next) = (folder.join(cell.as_str()), folder.join(format!("{cell}.next")));
        // A link that leads to itself: reading and writing below it fail. One that leads nowhere would look like an
        // archive in which there is nothing yet.
        symlink(if is_open { &archive } else { &link }, &next)?;
        std::fs::rename(&next, &link)
    };
    let mut cells = fleet.cells.iter();
    cells.try_for_each(|cell| set(&cell.id)).with_context(|| format!("cannot link archives in {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use topology::Config;

    use super::*;

    const CONFIG: &str = "[deployment]\nname='t'\nnamespace='6f1a0c52-9f35-4d0e-8a3d-3c1c6a6b1f10'\nregion='r'\n\
                          [[cells]]\nid='cell-1'\n[[cells]]\nid='cell-2'\n";

    #[test]
    fn a_region_that_is_cut_off_fails_to_read_the_archive() {
        let data = std::env::temp_dir().join(format!("wallet-regions-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&data);
        let mut fleet = Fleet::new(&Config::parse(CONFIG).expect("sound"));
        fleet.regions = Some(Regions { latency_ms: 10 });
        open_archives(&data, &fleet).expect("opened");
        std::fs::write(data.join("archive/cell-1/entry"), "one").expect("written");
        let seen = |region: &str| std::fs::read_to_string(archive_in(&data, region).join("cell-1/entry"));
        assert_eq!(seen("local-1").expect("open"), "one");
        set_archive(&data, &fleet, "local-1", false).expect("cut");
        assert_ne!(seen("local-1").expect_err("cut").kind(), std::io::ErrorKind::NotFound);
        let below = archive_in(&data, "local-1").join("cell-1/log");
        std::fs::create_dir_all(below).expect_err("nothing can be made there");
        assert_eq!(seen("local-2").expect("open"), "one");
        set_archive(&data, &fleet, "local-1", true).expect("mended");
        assert_eq!(seen("local-1").expect("open"), "one");
        let _ = std::fs::remove_dir_all(data);
    }
}
