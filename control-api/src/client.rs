//! A client of the control plane's HTTP API, which turns problems into exit codes.

use std::fmt;
use std::path::PathBuf;
use std::sync::Once;
use std::time::Duration;

use access::flags::check_plain;
use access::http::{Connector, Http, Reply};
use access::tls::{self, days_left, now_s};
use anyhow::{Context, Result};
use command_line::{FAILED, PRECONDITION, USAGE, failure};
use http::header::AUTHORIZATION;
use http::{HeaderValue, Method};
use reqwest::Url;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::sleep;
use topology::Problem;

use crate::Refusal;

const TIMEOUT: Duration = Duration::from_secs(30);
/// How often a request is sent that another one came before, and how long the first pause in between is; each is twice the
/// one before.
const ATTEMPTS_MAX: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Where a control plane listens by default.
pub const DEFAULT_SERVER: &str = "http://127.0.0.1:8083";

/// What a client shows, and by whom it expects to be answered.
#[derive(Clone, Default)]
pub struct Credentials {
    /// PEM file of the authorities to trust; else those that the machine trusts.
    pub authority: Option<PathBuf>,
    pub token: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = self.token.as_ref().map(|_| "…");
        f.debug_struct("Credentials").field("authority", &self.authority).field("token", &token).finish()
    }
}

impl Credentials {
    /// How to connect to this server.
    pub fn connector(&self, url: &str) -> Result<Connector> {
        let tls = match &self.authority {
            _ if !url.starts_with("https://") => None,
            Some(authority) => Some(tls::Client::believing(authority)?),
            None => Some(tls::Client::public()?),
        };
        Ok(Connector::new(tls, None))
    }

    /// The token as a header's value, for a server that may have it; `flag` names the server.
    pub fn authorization(&self, flag: &str, url: &str) -> Result<Option<HeaderValue>> {
        let Some(token) = &self.token else { return Ok(None) };
        check_plain(flag, url).map_err(|error| failure(USAGE, error.to_string()))?;
        let value = HeaderValue::from_str(&format!("Bearer {}", token.trim()));
        let mut value = value.map_err(|_| failure(USAGE, "the token is not a token"))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

pub struct Client {
    http: Http,
    pub server: String,
}

impl Client {
    /// `server`: `http://` or `https://host:port`.
    pub fn new(server: &str, credentials: &Credentials) -> Result<Self> {
        let mut http = Http::new(credentials.connector(server).context("--ca")?);
        if let Some(value) = credentials.authorization("--server", server)? {
            http = http.with(AUTHORIZATION, value);
        }
        Ok(Self { http, server: server.trim_end_matches('/').to_owned() })
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T> {
        self.send(Method::GET, path, None::<&()>).await
    }

    pub async fn history<T: DeserializeOwned>(&self, limit: u32) -> Result<T> {
        self.get_with(&["v1", "placement", "history"], &[("limit", limit.to_string())]).await
    }

    pub async fn get_with<T: DeserializeOwned>(&self, path: &[&str], query: &[(&str, String)]) -> Result<T> {
        let mut url = self.url(path)?;
        url.query_pairs_mut().extend_pairs(query);
        self.answer(Method::GET, &url, vec![]).await
    }

    pub async fn put_with<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, String)],
        body: &impl Serialize,
    ) -> Result<T> {
        let mut url = self.url(path)?;
        url.query_pairs_mut().extend_pairs(query);
        self.answer(Method::PUT, &url, serde_json::to_vec(body)?).await
    }

    fn url(&self, path: &[&str]) -> Result<Url> {
        let mut url =
            Url::parse(&self.server).map_err(|error| failure(USAGE, format!("--server {:?}: {error}", self.server)))?;
        url.path_segments_mut().map_err(|()| failure(USAGE, "--server is not an http:// URL"))?.extend(path);
        Ok(url)
    }

    pub async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        body: Option<&impl Serialize>,
    ) -> Result<T> {
        let body = body.map(serde_json::to_vec).transpose()?.unwrap_or_default();
        self.answer(method, &self.url(path)?, body).await
    }

    async fn answer<T: DeserializeOwned>(&self, method: Method, url: &Url, body: Vec<u8>) -> Result<T> {
        let mut pause = FIRST_PAUSE;
        for _ in 1..ATTEMPTS_MAX {
            let reply = self.ask(&method, url, body.clone()).await?;
            if problem(&reply).is_none_or(|problem| problem.code != Refusal::TryAgain.code()) {
                return read(&reply);
            }
            sleep(pause).await;
            pause *= 2;
        }
        read(&self.ask(&method, url, body).await?)
    }

    async fn ask(&self, method: &Method, url: &Url, body: Vec<u8>) -> Result<Reply> {
        let headers: &[_] = if body.is_empty() { &[] } else { &[("content-type", "application/json")] };
        let reply = self.http.ask(method.clone(), url.as_str(), headers, body, TIMEOUT).await.with_context(|| {
            format!("the control plane at {} does not answer (--server, CTL_SERVER); is `ctl up` running?", self.server)
        })?;
        if let Some(days) = days_left(reply.peer_ends_s, now_s()) {
            warn_once(days);
        }
        Ok(reply)
    }
}

fn problem(reply: &Reply) -> Option<Problem> {
    serde_json::from_slice(&reply.body).ok().filter(|_| !reply.status.is_success())
}

fn read<T: DeserializeOwned>(reply: &Reply) -> Result<T> {
    let status = reply.status.as_u16();
    if reply.status.is_success() {
        return serde_json::from_slice(&reply.body).context("the control plane's answer is not what was expected");
    }
    let code = match status {
        400 => USAGE,
        404 | 409 | 422 => PRECONDITION,
        _ => FAILED,
    };
    Err(match problem(reply) {
        Some(problem) => failure(code, format!("{} ({}): {}", problem.title, problem.code, problem.detail)),
        None => failure(code, format!("the control plane answered {status}")),
    })
}

/// A command asks more than once.
fn warn_once(days: i64) {
    static WARNED: Once = Once::new();
    WARNED.call_once(|| eprintln!("warning: the control plane's certificate ends in {days} days: replace it"));
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers each request with the next of these, and returns how many were not asked for.
    async fn asked(answers: &[(&str, &str)]) -> (Result<u32>, usize) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let server = format!("http://{}", listener.local_addr().expect("bound"));
        let client = Client::new(&server, &Credentials::default()).expect("a client");
        let mut left = answers.iter();
        let serve = async {
            while left.len() > 0 {
                let (mut stream, _) = listener.accept().await.expect("connected");
                let mut request = [0; 4096];
                assert!(stream.read(&mut request).await.expect("a request") > 0);
                let (status, body) = left.next().expect("counted");
                let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
                stream.write_all(format!("{head}{body}").as_bytes()).await.expect("written");
            }
            std::future::pending::<()>().await;
        };
        let answer = tokio::select! {
            answer = client.get::<u32>(&["v1", "x"]) => answer,
            () = serve => unreachable!("it waits for ever"),
        };
        (answer, left.len())
    }

    const SECOND: (&str, &str) =
        ("503 x", r#"{"type":"about:blank","title":"t","status":503,"code":"try_again","detail":"d"}"#);

    #[tokio::test]
    async fn a_request_that_came_second_is_repeated() {
        let (answer, left) = asked(&[SECOND, SECOND, ("200 x", "7")]).await;
        assert_eq!((answer.expect("answered"), left), (7, 0));
    }

    #[tokio::test]
    async fn another_refusal_is_not_repeated() {
        let other = ("503 x", r#"{"type":"about:blank","title":"t","status":503,"code":"no_quorum","detail":"d"}"#);
        let (answer, left) = asked(&[other, ("200 x", "7")]).await;
        assert!(answer.expect_err("refused").to_string().contains("no_quorum"));
        assert_eq!(left, 1);
    }

    #[tokio::test]
    async fn repeating_has_an_end() {
        let (answer, left) = asked(&[SECOND; ATTEMPTS_MAX as usize + 1]).await;
        assert!(answer.expect_err("refused").to_string().contains("try_again"));
        assert_eq!(left, 1);
    }
}
