//! Calls the control plane's HTTP API and turns its problems into exit codes.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use topology::Problem;

use super::{FAILED, PRECONDITION, USAGE, failure, fleet::Fleet};

const TIMEOUT: Duration = Duration::from_secs(30);
const DEFAULT_SERVER: &str = "http://127.0.0.1:8083";

pub struct Api {
    http: reqwest::Client,
    pub server: String,
}

impl Api {
    /// The server that was named, or that of the local fleet in `data`, or the default one.
    pub fn new(server: Option<&str>, data: &Path) -> Result<Self> {
        let local =
            || Fleet::load(data).ok().flatten().map(|fleet| format!("http://{}", fleet.ports().control_plane()));
        let server = server.map(str::to_owned).or_else(local).unwrap_or_else(|| DEFAULT_SERVER.to_owned());
        let http = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build()?;
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
        self.answer(self.http.get(url)).await
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
        let mut request = self.http.request(method, self.url(path)?);
        if let Some(body) = body {
            request = request.json(body);
        }
        self.answer(request).await
    }

    async fn answer<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> Result<T> {
        let response = request.send().await.with_context(|| {
            format!("the control plane at {} does not answer (--server, CTL_SERVER); is `ctl up` running?", self.server)
        })?;
        let status = response.status().as_u16();
        let bytes = response.bytes().await.context("the control plane's answer was cut off")?;
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
