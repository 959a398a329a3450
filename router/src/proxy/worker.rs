//! One thread of the data plane: its runtime, its share of the listeners, its connections and pools.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, TcpListener};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use access::guard::Caller;
use access::policy::{Asker, Question, Side as Door};
use access::proxies::Network;
use access::tls::{Client as Mesh, Server, Stream};
use access::{Denied, Gate, Guard, Role};
use arc_swap::ArcSwapOption;
use arc_swap::cache::Cache;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use topology::endpoint::Callers;
use topology::{CellId, Endpoint, WalletId};
use uuid::Uuid;

use crate::config::Bounds;
use crate::failure::Failure;
use crate::limits;
use crate::proxy::client::Client;
use crate::proxy::io::ClientIo;
use crate::proxy::service::serve;
use crate::rate::Limiter;
use crate::route::Route;
use crate::routes::{Routes, SharedRoutes};
use crate::target::Side;
use crate::telemetry::Counters;
use crate::telemetry::cells::CellMeters;
use crate::thread::{Clock, Scratch};
use crate::upstream::Upstream;
use crate::upstream::probe::Probed;
use crate::wall_clock::now_s;

/// What the workers share with the rest of the process.
#[derive(Clone)]
pub struct Shared {
    pub namespace: Uuid,
    pub routes: SharedRoutes,
    /// Asks the placement's keeper to look for a newer one at once.
    pub poll_now: Arc<tokio::sync::Notify>,
    pub counters: Counters,
    /// Shared by all workers: a client's connections may meet any of them.
    pub limiter: Arc<Limiter>,
    pub bounds: Bounds,
    /// Turns true when the process is to end.
    pub draining: watch::Receiver<bool>,
    /// None: no authentication.
    pub gate: Option<Gate>,
    pub public_tls: Option<Server>,
    pub internal_tls: Option<Server>,
    /// How cells are called over TLS.
    pub mesh: Option<Mesh>,
    pub trusted_proxies: Arc<[Network]>,
}

pub struct Worker {
    pub shared: Shared,
    pub clock: Rc<Clock>,
    scratch: Scratch,
    /// An empty header with the capacity of a former request's: each request brings one and each answer needs one.
    pub spare: Cell<HeaderMap>,
    routes: RefCell<Cache<SharedRoutes, Option<Arc<Routes>>>>,
    local: RefCell<Option<Rc<LocalRoutes>>>,
    in_flight: Cell<usize>,
    /// What is held of bodies that came in pieces.
    bodies_bytes: Cell<usize>,
    /// In flight and connections, as last reported.
    told_load: Cell<(usize, usize)>,
    clients: RefCell<HashMap<u64, Rc<Client>>>,
    /// How many of them come from one address.
    peers: RefCell<HashMap<IpAddr, usize>>,
    warned: Cell<Option<Instant>>,
    /// The same, of refused callers.
    told: Cell<Option<Instant>>,
    guard: Option<RefCell<Guard>>,
    /// Questions to instances whether they live.
    probes: RefCell<JoinSet<()>>,
}

/// Routes with this thread's connections to each instance, `upstreams[cell][slot]`.
pub struct LocalRoutes {
    pub routes: Arc<Routes>,
    pub upstreams: Vec<Vec<Rc<Upstream>>>,
    /// What is counted of each cell.
    pub meters: Vec<Rc<CellMeters>>,
}

impl LocalRoutes {
    /// Whether a cell can do without this instance: another one does well, and not too many are ejected.
    pub fn can_spare(&self, cell: usize, upstream: &Upstream, now: Instant) -> bool {
        let all = &self.upstreams[cell];
        let mut others = all.iter().filter(|other| !std::ptr::eq(Rc::as_ptr(other), upstream));
        let ejected = others.clone().filter(|other| other.breaker.is_ejected()).count();
        (ejected + 1) * limits::EJECTED_SHARE <= all.len() && others.any(|other| other.is_sound(now))
    }
}

/// A request from its head to the last byte of its answer, with what it holds of the worker meanwhile.
pub struct Ongoing {
    worker: Rc<Worker>,
    pub client: Rc<Client>,
    has_place: bool,
    held_bytes: usize,
}

impl Ongoing {
    pub fn begin(worker: &Rc<Worker>, client: &Rc<Client>) -> Self {
        client.request_begun();
        Self { worker: Rc::clone(worker), client: Rc::clone(client), has_place: false, held_bytes: 0 }
    }

    /// Takes a place among the requests in flight.
    pub fn enter(&mut self) -> Result<(), Failure> {
        let in_flight = &self.worker.in_flight;
        if in_flight.get() >= self.worker.shared.bounds.in_flight_max {
            return Err(Failure::Overloaded);
        }
        in_flight.set(in_flight.get() + 1);
        self.has_place = true;
        Ok(())
    }

    /// Takes part of the memory that bodies may have.
    pub fn hold(&mut self, bytes: usize) -> Result<(), Failure> {
        let held = self.worker.bodies_bytes.get() + bytes;
        if held > limits::BODIES_MAX_BYTES {
            return Err(Failure::Overloaded);
        }
        self.worker.bodies_bytes.set(held);
        self.held_bytes += bytes;
        Ok(())
    }
}

impl Drop for Ongoing {
    fn drop(&mut self) {
        self.worker.in_flight.set(self.worker.in_flight.get() - usize::from(self.has_place));
        self.worker.bodies_bytes.set(self.worker.bodies_bytes.get() - self.held_bytes);
        self.client.request_over();
    }
}

impl Worker {
    pub fn new(shared: Shared) -> Rc<Self> {
        Rc::new(Self {
            routes: RefCell::new(Cache::new(Arc::<ArcSwapOption<Routes>>::clone(&shared.routes))),
            guard: shared.gate.clone().map(|gate| RefCell::new(Guard::new(gate))),
            shared,
            clock: Clock::new(Instant::now()),
            scratch: Scratch::default(),
            spare: Cell::default(),
            local: RefCell::default(),
            in_flight: Cell::new(0),
            bodies_bytes: Cell::new(0),
            told_load: Cell::default(),
            clients: RefCell::default(),
            peers: RefCell::default(),
            warned: Cell::new(None),
            told: Cell::new(None),
            probes: RefCell::default(),
        })
    }

    /// The newest routes; pools of instances that are still there are kept across a change.
    pub fn routes(&self) -> Option<Rc<LocalRoutes>> {
        let mut cache = self.routes.borrow_mut();
        let newest = cache.load().as_ref()?;
        let mut local = self.local.borrow_mut();
        if let Some(local) = local.as_ref().filter(|local| Arc::ptr_eq(&local.routes, newest)) {
            return Some(Rc::clone(local));
        }
        let known = local.iter().flat_map(|local| local.upstreams.iter().flatten());
        let known: HashMap<_, _> = known.map(|upstream| (Arc::clone(&upstream.address), Rc::clone(upstream))).collect();
        let upstream = |cell: &crate::routes::Cell, address: &Arc<str>| {
            let known = known.get(address).filter(|known| known.cell == cell.id);
            let tls = || self.shared.mesh.clone();
            let new = || Upstream::new(Arc::clone(address), cell.id.clone(), tls(), &self.clock, &self.scratch);
            known.map_or_else(new, Rc::clone)
        };
        let of_cell = |cell: &crate::routes::Cell| cell.addresses.iter().map(|it| upstream(cell, it)).collect();
        let upstreams = newest.cells.iter().map(of_cell).collect();
        let old = local.iter().flat_map(|local| local.routes.cells.iter().zip(&local.meters));
        let old: HashMap<_, _> = old.map(|(cell, meters)| (cell.id.clone(), Rc::clone(meters))).collect();
        let meters_of = |cell: &crate::routes::Cell| {
            old.get(&cell.id).map_or_else(|| Rc::new(CellMeters::new(&cell.id)), Rc::clone)
        };
        let meters = newest.cells.iter().map(meters_of).collect();
        let next = Rc::new(LocalRoutes { routes: Arc::clone(newest), upstreams, meters });
        *local = Some(Rc::clone(&next));
        Some(next)
    }

    /// True at most once per [`limits::WARN_SPACING`].
    fn may(&self, last: &Cell<Option<Instant>>) -> bool {
        let now = self.clock.now();
        let may = last.get().is_none_or(|at| now.saturating_duration_since(at) >= limits::WARN_SPACING);
        if may {
            last.set(Some(now));
        }
        may
    }

    /// Counts a failure; of many that a human should know of, some are logged.
    pub fn refused(&self, failure: &Failure, request_id: &HeaderValue) {
        self.shared.counters.failed(failure);
        let request_id = || request_id.to_str().unwrap_or_default();
        if failure.is_suspect() && self.may(&self.told) {
            tracing::warn!(code = failure.code(), request_id = request_id(), "turned away");
        } else if failure.status().is_server_error() && self.may(&self.warned) {
            tracing::warn!(code = failure.code(), request_id = request_id(), "requests fail");
        }
    }

    /// The caller of a request from outside; None without authentication. The token goes no
    /// further.
    pub fn authenticate(&self, client: &Client, headers: &mut HeaderMap) -> Result<Option<Arc<Caller>>, Denied> {
        let (Some(guard), Side::Public) = (&self.guard, client.side) else { return Ok(None) };
        let lines = headers.get_all(AUTHORIZATION);
        let caller = guard.borrow_mut().authenticate(lines.iter(), now_s())?;
        headers.remove(AUTHORIZATION);
        Ok(Some(caller))
    }

    /// Whether a listener's callers have to authenticate.
    pub fn is_protected(&self, side: Side) -> bool {
        match side {
            Side::Public => self.guard.is_some(),
            Side::Internal => self.shared.internal_tls.is_some(),
        }
    }

    /// Whether this caller of the internal listener may: cells ask one another two questions, and only cells credit.
    pub fn admit_process(&self, client: &Client, route: Route) -> Result<(), Denied> {
        let Some(process) = client.process.get() else { return Ok(()) };
        let endpoint = route.endpoint();
        let is_allowed = match process.role {
            Role::Cell => endpoint.is_some_and(|endpoint| endpoint.callers() == Callers::Cells),
            _ => endpoint != Some(Endpoint::Credit),
        };
        if is_allowed { Ok(()) } else { Err(Denied::Forbidden) }
    }

    /// The cell that the caller's certificate names, if what it asks for is a credit.
    pub fn crediting<'a>(&self, client: &'a Client, route: Route) -> Result<Option<&'a CellId>, Denied> {
        match client.process.get() {
            Some(process) if route.endpoint() == Some(Endpoint::Credit) => {
                process.cell.as_ref().map(Some).ok_or(Denied::Forbidden)
            }
            _ => Ok(None),
        }
    }

    /// Whether the caller may do this, to this wallet if it is about one. Everything that is not known is refused.
    pub fn authorize(
        &self,
        caller: Option<&Caller>,
        endpoint: Option<Endpoint>,
        wallet: Option<WalletId>,
    ) -> Result<(), Denied> {
        let (Some(guard), Some(caller)) = (&self.guard, caller) else { return Ok(()) };
        let endpoint = endpoint.ok_or(Denied::Forbidden)?;
        let (method, route) = (endpoint.method().name(), endpoint.template());
        let own = wallet.is_some() && wallet == caller.identity.own_wallet;
        let question = Question { side: Door::Public, method: method.into(), route: route.into(), own, force: false };
        guard.borrow_mut().authorize(Asker::Identity(&caller.identity), question)
    }

    /// Makes room for one more connection, by ending the one that is idle for longest if there are too many.
    fn has_room(&self, side: Side, peer: IpAddr) -> bool {
        let bounds = self.shared.bounds;
        let clients = self.clients.borrow();
        // Behind a proxy are many clients.
        let is_one = side == Side::Public && !self.shared.trusted_proxies.iter().any(|proxy| proxy.contains(peer));
        let of_peer = self.peers.borrow().get(&peer).copied().unwrap_or(0);
        let is_greedy = is_one && of_peer >= bounds.peer_connections_max;
        if !is_greedy && clients.len() < bounds.connections_max {
            return true;
        }
        let idle = clients.values().filter(|client| !is_greedy || client.peer_ip == peer);
        let idle = idle.filter_map(|client| Some((client.idle_since()?, client)));
        let longest = idle.min_by_key(|(since, _)| *since);
        longest.inspect(|(_, client)| client.end()).is_some()
    }

    fn entered(&self, number: u64, client: &Rc<Client>) {
        *self.peers.borrow_mut().entry(client.peer_ip).or_default() += 1;
        self.clients.borrow_mut().insert(number, Rc::clone(client));
    }

    fn left(&self, number: u64) {
        let Some(client) = self.clients.borrow_mut().remove(&number) else { return };
        let mut peers = self.peers.borrow_mut();
        let left = peers.get_mut(&client.peer_ip).map_or(0, |count| {
            *count -= 1;
            *count
        });
        if left == 0 {
            peers.remove(&client.peer_ip);
        }
    }

    /// Asks an instance that is silent, or ejected for it, whether it lives.
    pub fn look_after(self: &Rc<Self>, upstream: &Rc<Upstream>, now: Instant) {
        if !upstream.begin_probe(now) {
            return;
        }
        let (worker, upstream) = (Rc::clone(self), Rc::clone(upstream));
        self.probes.borrow_mut().spawn_local(async move {
            let probed = upstream.probe().await;
            worker.probed(&upstream, probed);
        });
    }

    fn probed(&self, upstream: &Upstream, probed: Probed) {
        let (now, was_hung) = (Instant::now(), upstream.breaker.is_hung());
        let instance = &*upstream.address;
        match probed {
            Probed::Lives if was_hung => {
                upstream.breaker.succeeded();
                tracing::info!(cell = %upstream.cell, instance, "an instance that hung answers again");
            }
            Probed::Hangs if was_hung => upstream.breaker.hangs(now),
            Probed::Hangs if self.can_spare(upstream, now) => {
                upstream.breaker.hangs(now);
                self.shared.counters.ejections.increment(1);
                tracing::warn!(cell = %upstream.cell, instance, "an instance hangs and gets no more requests");
            }
            Probed::Lives | Probed::Hangs | Probed::Unasked => {}
        }
    }

    fn can_spare(&self, upstream: &Upstream, now: Instant) -> bool {
        let local = self.local.borrow();
        let cell = local.iter().flat_map(|local| local.routes.cell_named(upstream.cell.as_str()).map(|at| (local, at)));
        cell.into_iter().any(|(local, at)| local.can_spare(at, upstream, now))
    }

    fn sweep(self: &Rc<Self>) {
        let now = Instant::now();
        while self.probes.borrow_mut().try_join_next().is_some() {}
        self.clock.set(now);
        for client in self.clients.borrow().values() {
            client.sweep(now, self.shared.bounds.keep_alive_timeout);
        }
        if let Some(local) = self.local.borrow().as_ref() {
            for upstream in local.upstreams.iter().flatten() {
                upstream.sweep(now);
                self.look_after(upstream, now);
            }
            for (upstreams, meters) in local.upstreams.iter().zip(&local.meters) {
                meters.tell_idle(upstreams.iter().map(|upstream| upstream.idle_count()).sum());
            }
        }
        self.tell_load();
    }

    /// This worker's part of what the process has in hand; reported now and then, not with each
    /// request.
    fn tell_load(&self) {
        let now = (self.in_flight.get(), self.clients.borrow().len());
        let (in_flight, connections) = self.told_load.replace(now);
        self.shared.counters.in_flight.increment(now.0 as f64 - in_flight as f64);
        self.shared.counters.connections.increment(now.1 as f64 - connections as f64);
    }

    fn clients_of(&self, side: Side) -> usize {
        self.clients.borrow().values().filter(|client| client.side == side).count()
    }

    /// Connections end once they have no request under way.
    fn drain(&self, side: Side) {
        self.clients.borrow().values().filter(|client| client.side == side).for_each(|client| client.drain());
    }
}

/// Runs a worker until it has to drain and its last request is over. Of the public first: a cell that answers one of these
/// may have to reach another cell, through the internal listener.
pub fn run(shared: Shared, listeners: Vec<(Side, TcpListener)>) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default())?;
    runtime.block_on(async {
        let worker = Worker::new(shared);
        let mut accepting = JoinSet::new();
        let (close, closing) = watch::channel(false);
        for (side, listener) in listeners {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let stop = if side == Side::Public { worker.shared.draining.clone() } else { closing.clone() };
            accepting.spawn_local(accept(Rc::clone(&worker), side, listener, stop));
        }
        let mut draining = worker.shared.draining.clone();
        let mut ticks = tokio::time::interval(limits::SWEEP_PERIOD);
        let mut drained = false;
        loop {
            tokio::select! {
                _ = ticks.tick() => worker.sweep(),
                changed = draining.changed(), if !drained => {
                    drained = changed.is_err() || *draining.borrow();
                    if drained {
                        worker.drain(Side::Public);
                    }
                }
                Some(_) = accepting.join_next() => {}
                () = tokio::time::sleep(limits::DRAIN_PERIOD), if drained => {}
            }
            if drained && !*close.borrow() && worker.clients_of(Side::Public) == 0 {
                close.send_replace(true);
                worker.drain(Side::Internal);
            }
            if drained && accepting.is_empty() && worker.clients.borrow().is_empty() {
                return Ok(());
            }
        }
    })
}

/// `stop` turns true when this side is to drain.
async fn accept(worker: Rc<Worker>, side: Side, listener: tokio::net::TcpListener, stop: watch::Receiver<bool>) {
    let mut draining = stop;
    let mut builder = http1::Builder::new();
    // The sweep has the head's timeout; hyper's own would cost two timer operations a request.
    builder
        .header_read_timeout(None)
        .writev(false)
        // A request goes on when its client is gone: to break it off would only leave more outcomes unknown. Not looking
        // for the client's end at every turn also spares a buffer and a read a request.
        .half_close(true)
        .max_buf_size(limits::HEAD_MAX_BYTES)
        .max_header_size(limits::HEAD_MAX_BYTES);
    let mut number = u64::from(side == Side::Internal);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = draining.wait_for(|draining| *draining) => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(_) => {
                tokio::time::sleep(limits::ACCEPT_PAUSE).await;
                continue;
            }
        };
        if access::tls::tune(&stream).is_err() || !worker.has_room(side, peer.ip()) {
            worker.shared.counters.connections_refused.increment(1);
            continue;
        }
        number += 2;
        let client = Client::new(side, peer, &worker.clock);
        worker.entered(number, &client);
        if *draining.borrow() {
            client.drain();
        }
        let tls = match side {
            Side::Public => worker.shared.public_tls.clone(),
            Side::Internal => worker.shared.internal_tls.clone(),
        };
        let (worker, builder, mut draining) = (Rc::clone(&worker), builder.clone(), draining.clone());
        // Not joined one by one: the worker ends when its table of clients is empty.
        tokio::task::spawn_local(async move {
            let stream = match tls {
                None => Some(Stream::Plain(stream)),
                Some(tls) => tokio::select! {
                    stream = shaken(&worker, &tls, &client, stream) => stream,
                    () = client.ended() => None,
                    _ = draining.wait_for(|draining| *draining) => None,
                },
            };
            if let Some(stream) = stream {
                converse(Rc::clone(&worker), client, stream, builder).await;
            }
            worker.left(number);
        });
    }
}

/// The connection after its handshake, which has a time limit of its own.
async fn shaken(worker: &Worker, tls: &Server, client: &Client, stream: TcpStream) -> Option<Stream> {
    match tls.handshake(stream).await {
        Ok((stream, process)) => {
            if let Some(process) = process {
                let _ = client.process.set(process);
            }
            Some(stream)
        }
        Err(error) => {
            if worker.may(&worker.told) {
                tracing::warn!(%error, "a TLS handshake failed");
            }
            None
        }
    }
}

async fn converse(worker: Rc<Worker>, client: Rc<Client>, stream: Stream, builder: http1::Builder) {
    let io = ClientIo::new(stream, Rc::clone(&worker), Rc::clone(&client), worker.scratch.clone());
    let service = service_fn(|request| serve(Rc::clone(&worker), Rc::clone(&client), request));
    let mut connection = builder.serve_connection(io, service);
    let mut shutting = false;
    // How a connection ended is the client's affair; requests are counted where they are answered.
    let _ = std::future::poll_fn(|cx| {
        client.register(cx.waker());
        if client.is_over() {
            return Poll::Ready(Ok(()));
        }
        if client.is_draining() && !shutting {
            shutting = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        Pin::new(&mut connection).poll(cx)
    })
    .await;
    if client.is_over_in_head() {
        connection.into_parts().io.last_words(&Failure::HeadTimeout);
    } else if client.lingers() {
        connection.into_parts().io.linger().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker() -> Rc<Worker> {
        let bounds = Bounds::default();
        Worker::new(Shared {
            namespace: Uuid::nil(),
            routes: SharedRoutes::default(),
            poll_now: Arc::default(),
            counters: Counters::new(),
            limiter: Arc::new(Limiter::new(bounds.rates, Instant::now())),
            bounds,
            draining: watch::channel(false).1,
            gate: None,
            public_tls: None,
            internal_tls: None,
            mesh: None,
            trusted_proxies: [].into(),
        })
    }

    #[test]
    fn bodies_that_come_in_pieces_share_a_bound() {
        let worker = worker();
        let client = Client::new(Side::Public, ([127, 0, 0, 1], 1).into(), &worker.clock);
        let [mut large, mut other] = [(); 2].map(|()| Ongoing::begin(&worker, &client));
        large.hold(limits::BODIES_MAX_BYTES).expect("all that there is");
        assert!(matches!(other.hold(1), Err(Failure::Overloaded)));
        drop(large);
        other.hold(1).expect("given back");
    }
}
