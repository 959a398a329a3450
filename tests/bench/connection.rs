//! One kept-alive connection to a local process: a request, its answer, the next. Plain bytes, so that the client takes
//! next to nothing of the processors that it shares with what it measures.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A POST of JSON below `/api/v1/wallets/`.
#[derive(Clone)]
pub struct Request {
    pub path: String,
    pub key: String,
    pub body: String,
}

pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl Answer {
    /// The status, and the code of a problem or the state of a transfer if the body names one.
    pub fn label(&self) -> String {
        let body: serde_json::Value = serde_json::from_str(&self.body).unwrap_or_default();
        let word = body["code"].as_str().or_else(|| body["status"].as_str());
        word.map_or_else(|| self.status.to_string(), |word| format!("{} {word}", self.status))
    }

    /// One text of the body.
    pub fn text(&self, field: &str) -> String {
        let body: serde_json::Value = serde_json::from_str(&self.body).unwrap_or_default();
        body[field].as_str().unwrap_or_else(|| panic!("no {field}: {} {}", self.status, self.body)).to_owned()
    }
}

pub struct Connection {
    address: String,
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    /// To `http://address`.
    pub async fn open(base: &str) -> io::Result<Self> {
        let address = base.strip_prefix("http://").expect("a local address").to_owned();
        let stream = TcpStream::connect(&address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { address, stream, buffer: Vec::with_capacity(4_096) })
    }

    pub async fn send(&mut self, request: &Request) -> io::Result<Answer> {
        let Request { path, key, body } = request;
        let text = format!(
            "POST /api/v1/wallets/{path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
             idempotency-key: {key}\r\ncontent-length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        self.stream.write_all(text.as_bytes()).await?;
        self.read_answer().await
    }

    async fn read_answer(&mut self) -> io::Result<Answer> {
        self.buffer.clear();
        let head = loop {
            self.read_more().await?;
            if let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
        };
        let text = String::from_utf8_lossy(&self.buffer[..head]).to_ascii_lowercase();
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
        let whole = head + length.trim().parse::<usize>().expect("a number");
        while self.buffer.len() < whole {
            self.read_more().await?;
        }
        Ok(Answer { status, body: String::from_utf8_lossy(&self.buffer[head..whole]).into_owned() })
    }

    async fn read_more(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}
