//! OTLP's protobuf, as far as spans need it: the messages of `opentelemetry/proto/collector/trace/v1`, field by field.
//! Written by hand: it is six small messages, and the generated code with its runtime would be in every binary.

use super::{Kind, Span, Value};
use crate::metrics::Identity;

const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const BYTES: u8 = 2;
const FIXED32: u8 = 5;
/// `SPAN_KIND_SERVER`, `SPAN_KIND_CLIENT`, `STATUS_CODE_ERROR`.
const SERVER: u64 = 2;
const CLIENT: u64 = 3;
const ERROR: u64 = 2;
/// Of a span's flags: that it is sampled.
const SAMPLED: u32 = 1;

#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn key(&mut self, field: u8, wire: u8) {
        // Every field used here has a number of at most 16, hence a key of at most two bytes.
        self.varint(u64::from(field) << 3 | u64::from(wire));
    }

    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    fn number(&mut self, field: u8, number: u64) {
        self.key(field, VARINT);
        self.varint(number);
    }

    fn fixed64(&mut self, field: u8, number: u64) {
        self.key(field, FIXED64);
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn fixed32(&mut self, field: u8, number: u32) {
        self.key(field, FIXED32);
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn bytes(&mut self, field: u8, bytes: &[u8]) {
        self.key(field, BYTES);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn message(&mut self, field: u8, fill: impl FnOnce(&mut Message)) {
        let mut inner = Message::default();
        fill(&mut inner);
        self.bytes(field, &inner.0);
    }

    /// `KeyValue { key = 1, value = 2: AnyValue { string_value = 1, int_value = 3 } }`.
    fn attribute(&mut self, field: u8, name: &str, value: &Value) {
        self.message(field, |pair| {
            pair.bytes(1, name.as_bytes());
            pair.message(2, |any| match value {
                Value::Text(text) => any.bytes(1, text.as_bytes()),
                Value::Number(number) => any.number(3, number.cast_unsigned()),
            });
        });
    }
}

/// `ExportTraceServiceRequest` with these spans of one process.
pub fn request(identity: &Identity, spans: &[Span]) -> Vec<u8> {
    let mut request = Message::default();
    request.message(1, |of_resource| {
        of_resource.message(1, |resource| {
            let text = |text: &str| Value::Text(text.to_owned().into());
            resource.attribute(1, "service.name", &text(identity.process));
            resource.attribute(1, "service.version", &text(&identity.version));
            for (name, value) in &identity.labels {
                let name = if *name == "instance" { "service.instance.id" } else { name };
                resource.attribute(1, name, &text(value));
            }
        });
        of_resource.message(2, |of_scope| {
            of_scope.message(1, |scope| scope.bytes(1, b"wallet"));
            for span in spans {
                of_scope.message(2, |message| write(message, span));
            }
        });
    });
    request.0
}

fn write(message: &mut Message, span: &Span) {
    message.bytes(1, &span.place.trace.to_be_bytes());
    message.bytes(2, &span.place.span.to_be_bytes());
    if let Some(parent) = span.parent {
        message.bytes(4, &parent.to_be_bytes());
    }
    message.bytes(5, span.name.as_bytes());
    message.number(6, if span.kind == Kind::Server { SERVER } else { CLIENT });
    message.fixed64(7, span.began_ns);
    message.fixed64(8, span.ended_ns);
    for (name, value) in &span.attributes {
        message.attribute(9, name, value);
    }
    if span.failed {
        message.message(15, |status| status.number(3, ERROR));
    }
    message.fixed32(16, SAMPLED);
}
