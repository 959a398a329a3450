//! Reads a cell's answer: its head, and where its body ends (RFC 9112, section 6.3). Strict: lines end in CR LF, lengths
//! are digits, a length beside a coding or two lengths that differ are malformed. Never reads from a socket.

use bytes::{Buf, Bytes};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use crate::limits;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cell's answer is not HTTP/1.1 as it should be")]
pub struct Malformed;

#[derive(Debug, PartialEq, Eq)]
pub struct Head {
    pub status: StatusCode,
    pub framing: Framing,
    /// The cell does not close the connection after it.
    pub is_kept: bool,
}

/// What is still to come of a body.
#[derive(Debug, PartialEq, Eq)]
pub enum Framing {
    Length(u64),
    Chunked(Chunk),
    UntilClose,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Chunk {
    Size,
    Data(u64),
    DataEnd,
    Trailers,
    Over,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    Data(Bytes),
    End,
    /// More has to arrive first.
    NotYet,
}

/// Takes a whole head off `input`; None as long as it is not all there.
pub fn take_head(input: &mut Bytes, headers: &mut HeaderMap, asked: &Method) -> Result<Option<Head>, Malformed> {
    let Some(end) = memchr::memmem::find(input, b"\r\n\r\n") else { return Ok(None) };
    // With the CR LF of its last line, without the empty one.
    let head = input.split_to(end + 4).slice(..end + 2);
    let mut at = next_line(&head, 0).ok_or(Malformed)?;
    let (mut is_kept, status) = status_line(&head[..at])?;
    let (mut length, mut is_chunked) = (None, false);
    while at < head.len() {
        if headers.len() == limits::ANSWER_HEADERS_MAX {
            return Err(Malformed);
        }
        let end = next_line(&head, at).ok_or(Malformed)?;
        let colon = at + memchr::memchr(b':', &head[at..end - 2]).ok_or(Malformed)?;
        let name = HeaderName::from_bytes(&head[at..colon]).map_err(|_| Malformed)?;
        let value = head[colon + 1..end - 2].trim_ascii();
        let value = HeaderValue::from_maybe_shared(head.slice_ref(value)).map_err(|_| Malformed)?;
        at = end;
        if name == CONTENT_LENGTH {
            let stated = decimal(value.as_bytes()).ok_or(Malformed)?;
            match length.replace(stated) {
                Some(other) if other != stated => return Err(Malformed),
                Some(_) => continue,
                None => {}
            }
        } else if name == TRANSFER_ENCODING {
            if is_chunked || !value.as_bytes().eq_ignore_ascii_case(b"chunked") {
                return Err(Malformed);
            }
            is_chunked = true;
        } else if name == CONNECTION {
            let mut tokens = value.as_bytes().split(|&byte| byte == b',');
            is_kept &= !tokens.any(|token| token.trim_ascii().eq_ignore_ascii_case(b"close"));
        }
        headers.append(name, value);
    }
    let framing = framing(status, asked, length, is_chunked)?;
    Ok(Some(Head { status, is_kept: is_kept && framing != Framing::UntilClose, framing }))
}

/// Where the line that starts at `at` ends, after its CR LF.
fn next_line(head: &[u8], at: usize) -> Option<usize> {
    let end = at + memchr::memchr(b'\n', &head[at..])? + 1;
    (end - at >= 2 && head[end - 2] == b'\r').then_some(end)
}

/// Whether connections are kept in this version, and the status.
fn status_line(line: &[u8]) -> Result<(bool, StatusCode), Malformed> {
    let (version, rest) = line.split_at_checked(9).ok_or(Malformed)?;
    let is_kept = match version {
        b"HTTP/1.1 " => true,
        b"HTTP/1.0 " => false,
        _ => return Err(Malformed),
    };
    let (digits, reason) = rest.split_at_checked(3).ok_or(Malformed)?;
    let status = StatusCode::from_bytes(digits).map_err(|_| Malformed)?;
    // No request asks for another protocol.
    if !matches!(reason[0], b' ' | b'\r') || status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Malformed);
    }
    Ok((is_kept, status))
}

fn framing(status: StatusCode, asked: &Method, length: Option<u64>, is_chunked: bool) -> Result<Framing, Malformed> {
    let has_none = asked == Method::HEAD
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    match (length, is_chunked) {
        (Some(_), true) => Err(Malformed),
        _ if has_none => Ok(Framing::Length(0)),
        (Some(length), false) => Ok(Framing::Length(length)),
        (None, true) => Ok(Framing::Chunked(Chunk::Size)),
        (None, false) => Ok(Framing::UntilClose),
    }
}

fn decimal(digits: &[u8]) -> Option<u64> {
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    plain.then(|| str::from_utf8(digits).ok()?.parse().ok())?
}

impl Framing {
    /// Bytes still to come, if that is known.
    pub fn left(&self) -> Option<u64> {
        match self {
            Self::Length(left) => Some(*left),
            Self::Chunked(_) | Self::UntilClose => None,
        }
    }

    /// Takes off `input` what is there of the body.
    pub fn take(&mut self, input: &mut Bytes) -> Result<Piece, Malformed> {
        match self {
            Self::Length(0) => Ok(Piece::End),
            Self::Length(left) => Ok(some_of(left, input)),
            Self::Chunked(chunk) => chunk.take(input),
            Self::UntilClose if input.is_empty() => Ok(Piece::NotYet),
            Self::UntilClose => Ok(Piece::Data(std::mem::take(input))),
        }
    }
}

fn some_of(left: &mut u64, input: &mut Bytes) -> Piece {
    if input.is_empty() {
        return Piece::NotYet;
    }
    let count = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
    *left -= count as u64;
    // Taking all leaves no reference behind that would keep the buffer.
    Piece::Data(if count == input.len() { std::mem::take(input) } else { input.split_to(count) })
}

impl Chunk {
    fn take(&mut self, input: &mut Bytes) -> Result<Piece, Malformed> {
        loop {
            match self {
                Self::Over => return Ok(Piece::End),
                Self::Data(left) => {
                    let piece = some_of(left, input);
                    if *left == 0 {
                        *self = Self::DataEnd;
                    }
                    return Ok(piece);
                }
                Self::Size | Self::DataEnd | Self::Trailers => {}
            }
            let Some(end) = memchr::memchr(b'\n', input) else {
                return if input.len() < limits::CHUNK_LINE_MAX_BYTES { Ok(Piece::NotYet) } else { Err(Malformed) };
            };
            let line = input[..end].strip_suffix(b"\r").ok_or(Malformed)?;
            *self = match (&self, line.is_empty()) {
                (Self::Size, _) => chunk_of(line)?,
                (Self::Trailers, true) => Self::Over,
                (Self::Trailers, false) => Self::Trailers,
                (_, true) => Self::Size,
                (_, false) => return Err(Malformed),
            };
            input.advance(end + 1);
        }
    }
}

/// What a chunk's first line announces; extensions are passed over.
fn chunk_of(line: &[u8]) -> Result<Chunk, Malformed> {
    let digits = line.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii_end();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(Malformed);
    }
    let size = str::from_utf8(digits).ok().and_then(|digits| u64::from_str_radix(digits, 16).ok()).ok_or(Malformed)?;
    Ok(if size == 0 { Chunk::Trailers } else { Chunk::Data(size) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Status, header lines, body and what is left over, of an answer that arrives in two pieces.
    fn read(text: &str, cut: usize, asked: &Method) -> Result<(u16, usize, String, String), Malformed> {
        let (first, rest) = text.as_bytes().split_at(cut);
        let (mut input, mut headers) = (Bytes::copy_from_slice(first), HeaderMap::new());
        let mut rest = Some(rest);
        let mut more = |input: &mut Bytes| {
            let Some(rest) = rest.take() else { return false };
            *input = [input, rest].concat().into();
            true
        };
        let mut head = loop {
            match take_head(&mut input, &mut headers, asked)? {
                Some(head) => break head,
                None => assert!(more(&mut input), "a head"),
            }
        };
        let mut body = Vec::new();
        loop {
            match head.framing.take(&mut input)? {
                Piece::Data(data) => body.extend_from_slice(&data),
                Piece::End => break,
                Piece::NotYet if more(&mut input) => {}
                Piece::NotYet if head.framing == Framing::UntilClose => break,
                Piece::NotYet => return Err(Malformed),
            }
        }
        more(&mut input);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok((head.status.as_u16(), headers.len(), text(&body), text(&input)))
    }

    #[test]
    fn an_answer_ends_where_it_says_however_it_is_cut() {
        let (get, head) = (Method::GET, Method::HEAD);
        let cases = [
            ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\nx: y\r\n\r\nabcREST", &get, (200, 2, "abc", "REST")),
            ("HTTP/1.1 200 OK\r\nContent-Length:3\r\ncontent-length: 3\r\n\r\nabc", &get, (200, 1, "abc", "")),
            ("HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n", &get, (200, 1, "", "")),
            ("HTTP/1.1 204 No Content\r\n\r\nREST", &get, (204, 0, "", "REST")),
            ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nREST", &head, (200, 1, "", "REST")),
            ("HTTP/1.0 200 OK\r\n\r\nabc", &get, (200, 0, "abc", "")),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nt: 1\r\n\r\nREST",
                &get,
                (200, 1, "abc0123456789", "REST"),
            ),
        ];
        for (text, asked, (status, lines, body, rest)) in cases {
            for cut in 0..=text.len() {
                let expected = Ok((status, lines, body.to_owned(), rest.to_owned()));
                assert_eq!(read(text, cut, asked), expected, "{text} cut at {cut}");
            }
        }
    }

    #[test]
    fn what_does_not_plainly_say_where_it_ends_is_malformed() {
        for text in [
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
            "HTTP/1.1 200 OK\r\ncontent-length: 3, 3\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\ncontent-length: +3\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-1\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n10000000000000000\r\n\r\n",
            "HTTP/1.1 200 OK\r\nx : y\r\n\r\n",
            "HTTP/1.1 200 OK\r\nx: y\r\n z\r\n\r\n",
            "HTTP/1.1 200 OK\nx: y\r\n\r\n",
            "HTTP/1.1 200 OK\r\nx: y\nz: y\r\n\r\n",
            "HTTP/1.1 101 Other\r\n\r\n",
            "HTTP/1.1 2000 OK\r\n\r\n",
            "HTTP/2 200 OK\r\n\r\n",
            "\r\n\r\n",
        ] {
            assert_eq!(read(text, text.len(), &Method::GET), Err(Malformed), "{text}");
        }
    }
}
