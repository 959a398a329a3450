//! A client that sends exactly the bytes it is given: much of what is tested no decent client would send.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    pub fn code(&self) -> String {
        let problem: topology::Problem = serde_json::from_str(&self.body).expect("a problem");
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        assert_eq!(problem.request_id.as_deref(), self.header("x-request-id"));
        problem.code
    }
}

/// The connection, and what has come of the answer after the one that was read last.
pub struct Conversation(TcpStream, Vec<u8>);

impl Conversation {
    pub async fn begin(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.expect("the router listens"), Vec::new())
    }

    pub async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.expect("the router reads");
    }

    /// In pieces, as over a line that takes its time: a connection that is reset meanwhile takes no
    /// more of them.
    pub async fn send_slowly(&mut self, text: &str) {
        for piece in text.as_bytes().chunks(100_000) {
            self.0.write_all(piece).await.expect("the router reads");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Says that nothing more will be sent.
    pub async fn end(&mut self) {
        self.0.shutdown().await.expect("the router is there");
    }

    /// The next answer; None if the connection is closed instead.
    pub async fn answer(&mut self) -> Option<Answer> {
        tokio::time::timeout(PATIENCE, self.read_answer()).await.expect("an answer in time")
    }

    /// Reads until `text` has come.
    pub async fn until(&mut self, text: &str) {
        let reading = async {
            while !String::from_utf8_lossy(&self.1).contains(text) {
                assert_ne!(self.0.read_buf(&mut self.1).await.expect("more"), 0, "closed");
            }
        };
        tokio::time::timeout(PATIENCE, reading).await.expect("in time");
    }

    /// Everything up to the end of the connection.
    pub async fn rest(&mut self) -> String {
        let mut bytes = std::mem::take(&mut self.1);
        let reading = async { while matches!(self.0.read_buf(&mut bytes).await, Ok(1..)) {} };
        tokio::time::timeout(PATIENCE, reading).await.expect("the end in time");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Reads an answer whatever it is, and says how long its body is.
    pub async fn rest_of_answer(&mut self) -> usize {
        let mut bytes = std::mem::take(&mut self.1);
        let reading = async {
            loop {
                let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|end| end + 4);
                if let Some(end) = end {
                    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
                    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
                    let length: usize = length.expect("a length");
                    while bytes.len() < end + length {
                        assert_ne!(self.0.read_buf(&mut bytes).await.expect("a whole body"), 0, "body broke off");
                    }
                    return length;
                }
                assert_ne!(self.0.read_buf(&mut bytes).await.expect("a head"), 0, "no answer");
            }
        };
        tokio::time::timeout(PATIENCE, reading).await.expect("an answer in time")
    }

    async fn read_answer(&mut self) -> Option<Answer> {
        let mut bytes = std::mem::take(&mut self.1);
        let end = loop {
            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            if self.0.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                return None;
            }
        };
        let head = String::from_utf8(bytes[..end].to_vec()).expect("a head is text");
        let status = head[9..12].parse().expect("a status");
        let mut answer = Answer { status, head, body: String::new() };
        let length: usize = answer.header("content-length").map_or(0, |text| text.parse().expect("a length"));
        while bytes.len() < end + length {
            assert_ne!(self.0.read_buf(&mut bytes).await.expect("a whole body"), 0, "body broke off");
        }
        self.1 = bytes.split_off(end + length);
        answer.body = String::from_utf8(bytes.split_off(end)).expect("a body is text");
        Some(answer)
    }
}

/// One request on a connection of its own.
pub async fn ask(address: SocketAddr, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut text = format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        text.push_str(&format!("content-length: {}\r\n", body.len()));
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            text.push_str("content-type: application/json\r\n");
        }
    }
    let mut conversation = Conversation::begin(address).await;
    conversation.send(&format!("{text}\r\n{body}")).await;
    conversation.answer().await.expect("an answer")
}
