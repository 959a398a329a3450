//! Calls the control plane's HTTP API and turns its problems into exit codes.

use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Duration;

use access::flags::check_plain;
use access::http::{Connector, Http};
use access::tls::{Client, now_s};
use anyhow::{Context, Result};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderValue, Method};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use topology::Problem;

use super::flags::Common;
use super::fleet::Fleet;
use super::secrets::Secrets;
use super::{FAILED, PRECONDITION, USAGE, failure};
use crate::instances::days_left;

const TIMEOUT: Duration = Duration::from_secs(30);
const DEFAULT_SERVER: &str = "http://127.0.0.1:8083";
/// The token that is made for one command on a fleet of one's own lasts for one wait of that command.
const OWN_TOKEN_LIFE: Duration = Duration::from_secs(24 * 3_600);

/// What the control plane is shown.
#[derive(Default)]
pub struct Credentials {
    /// PEM file of the authorities to believe; else those that the machine believes.
    pub authority: Option<PathBuf>,
    pub token: Option<String>,
}

pub struct Api {
    http: Http,
    pub server: String,
}

impl Api {
    /// The server that was named, or that of the local fleet in `data`, or the default one. Nobody says who he is.
    pub fn new(server: Option<&str>, data: &Path) -> Result<Self> {
        let local =
            || Fleet::load(data).ok().flatten().map(|fleet| format!("http://{}", fleet.ports().control_plane()));
        let server = server.map(str::to_owned).or_else(local).unwrap_or_else(|| DEFAULT_SERVER.to_owned());
        Self::with(&server, &Credentials::default())
    }

    /// As the flags say. On a local fleet of one's own, what the flags do not say is in its data directory.
    pub fn of(common: &Common) -> Result<Self> {
        let own = Fleet::load(&common.data).ok().flatten().filter(|_| common.server.is_none());
        let mut credentials = Credentials { authority: common.ca.clone(), token: common.token.clone() };
        if own.as_ref().is_some_and(|fleet| fleet.secure) {
            let secrets = Secrets::of(&common.data);
            credentials.authority.get_or_insert_with(|| secrets.authority());
            if credentials.token.is_none() {
                credentials.token = Some(own_token(&secrets, &common.actor)?);
            }
        }
        let own = own.map(|fleet| format!("{}://{}", fleet.scheme(), fleet.ports().control_plane()));
        let server = common.server.clone().or(own).unwrap_or_else(|| DEFAULT_SERVER.to_owned());
        Self::with(&server, &credentials)
    }

    /// `server`: `http://` or `https://host:port`.
    pub fn with(server: &str, credentials: &Credentials) -> Result<Self> {
        let is_tls = server.starts_with("https://");
        let tls = match &credentials.authority {
            _ if !is_tls => None,
            Some(authority) => Some(Client::believing(authority).context("--ca")?),
            None => Some(Client::public()?),
        };
        let mut http = Http::new(Connector::new(tls, None));
        if let Some(token) = &credentials.token {
            check_plain("--server", server).map_err(|error| failure(USAGE, error.to_string()))?;
            let value = HeaderValue::from_str(&format!("Bearer {}", token.trim()));
            let mut value = value.map_err(|_| failure(USAGE, "--token is no token"))?;
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

    fn url(&self, path: &[&str]) -> Result<reqwest::Url> {
        let mut url = reqwest::Url::parse(&self.server)
            .map_err(|error| failure(USAGE, format!("--server {:?}: {error}", self.server)))?;
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

    async fn answer<T: DeserializeOwned>(&self, method: Method, url: &reqwest::Url, body: Vec<u8>) -> Result<T> {
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

/// On a fleet of one's own one is its admin.
pub fn own_token(secrets: &Secrets, actor: &str) -> Result<String> {
    let name: String = actor.chars().filter(char::is_ascii_graphic).collect();
    let name = if name.is_empty() { "unknown" } else { &name };
    secrets.mint(json!({ "kind": "operator", "sub": name, "role": "admin" }), OWN_TOKEN_LIFE)
}
