//! Flags and their environment variables.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use access::flags::{AuthFlags, MeshFlags};
use access::proxies::Network;
use access::tls::MeshFiles;
use anyhow::{Context, ensure};
use clap::Parser;
use http::Uri;
use telemetry::flags::{LogFormat, TelemetryFlags};
use topology::{Version, ZoneId};
use uuid::Uuid;

use crate::limits;
use crate::rate::Rates;

/// Forwards wallet requests to the cell that owns the wallet.
#[derive(Debug, Clone, Parser)]
#[command(name = "router", version)]
pub struct Args {
    /// Public address: `/api/v1/...`, `/docs/`, `/openapi.yaml`.
    #[arg(long, env = "ROUTER_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Address by which cells reach one another: `/internal/v1/wallets/{id}/...`. Never to be reachable from outside.
    #[arg(long, env = "ROUTER_INTERNAL_LISTEN", default_value = "127.0.0.1:8081")]
    pub internal_listen: SocketAddr,
    /// Operators' address: `/livez`, `/readyz`, `/metrics`, `/v1/placement`, `/v1/log`.
    #[arg(long, env = "ROUTER_ADMIN_LISTEN", default_value = "127.0.0.1:8082")]
    pub admin_listen: SocketAddr,
    /// Where placements come from, `http://host:port`, or `https://host:port` with the --mesh flags; of two Regions, separated
    /// by a comma. The next one is asked when one does not answer: at most one of them works at a time.
    #[arg(long, env = "ROUTER_CONTROL_PLANE", default_value = "http://127.0.0.1:8083", value_delimiter = ',')]
    pub control_plane: Vec<Uri>,
    /// Admin address of the other routers, `http://host:port` or `https://host:port`: a name that may lead to many. They are
    /// asked for their placement while this router has none, so that it starts without a control plane.
    #[arg(long, env = "ROUTER_PEERS")]
    pub peers: Option<Uri>,
    /// Keeps the last placement across restarts.
    #[arg(long, env = "ROUTER_DATA_DIR", default_value = "router-data")]
    pub data_dir: PathBuf,
    /// The deployment's namespace of wallet ids; or give --config.
    #[arg(long, env = "ROUTER_NAMESPACE", required_unless_present = "config")]
    pub namespace: Option<Uuid>,
    /// A cells.toml to take the namespace from.
    #[arg(long, env = "ROUTER_CONFIG", conflicts_with = "namespace")]
    pub config: Option<PathBuf>,
    /// The zone that this router is in: instances of cells in the same zone are asked first.
    #[arg(long, env = "ROUTER_ZONE")]
    pub zone: Option<ZoneId>,
    /// Worker threads; as many as cores if not given.
    #[arg(long, env = "ROUTER_THREADS")]
    pub threads: Option<usize>,
    /// Writes a second that this router takes of the public, all wallets together; a read counts as
    /// a fifth; 0: no limit. Each of N routers gets an N-th of what the deployment takes.
    #[arg(long, env = "ROUTER_MAX_TPS", default_value_t = limits::MAX_TPS)]
    pub max_tps: u32,
    /// The same for one wallet.
    #[arg(long, env = "ROUTER_WALLET_MAX_TPS", default_value_t = limits::WALLET_MAX_TPS)]
    pub wallet_max_tps: u32,
    /// What this build is called; shown in metrics [default: the version of the sources].
    #[arg(long, env = "ROUTER_BUILD_VERSION", default_value = env!("CARGO_PKG_VERSION"))]
    pub build_version: Version,
    #[arg(long, env = "ROUTER_LOG_FORMAT", value_enum, default_value = "text")]
    pub log_format: LogFormat,
    /// PEM file of the public listener's certificate, with its chain; else it speaks plain HTTP.
    #[arg(long, env = "ROUTER_TLS_CERT", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// PEM file of its key.
    #[arg(long, env = "ROUTER_TLS_KEY", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Networks of the proxies before the router, whose X-Forwarded-For is believed: `10.0.0.0/8,fd00::/8`.
    #[arg(long, env = "ROUTER_TRUSTED_PROXIES", value_delimiter = ',')]
    pub trusted_proxies: Vec<Network>,
    #[command(flatten)]
    pub telemetry: TelemetryFlags,
    #[command(flatten)]
    pub mesh: MeshFlags,
    #[command(flatten)]
    pub auth: AuthFlags,
}

/// [`Args`], checked.
#[derive(Debug, Clone)]
pub struct Settings {
    pub listen: SocketAddr,
    pub internal_listen: SocketAddr,
    pub admin_listen: SocketAddr,
    /// At least one.
    pub control_planes: Vec<Place>,
    pub peers: Option<Place>,
    pub data_dir: PathBuf,
    pub namespace: Uuid,
    pub zone: Option<ZoneId>,
    pub threads: usize,
    pub bounds: Bounds,
    pub access: Access,
}

/// Where another process listens.
#[derive(Debug, Clone)]
pub struct Place {
    /// `host:port`.
    pub address: String,
    /// Whether it is asked over mutual TLS.
    pub is_tls: bool,
}

/// How the router authenticates callers, and itself. Empty: it does neither.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Certificate and key of the public listener.
    pub public_tls: Option<(PathBuf, PathBuf)>,
    pub mesh: Option<MeshFiles>,
    pub auth: AuthFlags,
    pub trusted_proxies: Vec<Network>,
}

/// Those of the [`limits`] that a test cannot reach or wait for.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub in_flight_max: usize,
    pub connections_max: usize,
    pub peer_connections_max: usize,
    pub keep_alive_timeout: Duration,
    pub rates: Rates,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            in_flight_max: limits::IN_FLIGHT_MAX,
            connections_max: limits::CONNECTIONS_MAX,
            peer_connections_max: limits::PEER_CONNECTIONS_MAX,
            keep_alive_timeout: limits::KEEP_ALIVE_TIMEOUT,
            rates: Rates { all: limits::MAX_TPS, wallet: limits::WALLET_MAX_TPS },
        }
    }
}

impl Place {
    fn parse(flag: &str, uri: &Uri, has_mesh: bool) -> anyhow::Result<Self> {
        let is_tls = uri.scheme_str() == Some("https");
        ensure!(
            is_tls || uri.scheme_str() == Some("http"),
            "{flag} has to be http://host:port or https://host:port, not {uri}"
        );
        ensure!(!is_tls || has_mesh, "{flag} with https needs the --mesh flags");
        let authority = uri.authority().with_context(|| format!("{flag} names no host"))?;
        let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        Ok(Self { address: format!("{}:{port}", authority.host()), is_tls })
    }
}

impl Args {
    pub fn settings(&self) -> anyhow::Result<Settings> {
        let namespace = match (&self.namespace, &self.config) {
            (Some(namespace), _) => *namespace,
            (None, Some(path)) => {
                let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
                topology::Config::parse(&text)?.deployment.namespace
            }
            (None, None) => anyhow::bail!("give --namespace or --config"),
        };
        let mesh = self.mesh.files_of(access::Role::Router, None)?;
        let place = |flag, uri| Place::parse(flag, uri, mesh.is_some());
        let control_planes = self.control_plane.iter().map(|uri| place("--control-plane", uri));
        let control_planes = control_planes.collect::<anyhow::Result<Vec<_>>>()?;
        ensure!(!control_planes.is_empty(), "--control-plane names no control plane");
        let peers = self.peers.as_ref().map(|uri| place("--peers", uri)).transpose()?;
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = self.threads.unwrap_or_else(cores);
        ensure!((1..=limits::THREADS_MAX).contains(&threads), "--threads is 1 to {}", limits::THREADS_MAX);
        Ok(Settings {
            listen: self.listen,
            internal_listen: self.internal_listen,
            admin_listen: self.admin_listen,
            control_planes,
            peers,
            data_dir: self.data_dir.clone(),
            namespace,
            zone: self.zone.clone(),
            threads,
            bounds: Bounds { rates: Rates { all: self.max_tps, wallet: self.wallet_max_tps }, ..Bounds::default() },
            access: Access {
                public_tls: self.tls_cert.clone().zip(self.tls_key.clone()),
                mesh,
                auth: self.auth.clone(),
                trusted_proxies: self.trusted_proxies.clone(),
            },
        })
    }
}
