//! One client connection: where it is in its request, and the timers that follow from that. Timers are one sweep per
//! thread and quarter second, and one lazily armed deadline per connection, so that a request costs no timer of its own.

use std::cell::{Cell, OnceCell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use access::role::Process;
use http::HeaderValue;
use tokio::time::Sleep;

use crate::limits;
use crate::target::Side;
use crate::thread::Clock;

pub type Deadline = Instant;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Between requests.
    Idle,
    /// Some bytes of a head have come.
    Head,
    /// A cell has it.
    Request,
    /// Its answer is on the way to the client.
    Answer,
}

pub struct Client {
    pub side: Side,
    /// The peer's address, as it is passed on.
    pub peer: HeaderValue,
    pub peer_ip: IpAddr,
    /// What the peer's certificate says that it is, where one is asked for.
    pub process: OnceCell<Process>,
    clock: Rc<Clock>,
    phase: Cell<Phase>,
    phase_since: Cell<Instant>,
    /// When a byte last went either way.
    moved: Cell<Instant>,
    awaits_body: Cell<bool>,
    body_stalled: Cell<bool>,
    has_unread_body: Cell<bool>,
    /// Since when bytes wait for the client to take them, and how many it took since; None if none wait.
    blocked: Cell<Option<(Instant, u64)>>,
    over: Cell<bool>,
    /// What is being written is an answer of ours.
    answers: Cell<bool>,
    draining: Cell<bool>,
    task: RefCell<Option<Waker>>,
    timer: RefCell<Option<Pin<Box<Sleep>>>>,
    /// `Content-Length` lines read, less those of requests that were begun: see [`super::io`].
    lengths_ahead: Cell<u32>,
}

impl Client {
    pub fn new(side: Side, peer: SocketAddr, clock: &Rc<Clock>) -> Rc<Self> {
        let now = clock.now();
        Rc::new(Self {
            side,
            peer: HeaderValue::from_str(&peer.ip().to_string()).expect("an address is visible ASCII"),
            peer_ip: peer.ip(),
            process: OnceCell::new(),
            clock: Rc::clone(clock),
            phase: Cell::new(Phase::Idle),
            phase_since: Cell::new(now),
            moved: Cell::new(now),
            awaits_body: Cell::new(false),
            body_stalled: Cell::new(false),
            has_unread_body: Cell::new(false),
            blocked: Cell::new(None),
            over: Cell::new(false),
            answers: Cell::new(false),
            draining: Cell::new(false),
            task: RefCell::new(None),
            timer: RefCell::new(None),
            lengths_ahead: Cell::new(0),
        })
    }

    fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        self.phase_since.set(self.clock.now());
    }

    pub fn request_begun(&self) {
        self.enter(Phase::Request);
    }

    pub fn answer_begun(&self) {
        self.awaits_body.set(false);
        self.answers.set(true);
        self.enter(Phase::Answer);
    }

    pub fn request_over(&self) {
        // The last of its answer is still to be written.
        self.answers.set(true);
        self.enter(Phase::Idle);
    }

    pub fn all_written(&self) {
        self.answers.set(false);
        self.blocked.set(None);
    }

    /// Whether what is written now answers no request, hence is hyper's own answer to what is none.
    pub fn is_unasked(&self) -> bool {
        !self.answers.get() && !matches!(self.phase.get(), Phase::Request | Phase::Answer)
    }

    /// Whether it ended because a head did not arrive in time.
    pub fn is_over_in_head(&self) -> bool {
        self.over.get() && self.phase.get() == Phase::Head
    }

    pub fn bytes_read(&self) {
        self.moved.set(self.clock.now());
        if self.phase.get() == Phase::Idle {
            self.enter(Phase::Head);
        }
    }

    pub fn bytes_written(&self, count: usize) {
        self.moved.set(self.clock.now());
        self.blocked.set(self.blocked.get().map(|(since, taken)| (since, taken + count as u64)));
    }

    /// The client does not take what is to be written.
    pub fn write_is_blocked(&self) {
        self.blocked.set(self.blocked.get().or(Some((self.clock.now(), 0))));
    }

    /// True if a client that keeps bytes waiting takes them too slowly.
    fn reads_too_slowly(&self, now: Instant) -> bool {
        let Some((since, taken)) = self.blocked.get() else { return false };
        if now.saturating_duration_since(since) <= limits::ANSWER_STALL_TIMEOUT {
            return false;
        }
        self.blocked.set(None);
        taken < limits::ANSWER_MIN_BYTES
    }

    /// Whether a body came with the request that has not been read to its end.
    pub fn has_unread_body(&self, has: bool) {
        self.has_unread_body.set(has);
    }

    /// Whether the client may still send what its answer did not wait for.
    pub fn lingers(&self) -> bool {
        self.has_unread_body.get() && !self.is_over()
    }

    /// Whether we wait for more of the request's body.
    pub fn awaits_body(&self, awaits: bool) {
        self.awaits_body.set(awaits);
    }

    pub fn body_stalled(&self) -> bool {
        self.body_stalled.get()
    }

    pub fn length_line_read(&self) {
        self.lengths_ahead.set(self.lengths_ahead.get().saturating_add(1));
    }

    /// Called once a request; true if it has a `Content-Length` that hyper dropped in favour of `Transfer-Encoding`.
    pub fn ambiguous_length(&self, has_length: bool, is_chunked: bool) -> bool {
        let ahead = self.lengths_ahead.get();
        if ahead > 0 && (has_length || is_chunked) {
            self.lengths_ahead.set(ahead - 1);
        }
        is_chunked && ahead > 0
    }

    /// Remembers whom to wake; called on every poll of the connection.
    pub fn register(&self, waker: &Waker) {
        let mut task = self.task.borrow_mut();
        if !task.as_ref().is_some_and(|task| task.will_wake(waker)) {
            *task = Some(waker.clone());
        }
    }

    fn wake(&self) {
        if let Some(task) = self.task.borrow().as_ref() {
            task.wake_by_ref();
        }
    }

    pub fn is_over(&self) -> bool {
        self.over.get()
    }

    /// Ends the connection at once.
    pub fn end(&self) {
        self.over.set(true);
        self.wake();
    }

    /// Resolves when the connection is to end at once.
    pub async fn ended(&self) {
        std::future::poll_fn(|cx| {
            self.register(cx.waker());
            if self.is_over() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Since when nothing is asked on this connection; None while something is.
    pub fn idle_since(&self) -> Option<Instant> {
        let is_idle = matches!(self.phase.get(), Phase::Idle | Phase::Head) && !self.is_over();
        is_idle.then(|| self.phase_since.get())
    }

    pub fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Ends the connection after the request it is in.
    pub fn drain(&self) {
        self.draining.set(true);
        self.wake();
    }

    /// Ends what has lasted too long.
    pub fn sweep(&self, now: Instant, keep_alive_timeout: Duration) {
        let in_phase = now.saturating_duration_since(self.phase_since.get());
        if self.reads_too_slowly(now) {
            self.over.set(true);
            self.wake();
            return;
        }
        let unmoved = now.saturating_duration_since(self.moved.get()).min(in_phase);
        match self.phase.get() {
            Phase::Idle if in_phase > keep_alive_timeout => self.over.set(true),
            Phase::Head if in_phase > limits::HEAD_TIMEOUT => self.over.set(true),
            Phase::Request if self.awaits_body.get() && unmoved > limits::BODY_STALL_TIMEOUT => {
                self.body_stalled.set(true);
            }
            Phase::Answer if unmoved > limits::ANSWER_STALL_TIMEOUT => self.over.set(true),
            _ => return,
        }
        self.wake();
    }

    /// True when `deadline` has passed; else the task is woken when it does. The timer stays armed from one request
    /// to the next and is only ever moved when it is too late, or has fired too early.
    pub fn expired(&self, cx: &mut Context<'_>, deadline: Deadline) -> bool {
        let at = tokio::time::Instant::from_std(deadline);
        let mut timer = self.timer.borrow_mut();
        let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        if timer.deadline() > at {
            timer.as_mut().reset(at);
        }
        if timer.as_mut().poll(cx).is_pending() {
            return false;
        }
        if Instant::now() >= deadline {
            return true;
        }
        timer.as_mut().reset(at);
        timer.as_mut().poll(cx).is_ready()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_takes_too_little_of_an_answer_is_ended() {
        for (taken, is_over) in [(limits::ANSWER_MIN_BYTES, false), (limits::ANSWER_MIN_BYTES - 1, true)] {
            let start = Instant::now();
            let clock = Clock::new(start);
            let client = Client::new(Side::Public, ([127, 0, 0, 1], 1).into(), &clock);
            client.request_begun();
            client.answer_begun();
            client.write_is_blocked();
            // It took some a moment ago: the question is how much.
            let late = start + limits::ANSWER_STALL_TIMEOUT;
            clock.set(late);
            client.bytes_written(usize::try_from(taken).expect("small"));
            client.sweep(late + limits::SWEEP_PERIOD, limits::KEEP_ALIVE_TIMEOUT);
            assert_eq!(client.is_over(), is_over, "{taken} bytes");
        }
    }
}
