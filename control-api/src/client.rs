//! A client of the control plane's HTTP API, which turns problems into exit codes.

use std::path::PathBuf;
use std::sync::Once;
use std::time::Duration;

use access::flags::check_plain;
use access::http::{Connector, Http};
use access::tls::{self, days_left, now_s};
use anyhow::{Context, Result};
use command_line::{FAILED, PRECONDITION, USAGE, failure};
use http::header::AUTHORIZATION;
use http::{HeaderValue, Method};
use reqwest::Url;
use serde::Serialize;
use serde::de::DeserializeOwned;
use topology::Problem;

const TIMEOUT: Duration = Duration::from_secs(30);
/// Where a control plane listens by default.
pub const DEFAULT_SERVER: &str = "http://127.0.0.1:8083";

/// What a client shows the control plane, and by whom it expects to be answered.
#[derive(Default)]
pub struct Credentials {
    /// PEM file of the authorities to trust; else those that the machine trusts.
    pub authority: Option<PathBuf>,
    pub token: Option<String>,
}

pub struct Client {
    http: Http,
    pub server: String,
}

impl Client {
    /// `server`: `http://` or `https://host:port`.
    pub fn new(server: &str, credentials: &Credentials) -> Result<Self> {
        let is_tls = server.starts_with("https://");
        let tls = match &credentials.authority {
            _ if !is_tls => None,
            Some(authority) => Some(tls::Client::believing(authority).context("--ca")?),
            None => Some(tls::Client::public()?),
        };
        let mut http = Http::new(Connector::new(tls, None));
        if let Some(token) = &credentials.token {
            check_plain("--server", server).map_err(|error| failure(USAGE, error.to_string()))?;
            let value = HeaderValue::from_str(&format!("Bearer {}", token.trim()));
            let mut value = value.map_err(|_| failure(USAGE, "--token is not a token"))?;
            value.set_sensitive(true);
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
        let headers: &[_] = if body.is_empty() { &[] } else { &[("content-type", "application/json")] };
        let reply = self.http.ask(method, url.as_str(), headers, body, TIMEOUT).await.with_context(|| {
            format!("the control plane at {} does not answer (--server, CTL_SERVER); is `ctl up` running?", self.server)
        })?;
        if let Some(days) = days_left(reply.peer_ends_s, now_s()) {
            warn_once(days);
        }
        let (status, bytes) = (reply.status.as_u16(), reply.body);
        if (200..300).contains(&status) {
            return serde_json::from_slice(&bytes).context("the control plane's answer is not what was expected");
        }
        let code = match status {
            400 => USAGE,
            404 | 409 | 422 => PRECONDITION,
            _ => FAILED,
        };
        Err(match serde_json::from_slice::<Problem>(&bytes) {
            Ok(problem) => failure(code, format!("{} ({}): {}", problem.title, problem.code, problem.detail)),
            Err(_) => failure(code, format!("the control plane answered {status}")),
        })
    }
}

/// A command asks more than once.
fn warn_once(days: i64) {
    static WARNED: Once = Once::new();
    WARNED.call_once(|| eprintln!("warning: the control plane's certificate ends in {days} days: replace it"));
}
