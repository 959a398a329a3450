//! Writes a request as a cell is to read it. Names and values come from types that cannot hold a line end.

use std::io::Write;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http::{HeaderValue, Method};
use topology::wire;

use crate::limits;
use crate::proxy::body::ForwardBody;

/// A request's head, clean, and what the router adds to it.
pub struct Outgoing<'a> {
    pub head: &'a Parts,
    pub request_id: &'a HeaderValue,
    /// None if the head has it.
    pub forwarded_for: Option<&'a HeaderValue>,
    /// Who asks, if he had to say so.
    pub actor: Option<&'a HeaderValue>,
    pub has_host: bool,
    pub deadline_ms: u64,
    pub hops: u32,
    /// The block by which the wallet left the cell that sent us here.
    pub moved: Option<&'a HeaderValue>,
}

/// How the rest of a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// There is no rest.
    Done,
    /// As many bytes as were announced.
    Plain,
    Chunked,
}

/// What an HTTP/1.0 request without a `Host` is given, since HTTP/1.1 needs one.
const NO_HOST: &[u8] = b"host: router\r\n";

impl Outgoing<'_> {
    /// Writes the head, and a body that is held whole.
    pub fn write(&self, into: &mut Vec<u8>, body: &ForwardBody) -> Coding {
        into.extend_from_slice(self.head.method.as_str().as_bytes());
        into.push(b' ');
        // Whatever the client wrote, an origin server is asked for a path.
        let target = self.head.uri.path_and_query().map_or("/", |target| target.as_str());
        into.extend_from_slice(target.as_bytes());
        into.extend_from_slice(b" HTTP/1.1\r\n");
        if !self.has_host {
            into.extend_from_slice(NO_HOST);
        }
        // How long the body is, is said by what is sent of it, below.
        for (name, value) in self.head.headers.iter().filter(|(name, _)| **name != CONTENT_LENGTH) {
            line(into, name.as_str(), value.as_bytes());
        }
        line(into, wire::REQUEST_ID, self.request_id.as_bytes());
        if let Some(forwarded_for) = self.forwarded_for {
            line(into, wire::FORWARDED_FOR, forwarded_for.as_bytes());
        }
        if let Some(actor) = self.actor {
            line(into, wire::ACTOR, actor.as_bytes());
        }
        if self.deadline_ms == limits::DEADLINE_DEFAULT_MS {
            line(into, wire::DEADLINE_MS, b"10000");
        } else {
            number_line(into, wire::DEADLINE_MS, self.deadline_ms);
        }
        if self.hops > 0 {
            number_line(into, wire::HOPS, u64::from(self.hops));
        }
        if let Some(moved) = self.moved {
            line(into, wire::MOVED_BLOCK, moved.as_bytes());
        }
        self.write_body(into, body)
    }

    fn write_body(&self, into: &mut Vec<u8>, body: &ForwardBody) -> Coding {
        match body {
            ForwardBody::Whole(bytes) => {
                if !bytes.is_empty() || !matches!(self.head.method, Method::GET | Method::HEAD) {
                    number_line(into, "content-length", bytes.len() as u64);
                }
                into.extend_from_slice(b"\r\n");
                into.extend_from_slice(bytes);
                Coding::Done
            }
            ForwardBody::Stream { length: Some(length), .. } => {
                number_line(into, "content-length", *length);
                into.extend_from_slice(b"\r\n");
                Coding::Plain
            }
            ForwardBody::Stream { length: None, .. } => {
                into.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
                Coding::Chunked
            }
        }
    }
}

fn line(into: &mut Vec<u8>, name: &str, value: &[u8]) {
    into.extend_from_slice(name.as_bytes());
    into.extend_from_slice(b": ");
    into.extend_from_slice(value);
    into.extend_from_slice(b"\r\n");
}

fn number_line(into: &mut Vec<u8>, name: &str, number: u64) {
    write!(into, "{name}: {number}\r\n").expect("a vector takes everything");
}

impl Coding {
    /// Writes the next piece of a body; None is its end.
    pub fn encode(&mut self, data: Option<Bytes>, into: &mut Vec<u8>) {
        match (&self, data) {
            (Self::Chunked, Some(data)) if !data.is_empty() => {
                write!(into, "{:x}\r\n", data.len()).expect("a vector takes everything");
                into.extend_from_slice(&data);
                into.extend_from_slice(b"\r\n");
            }
            (_, Some(data)) => into.extend_from_slice(&data),
            (_, None) => {
                if *self == Self::Chunked {
                    into.extend_from_slice(b"0\r\n\r\n");
                }
                *self = Self::Done;
            }
        }
    }
}
