//! `ctl up --observe`: a real Prometheus as one more process of the local fleet, with the files that are in `ops/` and
//! targets that follow the fleet.
//!
//! It must never scrape what is not of this fleet, nor listen beyond the loopback interface.

mod rules;

use std::path::{Path, PathBuf};

use access::tls::MeshFiles;
use anyhow::{Context, Result};
use command_line::{PRECONDITION, failure};
use serde_json::{Value, json};

use crate::fleet::Fleet;
use crate::layout::{CONTROL_PLANE, Kind, Layout, Spec};
use crate::secrets::{MONITOR, Secrets};

const CONFIGURATION: &str = include_str!("../../ops/prometheus/prometheus.yml");
const RECORDING: &str = include_str!("../../ops/prometheus/recording.yml");
const ALERTS: &str = include_str!("../../ops/prometheus/alerts.yml");

pub const PROMETHEUS: &str = "prometheus";
/// Where `scripts/fetch/prometheus` puts it.
const FETCHED: &str = ".tools/prometheus/prometheus";
/// What a deployment's scrape interval, and the folder of its certificates, are here.
const INTERVAL: (&str, &str) = ("_interval: 15s", "_interval: 1s");
const MESH: &str = "/etc/prometheus/mesh/";
/// Lines between these are for processes with certificates.
const SECURE: (&str, &str) = ("# with certificates", "# end");

/// The program that was named, or the one that was fetched, or that of the path.
pub fn program(named: Option<&Path>) -> Result<PathBuf> {
    let on_path =
        || std::env::var_os("PATH").into_iter().flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    let candidates = match named {
        Some(named) => vec![named.to_owned()],
        None => {
            std::iter::once(PathBuf::from(FETCHED)).chain(on_path().map(|folder| folder.join(PROMETHEUS))).collect()
        }
    };
    let found = candidates.into_iter().find(|path| path.is_file());
    let found = found.and_then(|path| std::fs::canonicalize(path).ok());
    found.ok_or_else(|| {
        failure(
            PRECONDITION,
            "--observe needs Prometheus: `scripts/fetch/prometheus --fetch` fetches it, --prometheus names another",
        )
    })
}

/// The process, if the fleet is observed.
pub fn spec(layout: &Layout, fleet: &Fleet) -> Option<Spec> {
    let observed = fleet.observed.as_ref()?;
    let listen = fleet.ports().prometheus();
    let folder = layout.data.join(PROMETHEUS);
    let args = vec![
        format!("--config.file={}", folder.join("prometheus.yml").display()),
        format!("--storage.tsdb.path={}", folder.join("data").display()),
        format!("--web.listen-address={listen}"),
        "--log.format=json".to_owned(),
    ];
    Some(Spec {
        name: PROMETHEUS.to_owned(),
        kind: Kind::Monitor,
        program: observed.program.clone(),
        args,
        health: listen.clone(),
        ready_path: "/-/ready",
        tls: false,
        listens: vec![listen],
        log: layout.log(PROMETHEUS),
        environment: vec![],
        version: None,
    })
}

/// Everything that it reads.
pub fn prepare(data: &Path, fleet: &Fleet) -> Result<()> {
    let Some(observed) = &fleet.observed else { return Ok(()) };
    let folder = data.join(PROMETHEUS);
    let files = Secrets::of(data).mesh(MONITOR);
    write(&folder.join("prometheus.yml"), &configuration(fleet.secure.then_some(&files)))?;
    write(&folder.join("recording.yml"), &rules::faster(RECORDING, observed.faster))?;
    write(&folder.join("alerts.yml"), &rules::faster(ALERTS, observed.faster))?;
    targets(data, fleet)
}

/// Whom it looks at; it notices by itself when this changes.
pub fn targets(data: &Path, fleet: &Fleet) -> Result<()> {
    if fleet.observed.is_none() {
        return Ok(());
    }
    let ports = fleet.ports();
    let target = |address: &str, scheme: &str, labels: Value| {
        let mut labels = labels;
        labels["__scheme__"] = scheme.into();
        json!({ "targets": [address], "labels": labels })
    };
    let cells = fleet.cells.iter().flat_map(|cell| {
        let labels = |name: String| json!({ "cell": cell.id, "instance": name });
        fleet.processes_of(cell).map(move |one| target(&one.address, fleet.scheme(), labels(one.name)))
    });
    // On loopback the router's admin pages are open.
    let routers = fleet.routers().into_iter();
    let routers = routers.map(|(name, ports, _)| target(&ports.router_admin(), "http", json!({ "instance": name })));
    let control_plane = target(&ports.control_plane(), fleet.scheme(), json!({ "instance": CONTROL_PLANE }));
    for (job, of_job) in
        [("router", routers.collect()), ("cell", cells.collect()), (CONTROL_PLANE, vec![control_plane])]
    {
        let path = data.join(PROMETHEUS).join("targets").join(format!("{job}.json"));
        write(&path, &serde_json::to_string_pretty(&of_job)?)?;
    }
    Ok(())
}

fn configuration(files: Option<&MeshFiles>) -> String {
    let text = CONFIGURATION.replace(INTERVAL.0, INTERVAL.1).replace("refresh_interval: 5s", "refresh_interval: 1s");
    match files {
        Some(files) => {
            let [authority, certificate, key] = files.paths().map(|path| path.to_string_lossy().into_owned());
            text.replace(&format!("{MESH}ca.pem"), &authority)
                .replace(&format!("{MESH}monitor.pem"), &certificate)
                .replace(&format!("{MESH}monitor.key"), &key)
        }
        None => {
            let mut open = true;
            let mut kept = String::new();
            for line in text.lines() {
                open &= line.trim() != SECURE.0;
                if open {
                    kept.push_str(line);
                    kept.push('\n');
                }
                open |= line.trim() == SECURE.1;
            }
            kept
        }
    }
}

/// Written beside and put in place whole: it may be read at any moment.
fn write(path: &Path, text: &str) -> Result<()> {
    let next = path.with_extension("next");
    let write = || {
        std::fs::create_dir_all(path.parent().expect("a file in a folder"))?;
        std::fs::write(&next, text)?;
        std::fs::rename(&next, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_certificates_nothing_of_them_is_configured() {
        let open = configuration(None);
        assert!(!open.contains("tls_config") && !open.contains("15s"), "{open}");
        assert_eq!(open.matches("job_name").count(), 3);
        let files = Secrets::of(Path::new("/fleet")).mesh(MONITOR);
        let secure = configuration(Some(&files));
        assert!(!secure.contains(MESH) && secure.contains("/fleet/secrets/monitor.key"), "{secure}");
    }
}
