//! Traces: which one a piece of work belongs to (W3C `traceparent`), and its spans, where it is
//! sampled and collected. Off, it costs one look at a static.
//!
//! A span is made by hand and only where one is wanted; nothing here waits, and a full queue drops.

pub mod export;
mod otlp;

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;

/// Spans that wait to be sent; what does not fit is dropped and counted.
const QUEUE: usize = 8_192;
const VERSION: &str = "00";
/// Traces that callers from outside may ask of a process each second: what one costs, the deployment pays.
const ASKED_PER_SECOND: u64 = 20;
/// Of a count of what was asked for: these bits are the count, those above them the second.
const COUNT_BITS: u32 = 16;

/// How often callers from outside have asked for a trace in this second.
static ASKED: AtomicU64 = AtomicU64::new(0);

static COLLECTING: OnceLock<Collecting> = OnceLock::new();

struct Collecting {
    spans: mpsc::Sender<Span>,
    ratio: f64,
}

/// A place in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub trace: u128,
    pub span: u64,
    pub sampled: bool,
}

impl Place {
    /// `00-<32 digits>-<16 digits>-<2 digits>`. Later versions are read as far as they say the same.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let is_sound = version.len() == 2
            && version != "ff"
            && (version != VERSION || parts.next().is_none())
            && trace.len() == 32
            && span.len() == 16
            && flags.len() == 2
            && [version, trace, span, flags]
                .iter()
                .all(|part| part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
        if !is_sound {
            return None;
        }
        let (trace, span) = (u128::from_str_radix(trace, 16).ok()?, u64::from_str_radix(span, 16).ok()?);
        let sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
        (trace != 0 && span != 0).then_some(Self { trace, span, sampled })
    }

    fn child(self) -> Self {
        Self { span: new_span(), ..self }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{VERSION}-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.sampled))
    }
}

fn new_span() -> u64 {
    fastrand::u64(1..)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Server,
    Client,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Text(Cow<'static, str>),
    Number(i64),
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

/// A piece of work that is recorded; over when it is dropped.
#[derive(Debug)]
pub struct Span {
    pub place: Place,
    parent: Option<u64>,
    name: Cow<'static, str>,
    kind: Kind,
    began_ns: u64,
    ended_ns: u64,
    failed: bool,
    attributes: Vec<(&'static str, Value)>,
    /// Taken out when it is handed on.
    open: bool,
}

/// Whether spans are collected.
pub fn is_on() -> bool {
    COLLECTING.get().is_some()
}

/// The place in a trace of a request that came with this place, or none; and its span, if it is
/// recorded. A request that says nothing is sampled by the ratio; where nothing is collected it
/// goes on as it came.
pub fn enter(incoming: Option<Place>, name: impl Into<Cow<'static, str>>) -> (Option<Place>, Option<Span>) {
    let Some(collecting) = COLLECTING.get() else { return (incoming, None) };
    let place = incoming.map_or_else(
        || Place { trace: fastrand::u128(1..), span: new_span(), sampled: fastrand::f64() < collecting.ratio },
        |incoming| if incoming.sampled { incoming.child() } else { incoming },
    );
    let span = place.sampled.then(|| Span::new(place, incoming.map(|parent| parent.span), name.into(), Kind::Server));
    (Some(place), span)
}

/// [`enter`] for a caller from outside, which may ask for a trace by its flag only so often.
pub fn enter_from_outside(said: Option<Place>, name: impl Into<Cow<'static, str>>) -> (Option<Place>, Option<Span>) {
    let asks = is_on() && said.is_some_and(|place| place.sampled);
    if asks && !takes_one(&ASKED, now_ns() / 1_000_000_000) {
        metrics::counter!("trace_spans_dropped_total", "reason" => "asked").increment(1);
        return enter(said.map(|place| Place { sampled: false, ..place }), name);
    }
    enter(said, name)
}

/// Counts one more in this second, if there is room for it.
fn takes_one(asked: &AtomicU64, second: u64) -> bool {
    let one_more = |packed: u64| {
        let count = packed & ((1 << COUNT_BITS) - 1);
        match packed >> COUNT_BITS == second {
            true => (count < ASKED_PER_SECOND).then_some(packed + 1),
            false => Some(second << COUNT_BITS | 1),
        }
    };
    asked.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
}

/// A span of work that another process does for the current one; None where that is not recorded.
pub fn call(name: &'static str) -> Option<Span> {
    COLLECTING.get()?;
    let parent = current().filter(|place| place.sampled)?;
    Some(Span::new(parent.child(), Some(parent.span), name.into(), Kind::Client))
}

impl Span {
    fn new(place: Place, parent: Option<u64>, name: Cow<'static, str>, kind: Kind) -> Self {
        let began_ns = now_ns();
        Self { place, parent, name, kind, began_ns, ended_ns: 0, failed: false, attributes: Vec::new(), open: true }
    }

    pub fn note(&mut self, name: &'static str, value: impl Into<Value>) {
        self.attributes.push((name, value.into()));
    }

    pub fn failed(&mut self) {
        self.failed = true;
    }

    fn closed(&mut self) -> Self {
        Self {
            place: self.place,
            parent: self.parent,
            name: std::mem::take(&mut self.name),
            kind: self.kind,
            began_ns: self.began_ns,
            ended_ns: now_ns(),
            failed: self.failed,
            attributes: std::mem::take(&mut self.attributes),
            open: false,
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        let closed = self.closed();
        if let Some(collecting) = COLLECTING.get()
            && collecting.spans.try_send(closed).is_err()
        {
            metrics::counter!("trace_spans_dropped_total", "reason" => "queue").increment(1);
        }
    }
}

/// The wall clock at the edge.
#[allow(clippy::disallowed_methods)]
fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

tokio::task_local! {
    static CURRENT: Place;
}

/// The place in a trace of this task's work, if it is traced.
pub fn current() -> Option<Place> {
    CURRENT.try_with(|place| *place).ok()
}

/// Does `work` at this place.
pub async fn at<T>(place: Option<Place>, work: impl Future<Output = T>) -> T {
    match place {
        Some(place) => CURRENT.scope(place, work).await,
        None => work.await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sound_traceparent_is_read_and_written_again() {
        let sound = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let place = Place::parse(sound).expect("sound");
        assert_eq!((place.sampled, place.to_string().as_str()), (true, sound));
        let later = Place::parse("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-02-x").expect("a later version");
        assert!(!later.sampled);
        for unsound in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-+0f067aa0ba902b7-01",
        ] {
            assert_eq!(Place::parse(unsound), None, "{unsound}");
        }
    }

    #[tokio::test]
    async fn work_knows_its_place_and_nothing_else_does() {
        let place = Place::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00");
        assert_eq!(current(), None);
        assert_eq!(at(place, async { current() }).await, place);
        assert_eq!(at(None, async { current() }).await, None);
        // Nothing is collected in this process: what came goes on, and no span is made.
        let (on, span) = enter(place, "x");
        assert!(on == place && span.is_none());
    }

    #[test]
    fn callers_ask_for_so_many_traces_a_second() {
        let asked = AtomicU64::new(0);
        let taken = |second: u64| (0..100).filter(|_| takes_one(&asked, second)).count() as u64;
        assert_eq!((taken(1_800_000_000), taken(1_800_000_000)), (ASKED_PER_SECOND, 0));
        assert_eq!(taken(1_800_000_001), ASKED_PER_SECOND);
    }
}
