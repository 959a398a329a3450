//! One cell instance as one worker thread sees it: idle connections to it, how long it has been silent, and whether it is
//! worth trying now.

pub mod answer;
pub mod breaker;
pub mod link;
pub mod probe;
pub mod request;

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use access::descriptors;
use access::tls::{Client, Stream};
use tokio::net::TcpStream;
use topology::CellId;

use crate::limits;
use crate::thread::{Clock, Scratch};
use breaker::Breaker;
use link::Link;

pub struct Upstream {
    pub address: Arc<str>,
    /// Whose instance it is: over TLS, its certificate has to say so.
    pub cell: CellId,
    tls: Option<Client>,
    pub breaker: Breaker,
    clock: Rc<Clock>,
    scratch: Scratch,
    /// Last in, first out: the few in use stay warm and the rest age out.
    idle: RefCell<Vec<Idle>>,
    /// Requests that wait for the head of an answer.
    waiting: Cell<u32>,
    /// When it last answered anything, or the first of those requests was sent.
    heard: Cell<Instant>,
    is_probed: Cell<bool>,
    /// When it was last logged that no connection could be made.
    told: Cell<Option<Instant>>,
}

/// Why there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoLink {
    /// This process has no descriptor left, or this machine no port: the instance is not to blame.
    Exhausted,
    Unreachable,
}

/// A request that waits for an instance; over when it is dropped, however the wait ends.
pub struct Waiting<'u> {
    upstream: &'u Upstream,
    pub since: Instant,
}

impl Waiting<'_> {
    /// The instance answered; how long that took.
    pub fn answered(&self) -> Duration {
        let now = Instant::now();
        self.upstream.heard.set(now);
        now.saturating_duration_since(self.since)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.upstream.waiting.set(self.upstream.waiting.get() - 1);
    }
}

struct Idle {
    link: Box<Link>,
    since: Instant,
}

impl Upstream {
    pub fn new(address: Arc<str>, cell: CellId, tls: Option<Client>, clock: &Rc<Clock>, scratch: &Scratch) -> Rc<Self> {
        let (clock, scratch) = (Rc::clone(clock), scratch.clone());
        Rc::new(Self {
            heard: Cell::new(clock.now()),
            address,
            cell,
            tls,
            breaker: Breaker::default(),
            clock,
            scratch,
            idle: RefCell::default(),
            waiting: Cell::new(0),
            is_probed: Cell::new(false),
            told: Cell::new(None),
        })
    }

    pub fn wait(&self) -> Waiting<'_> {
        let since = Instant::now();
        if self.waiting.replace(self.waiting.get() + 1) == 0 {
            self.heard.set(since);
        }
        Waiting { upstream: self, since }
    }

    pub fn has_waiting(&self) -> bool {
        self.waiting.get() > 0
    }

    /// Requests have waited for a while, and it said nothing to any of them.
    pub fn is_silent(&self, now: Instant) -> bool {
        self.waiting.get() > 0 && now.saturating_duration_since(self.heard.get()) >= limits::SILENCE_MAX
    }

    pub fn is_sound(&self, now: Instant) -> bool {
        self.breaker.is_sound() && !self.is_silent(now)
    }

    /// A connection that is open as far as is known; those that were closed meanwhile are forgotten.
    pub fn take_idle(&self) -> Option<Box<Link>> {
        let mut idle = self.idle.borrow_mut();
        std::iter::from_fn(|| idle.pop()).map(|idle| idle.link).find_map(|mut link| link.is_quiet().then_some(link))
    }

    /// Keeps a connection for the next request, if it can take one.
    pub fn give_back(&self, mut link: Box<Link>) {
        let mut idle = self.idle.borrow_mut();
        if link.rest() && idle.len() < limits::POOL_IDLE_MAX {
            idle.push(Idle { link, since: self.clock.now() });
        }
    }

    pub fn idle_count(&self) -> usize {
        self.idle.borrow().len()
    }

    pub fn close_idle(&self) {
        self.idle.borrow_mut().clear();
    }

    /// Closes connections that the other side is about to close.
    pub fn sweep(&self, now: Instant) {
        self.idle.borrow_mut().retain(|idle| now.saturating_duration_since(idle.since) < limits::POOL_IDLE_TIMEOUT);
    }

    /// Why there was no connection; of many, some.
    fn tell(&self, error: &std::io::Error) {
        let now = self.clock.now();
        if self.told.get().is_none_or(|at| now.saturating_duration_since(at) >= limits::WARN_SPACING) {
            self.told.set(Some(now));
            tracing::warn!(cell = %self.cell, address = &*self.address, %error, "no connection to an instance");
        }
    }

    /// A new connection, made within `left` and [`limits::CONNECT_TIMEOUT`].
    pub async fn connect(&self, left: Duration) -> Result<Box<Link>, NoLink> {
        let stream = self.stream(left.min(limits::CONNECT_TIMEOUT)).await;
        stream.map(|stream| Link::new(stream, self.scratch.clone())).map_err(|error| {
            self.tell(&error);
            if descriptors::is_exhausted(&error) { NoLink::Exhausted } else { NoLink::Unreachable }
        })
    }

    async fn stream(&self, patience: Duration) -> io::Result<Stream> {
        let connecting = async {
            let stream = TcpStream::connect(&*self.address).await?;
            stream.set_nodelay(true)?;
            match &self.tls {
                None => Ok(Stream::Plain(stream)),
                Some(tls) => {
                    let name = access::role::cell_server_name(&self.cell);
                    tls.connect(name.ok_or(io::ErrorKind::InvalidInput)?, stream).await
                }
            }
        };
        tokio::time::timeout(patience, connecting).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}
