//! The log: one line of JSON (or text) for each event, on standard error, with the process's identity and what the spans
//! around it say: `request_id`, `trace_id`, `wallet`. Its level can be changed while the process runs. A panic is a line
//! too, and counted.
//!
//! It must never hold up what logs: lines are written by a thread of their own, or dropped.

mod writer;

use std::io::IsTerminal;
use std::panic::PanicHookInfo;
use std::sync::OnceLock;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::flags::LogFormat;
use crate::metrics::Identity;
use writer::Lossy;

/// Longest filter taken from outside, in bytes.
pub const FILTER_MAX_BYTES: usize = 512;

static WRITER: OnceLock<Lossy> = OnceLock::new();
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Writes what was logged when it is dropped: at the end of the process.
#[must_use = "lines that were logged last are written when it is dropped"]
pub struct Guard(());

impl Drop for Guard {
    fn drop(&mut self) {
        flush();
    }
}

/// Waits for a moment until what was logged is written: before a process ends without dropping its [`Guard`].
pub fn flush() {
    if let Some(writer) = WRITER.get() {
        writer.flush();
    }
}

/// Starts the log of this process. Fails for a filter that cannot be read.
pub fn install(identity: &Identity, format: LogFormat, filter: &str) -> Result<Guard, String> {
    let writer = Lossy::stderr().map_err(|error| error.to_string())?;
    let (filter, handle) = reload::Layer::new(parse(filter)?);
    let registry = tracing_subscriber::registry().with(filter).with(Counted);
    let started = match format {
        LogFormat::Json => registry.with(Lines::new(identity, writer.clone())).try_init(),
        LogFormat::Text => {
            let ansi = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            let lines = writer.clone();
            let layer = tracing_subscriber::fmt::layer().with_ansi(ansi).with_writer(move || lines.clone());
            registry.with(layer).try_init()
        }
    };
    started.map_err(|error| error.to_string())?;
    // It is the first log of the process, so this is the first handle.
    let _ = FILTER.set(handle);
    let _ = WRITER.set(writer);
    std::panic::set_hook(Box::new(panicked));
    Ok(Guard(()))
}

/// Instead of the usual hook, which would wait for a standard error that nothing reads.
fn panicked(panic: &PanicHookInfo<'_>) {
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    let message = panic.payload_as_str().unwrap_or("without a message");
    metrics::counter!("panics_total").increment(1);
    tracing::error!(location, panic = message, "a panic");
}

fn parse(filter: &str) -> Result<EnvFilter, String> {
    if filter.len() > FILTER_MAX_BYTES {
        return Err(format!("longer than {FILTER_MAX_BYTES} bytes"));
    }
    EnvFilter::try_new(filter).map_err(|error| error.to_string())
}

/// What is logged now.
pub fn filter() -> String {
    FILTER.get().and_then(|handle| handle.with_current(ToString::to_string).ok()).unwrap_or_default()
}

/// Changes what is logged, from now on.
pub fn set_filter(filter: &str) -> Result<(), String> {
    let filter = parse(filter.trim())?;
    let handle = FILTER.get().ok_or("this process has no log")?;
    handle.reload(filter).map_err(|error| error.to_string())
}

/// Counts what a human may have to look at.
struct Counted;

impl<S: Subscriber> Layer<S> for Counted {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        match *event.metadata().level() {
            Level::ERROR => metrics::counter!("log_events_total", "level" => "error").increment(1),
            Level::WARN => metrics::counter!("log_events_total", "level" => "warn").increment(1),
            _ => {}
        }
    }
}

struct Lines {
    identity: Map<String, Value>,
    writer: Lossy,
}

/// What a span says, kept with it.
struct Said(Map<String, Value>);

struct Fields<'a>(&'a mut Map<String, Value>);

impl Fields<'_> {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}

impl Lines {
    fn new(identity: &Identity, writer: Lossy) -> Self {
        let process = ("process".to_owned(), Value::from(identity.process));
        let labels = identity.labels.iter().map(|(name, value)| ((*name).to_owned(), Value::from(value.as_str())));
        Self { identity: std::iter::once(process).chain(labels).collect(), writer }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Lines {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut said = Map::new();
        attributes.record(&mut Fields(&mut said));
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(Said(said));
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(Said(said)) = span.extensions_mut().get_mut::<Said>()
        {
            values.record(&mut Fields(said));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut line = Map::new();
        let mut at = String::new();
        // Without a time the line is still worth writing.
        let _ = SystemTime.format_time(&mut Writer::new(&mut at));
        line.insert("timestamp".into(), at.into());
        line.insert("level".into(), event.metadata().level().as_str().into());
        line.insert("target".into(), event.metadata().target().into());
        line.extend(self.identity.clone());
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(Said(said)) = span.extensions().get::<Said>() {
                line.extend(said.clone());
            }
        }
        event.record(&mut Fields(&mut line));
        let mut bytes = serde_json::to_vec(&line).unwrap_or_default();
        bytes.push(b'\n');
        self.writer.line(bytes);
    }
}
