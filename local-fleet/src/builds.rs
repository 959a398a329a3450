//! The builds of a local fleet: `versions/<version>/cell` and `…/router` in its directory, and which process runs which.
//!
//! It must never change a build that is there: an instance that is put back to a version has to find what it was.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use command_line::{PRECONDITION, failure};
use control_api::Program;
use topology::Version;

use crate::fleet::{Chosen, Fleet};
use crate::layout::{Layout, VERSIONS};

/// The version of the build beside this program, as it tells it itself.
pub fn own_version() -> Version {
    Version::parse(env!("CARGO_PKG_VERSION")).expect("cargo's versions are sound")
}

/// Copies a build of a program to where the fleet finds it. Again with the same build: nothing to do.
pub fn keep(data: &Path, version: &Version, of: Program, binary: &Path) -> Result<()> {
    let folder = data.join(VERSIONS).join(version.as_str());
    let name = of.binary();
    let (kept, coming) = (folder.join(name), folder.join(format!("{name}.{}", std::process::id())));
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    std::fs::copy(binary, &coming).with_context(|| format!("cannot copy {}", binary.display()))?;
    if kept.is_file() {
        let is_same = std::fs::read(&kept)? == std::fs::read(&coming)?;
        std::fs::remove_file(&coming)?;
        if !is_same {
            let message = format!("version {version} is another build already: give this one another --version");
            return Err(failure(PRECONDITION, message));
        }
        return Ok(());
    }
    std::fs::rename(&coming, &kept).with_context(|| format!("cannot write {}", kept.display()))
}

/// Notes in `fleet` what the process is to run. An order that is older than the one before it is
/// refused: its sender was overtaken.
pub fn choose(fleet: &mut Fleet, layout: &Layout, name: &str, version: Version, order: Option<u64>) -> Result<()> {
    let (of, versions) = versions_of(fleet, name)?;
    let version = match layout.build(&version, of).is_file() {
        true => Some(version),
        false if version == own_version() => None,
        false => bail!("the fleet has no build of version {version} of {of}: give it one with --binary"),
    };
    let before = versions.get(name).map_or(0, |chosen| chosen.order);
    if order.is_some_and(|order| order < before) {
        bail!("order {} for {name} comes after order {before}: it was overtaken", order.unwrap_or_default());
    }
    versions.insert(name.to_owned(), Chosen { version, order: order.unwrap_or(before) });
    Ok(())
}

/// What the process is, and where it is noted which build it runs.
fn versions_of<'f>(fleet: &'f mut Fleet, name: &str) -> Result<(Program, &'f mut BTreeMap<String, Chosen>)> {
    if fleet.routers().iter().any(|(router, ..)| *router == name) {
        return Ok((Program::Routers, &mut fleet.router_versions));
    }
    let cell = fleet.cells.iter().position(|cell| fleet.processes_of(cell).any(|one| one.name == name));
    let cell = cell.with_context(|| format!("{name:?} is no router, and no cell has a process of this name"))?;
    Ok((Program::Cells, &mut fleet.cells[cell].versions))
}

#[cfg(test)]
mod tests {
    use topology::Config;

    use super::*;

    const CONFIG: &str = "[deployment]\nname='t'\nnamespace='6f1a0c52-9f35-4d0e-8a3d-3c1c6a6b1f10'\nregion='r'\n\
                          [[cells]]\nid='cell-1'\n";

    #[test]
    fn a_build_is_never_changed_and_an_order_never_overtaken() {
        let data = std::env::temp_dir().join(format!("wallet-builds-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&data);
        std::fs::create_dir_all(&data).expect("a directory");
        let version = |text: &str| Version::parse(text).expect("sound");
        let build = data.join("build");
        std::fs::write(&build, "one").expect("written");
        let keep = |of| keep(&data, &version("v2"), of, &build);
        keep(Program::Cells).expect("kept");
        keep(Program::Cells).expect("the same");
        std::fs::write(&build, "another").expect("written");
        keep(Program::Cells).expect_err("another build of this name");
        keep(Program::Routers).expect("another program");

        let layout = Layout { programs: data.clone(), data: data.clone(), config: data.join("cells.toml") };
        let mut fleet = Fleet::new(&Config::parse(CONFIG).expect("sound"));
        choose(&mut fleet, &layout, "router", version("v2"), Some(7)).expect("a build of the router");
        choose(&mut fleet, &layout, "router-2", version("v2"), Some(8)).expect_err("there is one router");
        let mut choose = |text: &str, order| choose(&mut fleet, &layout, "cell-1-a", version(text), order);
        choose("v2", Some(7)).expect("there is a build");
        choose("v2", Some(7)).expect("once more");
        choose(own_version().as_str(), Some(8)).expect("the build beside this program");
        choose("v2", Some(7)).expect_err("late");
        choose("v3", Some(9)).expect_err("no build");
        choose("v2", None).expect("by hand");
        assert_eq!(fleet.cells[0].versions["cell-1-a"], Chosen { version: Some(version("v2")), order: 8 });
        let specs = layout.cell_instances(&fleet, &fleet.cells[0]);
        assert_eq!(specs[0].program, data.join("versions/v2/cell"));
        let router = layout.routers(&fleet).remove(0);
        assert_eq!(router.program, data.join("versions/v2/router"));
        assert_eq!(router.environment, [("ROUTER_BUILD_VERSION".to_owned(), "v2".to_owned())]);
        let _ = std::fs::remove_dir_all(data);
    }
}
