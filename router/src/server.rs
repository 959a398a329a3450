//! Puts the parts together and takes them down again: listeners, workers, the placement's keeper, the admin pages.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use access::flags::{check_listen, warn_if_open, warn_if_plain};
use access::tls::{Client, Server};
use access::{Gate, Role};
use anyhow::Context;
use socket2::{Domain, Protocol, Socket, Type};
use telemetry::metrics::MetricsPage;
use telemetry::trace::export::{self, Export};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;

use crate::admin::{Admin, pages, serve};
use crate::config::{Place, Settings};
use crate::limits;
use crate::placement::expiry;
use crate::placement::fetch::{Origin, Origins};
use crate::placement::keeper::Keeper;
use crate::placement::store::Store;
use crate::proxy::worker::{Shared, run};
use crate::rate::Limiter;
use crate::routes::SharedRoutes;
use crate::target::Side;
use crate::telemetry::Counters;

pub struct Running {
    pub public: SocketAddr,
    pub internal: SocketAddr,
    pub admin: SocketAddr,
    drain: watch::Sender<bool>,
    workers: Vec<JoinHandle<()>>,
    /// A worker sends its failure, or nothing, and drops its end when it is over.
    worker_ends: mpsc::UnboundedReceiver<String>,
    tasks: JoinSet<()>,
}

/// What the listeners and the connections to others are protected by.
struct Doors {
    public: Option<Server>,
    internal: Option<Server>,
    admin: Option<Server>,
    mesh: Option<Client>,
    gate: Option<Gate>,
}

const MESH_FLAGS: &str = "--mesh-ca, --mesh-cert and --mesh-key";

/// Reads keys and certificates, and refuses to be open to other machines.
async fn doors(settings: &Settings) -> anyhow::Result<Doors> {
    let wanted = &settings.access;
    let (with_tls, with_mesh) = (wanted.public_tls.is_some(), wanted.mesh.is_some());
    let public_flags = "--tls-cert, --tls-key and --auth-jwks";
    let is_protected = with_tls && wanted.auth.auth_jwks.is_some();
    check_listen("--listen", settings.listen, is_protected, public_flags)?;
    check_listen("--internal-listen", settings.internal_listen, with_mesh, MESH_FLAGS)?;
    check_listen("--admin-listen", settings.admin_listen, with_mesh, MESH_FLAGS)?;
    let gate = wanted.auth.gate(settings.namespace).await?;
    warn_if_open("public listener", gate.is_some(), "--auth-jwks");
    warn_if_plain("public listener", gate.is_some(), with_tls, "--tls-cert and --tls-key");
    warn_if_open("internal listener", with_mesh, MESH_FLAGS);
    let public = wanted.public_tls.clone().map(|(certificate, key)| Server::public("public", certificate, key));
    let mut doors = Doors { public: public.transpose()?, internal: None, admin: None, mesh: None, gate };
    if let Some(files) = &wanted.mesh {
        doors.internal = Some(Server::mesh("internal", files, &[Role::Cell, Role::ControlPlane])?);
        doors.mesh = Some(Client::mesh(files)?);
        if !settings.admin_listen.ip().is_loopback() {
            doors.admin =
                Some(Server::mesh_and_others("admin", files, &[Role::Monitor, Role::ControlPlane, Role::Router])?);
        }
    }
    Ok(doors)
}

/// Starts everything; returns when requests can be taken.
pub async fn start(settings: &Settings, metrics: MetricsPage, spans: Option<Export>) -> anyhow::Result<Running> {
    let doors = doors(settings).await?;
    let counters = Counters::new();
    let routes = SharedRoutes::default();
    let poll_now = Arc::new(Notify::new());
    let (drain, draining) = watch::channel(false);
    let (store, stored) = Store::open(&settings.data_dir)?;
    let origin =
        |place: &Place| Origin { address: place.address.clone(), tls: doors.mesh.clone().filter(|_| place.is_tls) };
    let keeper = Keeper::new(
        store,
        stored,
        Origins {
            control_planes: settings.control_planes.iter().map(origin).collect(),
            peers: settings.peers.as_ref().map(origin),
        },
        Arc::clone(&routes),
        settings.zone.clone(),
        Arc::clone(&poll_now),
        counters.clone(),
    );

    let (public, publics) = listeners(settings.listen, settings.threads)?;
    let (internal, internals) = listeners(settings.internal_listen, settings.threads)?;
    let admin_listener = tokio::net::TcpListener::bind(settings.admin_listen).await;
    let admin_listener = admin_listener.with_context(|| format!("listen on {}", settings.admin_listen))?;
    let admin = admin_listener.local_addr()?;

    let shared = Shared {
        namespace: settings.namespace,
        routes: Arc::clone(&routes),
        poll_now,
        counters: counters.clone(),
        limiter: Arc::new(Limiter::new(settings.bounds.rates, Instant::now())),
        bounds: settings.bounds,
        draining: draining.clone(),
        gate: doors.gate,
        public_tls: doors.public,
        internal_tls: doors.internal,
        mesh: doors.mesh,
        trusted_proxies: settings.access.trusted_proxies.clone().into(),
    };
    let (end, worker_ends) = mpsc::unbounded_channel();
    let mut workers = Vec::with_capacity(settings.threads);
    for (number, (public, internal)) in publics.into_iter().zip(internals).enumerate() {
        let (shared, end) = (shared.clone(), end.clone());
        let work = move || {
            if let Err(error) = run(shared, vec![(Side::Public, public), (Side::Internal, internal)]) {
                // The receiver outlives the workers, or nothing is left to receive it.
                let _ = end.send(error.to_string());
            }
        };
        workers.push(std::thread::Builder::new().name(format!("worker-{number}")).spawn(work)?);
    }

    let mut tasks = JoinSet::new();
    tasks.spawn(expiry::keep_current(Arc::clone(&routes)));
    let admin_pages =
        pages(Admin { routes, standing: keeper.standing(), counters, metrics: metrics.clone(), draining });
    tasks.spawn(keeper.run());
    tasks.spawn(serve(admin_listener, doors.admin, admin_pages));
    tasks.spawn(metrics.keep_up());
    if let Some(spans) = spans {
        let collector =
            access::collector::Collector::new(spans.url(), export::CONTENT_TYPE).context("--otlp-endpoint")?;
        tasks.spawn(spans.run(move |body| collector.clone().post(body)));
    }
    tracing::info!(%public, %internal, %admin, threads = settings.threads, "routing");
    Ok(Running { public, internal, admin, drain, workers, worker_ends, tasks })
}

impl Running {
    /// Waits until a part ends by itself, and says why.
    pub async fn failed(&mut self) -> String {
        tokio::select! {
            reason = self.worker_ends.recv() => reason.unwrap_or_else(|| "all workers ended".into()),
            Some(ended) = self.tasks.join_next() => format!("a task ended: {ended:?}"),
        }
    }

    /// Stops accepting, finishes what is in flight, and ends; what takes too long is cut off.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.drain.send_replace(true);
        let drained = async { while self.worker_ends.recv().await.is_some() {} };
        let in_time = tokio::time::timeout(limits::SHUTDOWN_TIMEOUT, drained).await;
        self.tasks.shutdown().await;
        if in_time.is_err() {
            tracing::warn!("requests were still in flight when the patience of the shutdown ended");
            return Ok(());
        }
        for worker in self.workers {
            worker.join().map_err(|_| anyhow::anyhow!("a worker panicked"))?;
        }
        Ok(())
    }
}

/// One socket per thread on the same address; the kernel spreads connections over them.
fn listeners(address: SocketAddr, threads: usize) -> anyhow::Result<(SocketAddr, Vec<TcpListener>)> {
    // Without this, a second router on the same port would silently take half of the connections.
    let probe = TcpListener::bind(address).with_context(|| format!("listen on {address}"))?;
    drop(probe);
    let first = listener(address).with_context(|| format!("listen on {address}"))?;
    let address = first.local_addr()?;
    let mut all = vec![first];
    for _ in 1..threads {
        all.push(listener(address).with_context(|| format!("listen on {address}"))?);
    }
    Ok((address, all))
}

fn listener(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(limits::LISTEN_BACKLOG)?;
    Ok(socket.into())
}
