//! One thread of the data plane: its runtime, its share of the listeners, its connections and pools.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::TcpListener;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use arc_swap::ArcSwapOption;
use arc_swap::cache::Cache;
use http::HeaderMap;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use tokio::net::TcpStream;
use tokio::sync::watch;
use uuid::Uuid;

use crate::config::Bounds;
use crate::failure::Failure;
use crate::limits;
use crate::proxy::client::{Client, Clock};
use crate::proxy::io::{ClientIo, Scratch};
use crate::proxy::service::serve;
use crate::rate::Limiter;
use crate::routes::{Routes, SharedRoutes};
use crate::target::Side;
use crate::telemetry::Counters;
use crate::upstream::Upstream;

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
    clients: RefCell<HashMap<u64, Rc<Client>>>,
    warned: Cell<Option<Instant>>,
}

/// Routes with this thread's connections to each instance: `upstreams[cell][slot]`.
pub struct LocalRoutes {
    pub routes: Arc<Routes>,
    pub upstreams: Vec<Vec<Rc<Upstream>>>,
}

/// A request's place among those in flight; its end is the end of the request.
pub struct Admitted {
    worker: Rc<Worker>,
    client: Rc<Client>,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.worker.in_flight.set(self.worker.in_flight.get() - 1);
        self.client.request_over();
    }
}

impl Worker {
    pub fn new(shared: Shared) -> Rc<Self> {
        Rc::new(Self {
            routes: RefCell::new(Cache::new(Arc::<ArcSwapOption<Routes>>::clone(&shared.routes))),
            shared,
            clock: Clock::new(Instant::now()),
            scratch: Scratch::default(),
            spare: Cell::default(),
            local: RefCell::default(),
            in_flight: Cell::new(0),
            clients: RefCell::default(),
            warned: Cell::new(None),
        })
    }

    pub fn admit(self: &Rc<Self>, client: &Rc<Client>) -> Option<Admitted> {
        if self.in_flight.get() >= self.shared.bounds.in_flight_max {
            return None;
        }
        self.in_flight.set(self.in_flight.get() + 1);
        Some(Admitted { worker: Rc::clone(self), client: Rc::clone(client) })
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
        let upstream = |address: &Arc<str>| {
            known.get(address).map_or_else(|| Upstream::new(Arc::clone(address), &self.clock, &self.scratch), Rc::clone)
        };
        let upstreams = newest.cells.iter().map(|cell| cell.addresses.iter().map(upstream).collect()).collect();
        let next = Rc::new(LocalRoutes { routes: Arc::clone(newest), upstreams });
        *local = Some(Rc::clone(&next));
        Some(next)
    }

    /// True at most once per [`limits::WARN_SPACING`].
    pub fn may_warn(&self) -> bool {
        let now = self.clock.now();
        let may = self.warned.get().is_none_or(|at| now.saturating_duration_since(at) >= limits::WARN_SPACING);
        if may {
            self.warned.set(Some(now));
        }
        may
    }

    fn sweep(&self) {
        let now = Instant::now();
        self.clock.set(now);
        for client in self.clients.borrow().values() {
            client.sweep(now, self.shared.bounds.keep_alive_timeout);
        }
        if let Some(local) = self.local.borrow().as_ref() {
            local.upstreams.iter().flatten().for_each(|upstream| upstream.sweep(now));
        }
    }
}

/// Runs a worker until it is told to drain and its last request is over.
pub fn run(shared: Shared, listeners: Vec<(Side, TcpListener)>) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default())?;
    runtime.block_on(async {
        let worker = Worker::new(shared);
        let mut accepting = tokio::task::JoinSet::new();
        for (side, listener) in listeners {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            accepting.spawn_local(accept(Rc::clone(&worker), side, listener));
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
                        worker.clients.borrow().values().for_each(|client| client.drain());
                    }
                }
                Some(_) = accepting.join_next() => {}
            }
            if drained && accepting.is_empty() && worker.clients.borrow().is_empty() {
                return Ok(());
            }
        }
    })
}

async fn accept(worker: Rc<Worker>, side: Side, listener: tokio::net::TcpListener) {
    let mut draining = worker.shared.draining.clone();
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
        if worker.clients.borrow().len() >= limits::CONNECTIONS_MAX || stream.set_nodelay(true).is_err() {
            worker.shared.counters.connections_refused.increment(1);
            continue;
        }
        number += 2;
        let client = Client::new(side, peer, &worker.clock);
        worker.clients.borrow_mut().insert(number, Rc::clone(&client));
        if *draining.borrow() {
            client.drain();
        }
        let connection = converse(Rc::clone(&worker), client, stream, builder.clone());
        let worker = Rc::clone(&worker);
        // Not joined one by one: the worker ends when its table of clients is empty.
        tokio::task::spawn_local(async move {
            connection.await;
            worker.clients.borrow_mut().remove(&number);
        });
    }
}

async fn converse(worker: Rc<Worker>, client: Rc<Client>, stream: TcpStream, builder: http1::Builder) {
    let io = ClientIo::new(stream, Rc::clone(&client), worker.scratch.clone());
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
    }
}
