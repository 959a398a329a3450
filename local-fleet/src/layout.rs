//! The processes of a fleet as data: name, program, arguments, where it says that it is ready.

use std::path::{Path, PathBuf};

use control_api::Program;
use topology::Version;
use url::Url;

use crate::fleet::{Chosen, Fleet, FleetCell, Member};
use crate::observe;
use crate::ports::Ports;
use crate::regions::{Side, archive_in};
use crate::secrets::{self, Secrets};

/// Processes stop in this order, so that nothing is taken from under what still serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Cell,
    Router,
    ControlPlane,
    Database,
    /// Looks at all others, and is needed by none.
    Monitor,
}

pub const STOP_ORDER: [Kind; 5] = [Kind::Monitor, Kind::Cell, Kind::Router, Kind::ControlPlane, Kind::Database];

#[derive(Debug, Clone)]
pub struct Spec {
    pub name: String,
    pub kind: Kind,
    pub program: PathBuf,
    pub args: Vec<String>,
    /// `host:port` that answers at `ready_path`.
    pub health: String,
    pub ready_path: &'static str,
    /// Whether that is asked over TLS.
    pub tls: bool,
    /// All addresses that it listens on.
    pub listens: Vec<String>,
    pub log: PathBuf,
    pub environment: Vec<(String, String)>,
    /// Of the build, where it is not the one beside this program.
    pub version: Option<Version>,
}

/// What every process of one fleet gets.
#[derive(Debug, Clone)]
pub struct Layout {
    /// Where the programs are: beside this one.
    pub programs: PathBuf,
    pub data: PathBuf,
    pub config: PathBuf,
}

/// Where a process of ours says that it is ready, and where that it runs at all.
pub const READY: &str = "/readyz";
pub const LIVE: &str = "/livez";
/// Folder of the cells' checkpoint keys: `<cell>.pem`, to sign with, and `<cell>.pub`, to verify with.
pub const KEYS: &str = "keys";
/// Folder of the archive of all cells.
pub const ARCHIVE: &str = "archive";
/// Folder of builds: `<version>/cell` and `<version>/router`.
pub const VERSIONS: &str = "versions";
pub const CONTROL_PLANE_DB: &str = "control-plane-db";
pub const CONTROL_PLANE: &str = "control-plane";
/// The router of each Region, or those of the only one.
pub const ROUTERS: [&str; 2] = ["router", "router-2"];
/// Between two audits of an observed fleet: it is small.
const CONSERVATION_SECONDS: &str = "10";

fn words<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}

impl Layout {
    pub fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    fn spec(&self, name: &str, kind: Kind, program: &str, args: Vec<String>, listens: &[&str]) -> Spec {
        let health = (*listens.last().expect("every process listens")).to_owned();
        Spec {
            name: name.to_owned(),
            kind,
            program: self.program(program),
            args: [args, words(["--log-format", "json"])].concat(),
            health,
            ready_path: READY,
            tls: false,
            listens: words_of(listens),
            log: self.log(name),
            environment: vec![],
            version: None,
        }
    }

    /// Where the builds of other versions are kept; never changed once they are there.
    pub fn build(&self, version: &Version, of: Program) -> PathBuf {
        self.data.join(VERSIONS).join(version.as_str()).join(of.binary())
    }

    /// As a process of this version; the name of the build travels in the environment, which builds that know nothing of
    /// it ignore.
    fn built_as(&self, spec: Spec, of: Program, chosen: Option<&Chosen>) -> Spec {
        let Some(version) = chosen.and_then(|chosen| chosen.version.as_ref()) else { return spec };
        let name = format!("{}_BUILD_VERSION", of.binary().to_uppercase());
        let environment = [spec.environment, vec![(name, version.to_string())]].concat();
        Spec { program: self.build(version, of), environment, version: Some(version.clone()), ..spec }
    }

    pub fn log(&self, name: &str) -> PathBuf {
        self.data.join("logs").join(format!("{name}.log"))
    }

    fn text(path: &Path) -> String {
        path.to_string_lossy().into_owned()
    }

    pub fn database(&self, name: &str, listen: &str) -> Spec {
        let file = Self::text(&self.data.join("db").join(format!("{name}.sqlite")));
        self.spec(name, Kind::Database, "local-dynamodb", words(["--listen", listen, "--data", &file]), &[listen])
    }

    pub fn control_plane(&self, fleet: &Fleet) -> Spec {
        let listen = fleet.ports().control_plane();
        let keys = Self::text(&self.data.join(KEYS));
        let (_, archive) = self.archive();
        let own = words(["--listen", &listen, "--checkpoint-keys", &keys, "--archive", &archive]);
        let args = [self.control_plane_storage(fleet), own].concat();
        let audits = match fleet.observed {
            Some(_) => words(["--conservation-seconds", CONSERVATION_SECONDS]),
            None => vec![],
        };
        let args = [args, audits, self.mesh(fleet, secrets::CONTROL_PLANE), self.auth(fleet)].concat();
        let replaced = words(["--local-fleet", &Self::text(&self.data), "--routers", &Self::named_routers(fleet)]);
        let args = [args, replaced, self.canaries(fleet)].concat();
        let spec = self.spec(CONTROL_PLANE, Kind::ControlPlane, "control-plane", args, &[&listen]);
        Spec { tls: fleet.secure, ..spec }
    }

    /// As the control plane asks for them. On loopback, their admin pages are open. For orders to others than this fleet,
    /// each has a zone, as instances of cells do.
    fn named_routers(fleet: &Fleet) -> String {
        let named = |(number, (name, ports, _)): (usize, (&str, Ports, &str))| {
            let zone = fleet.zones.get(number % fleet.zones.len().max(1)).map(|zone| format!("@{zone}"));
            format!("{name}{}=http://{}", zone.unwrap_or_default(), ports.router_admin())
        };
        fleet.routers().into_iter().enumerate().map(named).collect::<Vec<_>>().join(",")
    }

    /// Canaries ask as customers do, from outside.
    fn canaries(&self, fleet: &Fleet) -> Vec<String> {
        if !fleet.canaries {
            return vec![];
        }
        let router = format!("{}://{}", fleet.scheme(), fleet.ports().router());
        let mut args = words(["--canary-router", &router]);
        if fleet.secure {
            let secrets = self.secrets();
            let (token, authority) = (Self::text(&secrets.canary_token()), Self::text(&secrets.authority()));
            args.extend(words(["--canary-token", &token, "--canary-ca", &authority]));
        }
        args
    }

    fn secrets(&self) -> Secrets {
        Secrets::of(&self.data)
    }

    /// The process's own certificate; nothing in an open fleet.
    fn mesh(&self, fleet: &Fleet, name: &str) -> Vec<String> {
        if !fleet.secure {
            return vec![];
        }
        let files = self.secrets().mesh(name);
        let [authority, certificate, key] = files.paths().map(|path| Self::text(&path));
        words(["--mesh-ca", &authority, "--mesh-cert", &certificate, "--mesh-key", &key])
    }

    /// The issuer of the tokens that are accepted; nothing in an open fleet.
    fn auth(&self, fleet: &Fleet) -> Vec<String> {
        if !fleet.secure {
            return vec![];
        }
        let keys = Self::text(&self.secrets().key_set());
        words(["--auth-jwks", &keys, "--auth-issuer", secrets::ISSUER, "--auth-audience", secrets::AUDIENCE])
    }

    fn control_plane_storage(&self, fleet: &Fleet) -> Vec<String> {
        let endpoint = format!("http://{}", fleet.ports().control_plane_db());
        words(["--config", &Self::text(&self.config), "--dynamodb-endpoint", &endpoint, "--region", &fleet.region])
    }

    pub fn control_plane_tables(&self, fleet: &Fleet) -> Vec<String> {
        [self.control_plane_storage(fleet), words(["tables", "create"])].concat()
    }

    pub fn routers(&self, fleet: &Fleet) -> Vec<Spec> {
        let router = |(name, ports, _): (&str, Ports, &str)| {
            let control_plane = match fleet.regions {
                Some(_) => format!("{}://{}", fleet.scheme(), ports.control_plane_relay()),
                None => fleet.control_plane(),
            };
            self.router(fleet, name, ports, &control_plane)
        };
        fleet.routers().into_iter().map(router).collect()
    }

    fn router(&self, fleet: &Fleet, name: &str, ports: Ports, control_plane: &str) -> Spec {
        let (public, internal, admin) = (ports.router(), ports.router_internal(), ports.router_admin());
        let (data, config) = (Self::text(&self.data.join(name)), Self::text(&self.config));
        let listen = words(["--listen", &public, "--internal-listen", &internal, "--admin-listen", &admin]);
        let rest = words(["--control-plane", control_plane, "--data-dir", &data, "--config", &config]);
        let mut args = [listen, rest, self.mesh(fleet, secrets::ROUTER), self.auth(fleet)].concat();
        if let Some(zone) = &fleet.router_zone {
            args.extend(words(["--zone", zone.as_str()]));
        }
        if fleet.secure {
            let secrets = self.secrets();
            let (certificate, key) = (secrets.certificate(secrets::PUBLIC), secrets.key(secrets::PUBLIC));
            args.extend(words(["--tls-cert", &Self::text(&certificate), "--tls-key", &Self::text(&key)]));
        }
        let spec = self.spec(name, Kind::Router, "router", args, &[&public, &internal, &admin]);
        self.built_as(spec, Program::Routers, fleet.router_versions.get(name))
    }

    pub fn cell_database(&self, fleet: &Fleet, cell: &FleetCell, side: Side) -> Spec {
        self.database(&format!("{}-db", side.set_of(&cell.id)), &fleet.ports_of(side).cell_db(cell.number))
    }

    /// The processes of a cell, those of its standby last.
    pub fn cell_instances(&self, fleet: &Fleet, cell: &FleetCell) -> Vec<Spec> {
        fleet.sides().iter().flat_map(|side| self.instances_on(fleet, cell, *side)).collect()
    }

    fn instances_on(&self, fleet: &Fleet, cell: &FleetCell, side: Side) -> Vec<Spec> {
        let storage = self.cell_storage(fleet, cell, side);
        let region = fleet.region_of(cell, side);
        let router = format!("{}://{}", fleet.scheme(), fleet.router_ports(region).router_internal());
        let mesh = self.mesh(fleet, cell.id.as_str());
        let config = Self::text(&self.config);
        let key = Self::text(&self.checkpoint_key(cell));
        let standby = match (fleet.regions, side) {
            (None, _) => vec![],
            (Some(_), Side::Home) => words(["--region", region]),
            (Some(_), Side::Standby) => words(["--region", region, "--standby"]),
        };
        let instances = fleet.members_of(cell, side).map(|Member { name, address: listen, role, max_tps, .. }| {
            let who = words(["serve", "--id", cell.id.as_str(), "--instance", &name, "--listen", &listen]);
            let what = words(["--role", role.name(), "--max-tps", &max_tps.to_string()]);
            let rest = words(["--router", &router, "--config", &config, "--checkpoint-key", &key]);
            let args = [who, what, rest, storage.clone(), standby.clone(), mesh.clone()].concat();
            let environment = vec![self.archive_of(fleet, region)];
            let spec = self.spec(&name, Kind::Cell, "cell", args, &[&listen]);
            // What waits is not ready before its Region is the home.
            let ready_path = if side == Side::Standby { LIVE } else { READY };
            let spec = Spec { tls: fleet.secure, environment, ready_path, ..spec };
            self.built_as(spec, Program::Cells, cell.versions.get(&name))
        });
        instances.collect()
    }

    fn archive(&self) -> (String, String) {
        Self::archive_at(&self.data.join(ARCHIVE))
    }

    /// In the environment: earlier builds know of no archive.
    fn archive_of(&self, fleet: &Fleet, region: &str) -> (String, String) {
        match fleet.regions {
            Some(_) => Self::archive_at(&archive_in(&self.data, region)),
            None => self.archive(),
        }
    }

    fn archive_at(folder: &Path) -> (String, String) {
        let folder = Url::from_directory_path(folder).expect("the fleet's folder is absolute");
        ("CELL_ARCHIVE".to_owned(), folder.to_string())
    }

    pub fn checkpoint_key(&self, cell: &FleetCell) -> PathBuf {
        self.data.join(KEYS).join(format!("{}.pem", cell.id))
    }

    fn cell_storage(&self, fleet: &Fleet, cell: &FleetCell, side: Side) -> Vec<String> {
        let endpoint = format!("http://{}", fleet.ports_of(side).cell_db(cell.number));
        words(["--dynamodb-endpoint", &endpoint, "--table-prefix", &format!("{}-", cell.id)])
    }

    pub fn cell_tables(&self, fleet: &Fleet, cell: &FleetCell, side: Side) -> Vec<String> {
        let region = words(["--region", fleet.region_of(cell, side)]);
        [words(["tables", "create"]), self.cell_storage(fleet, cell, side), region].concat()
    }

    /// Databases and processes of a cell.
    pub fn of_cell(&self, fleet: &Fleet, cell: &FleetCell) -> Vec<Spec> {
        let databases = fleet.sides().iter().map(|side| self.cell_database(fleet, cell, *side));
        databases.chain(self.cell_instances(fleet, cell)).collect()
    }

    /// Every process of the fleet, for the check that all ports are free.
    pub fn all(&self, fleet: &Fleet) -> Vec<Spec> {
        let own = [self.control_plane(fleet), self.database(CONTROL_PLANE_DB, &fleet.ports().control_plane_db())];
        let cells = fleet.cells.iter().flat_map(|cell| self.of_cell(fleet, cell));
        let routers = self.routers(fleet).into_iter();
        routers.chain(own).chain(cells).chain(observe::spec(self, fleet)).collect()
    }
}

fn words_of(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[cfg(test)]
mod tests;
