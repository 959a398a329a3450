//! Writes a request as a cell is to read it. Names and values come from types that cannot hold a line end.

use std::io::Write;

use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http::{HeaderValue, Method};
use topology::wire;

use crate::limits;

/// A request's head, clean, and what the router adds to it.
pub struct Outgoing<'a> {
    pub head: &'a Parts,
    pub request_id: &'a HeaderValue,
    /// None if the head has it.
    pub forwarded_for: Option<&'a HeaderValue>,
    /// The caller, if authentication is on.
    pub actor: Option<&'a HeaderValue>,
    pub has_host: bool,
    pub deadline_ms: u64,
    pub hops: u32,
    /// The block by which the wallet left the cell that sent us here.
    pub moved: Option<&'a HeaderValue>,
}

/// What a request without a `Host` is given, since HTTP/1.1 needs one: a name that every cell takes.
const NO_HOST: &[u8] = b"host: localhost\r\n";

impl Outgoing<'_> {
    pub fn write(&self, into: &mut Vec<u8>, body: &[u8]) {
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
        if !body.is_empty() || !matches!(self.head.method, Method::GET | Method::HEAD) {
            number_line(into, "content-length", body.len() as u64);
        }
        into.extend_from_slice(b"\r\n");
        into.extend_from_slice(body);
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
