//! One cell instance as one worker thread sees it: idle connections to it, and whether it is worth trying now.

pub mod answer;
pub mod breaker;
pub mod link;
pub mod request;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use access::tls::{Client, Stream};
use tokio::net::TcpStream;
use topology::CellId;

use crate::limits;
use crate::proxy::client::Clock;
use crate::proxy::io::Scratch;
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
    /// When it was told last that no connection could be made.
    told: Cell<Option<Instant>>,
}

struct Idle {
    link: Box<Link>,
    since: Instant,
}

impl Upstream {
    pub fn new(address: Arc<str>, cell: CellId, tls: Option<Client>, clock: &Rc<Clock>, scratch: &Scratch) -> Rc<Self> {
        let (clock, scratch) = (Rc::clone(clock), scratch.clone());
        Rc::new(Self {
            address,
            cell,
            tls,
            breaker: Breaker::default(),
            clock,
            scratch,
            idle: RefCell::default(),
            told: Cell::new(None),
        })
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
    pub async fn connect(&self, left: Duration) -> Option<Box<Link>> {
        let connecting = async {
            let stream = TcpStream::connect(&*self.address).await?;
            stream.set_nodelay(true)?;
            let stream = match &self.tls {
                None => Stream::Plain(stream),
                Some(tls) => {
                    let name = access::role::cell_server_name(&self.cell);
                    tls.connect(name.ok_or(std::io::ErrorKind::InvalidInput)?, stream).await?
                }
            };
            std::io::Result::Ok(Link::new(stream, self.scratch.clone()))
        };
        match tokio::time::timeout(left.min(limits::CONNECT_TIMEOUT), connecting).await.ok()? {
            Ok(link) => Some(link),
            Err(error) => {
                self.tell(&error);
                None
            }
        }
    }
}
