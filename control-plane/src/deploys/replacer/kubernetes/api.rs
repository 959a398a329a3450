//! A cluster's API server, asked for one kind of object.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use access::http::{Connector, Http, HttpError, Reply};
use access::tls::Client;
use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::eks;
use super::rollout::Deployment;
use super::settings::{Cluster, Credentials, Eks};

const PATIENCE: Duration = Duration::from_secs(20);
/// A token of EKS is good for 15 minutes.
const TOKEN_KEPT: Duration = Duration::from_secs(600);

#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error("the API server could not be asked: {0}")]
    Unreached(#[from] HttpError),
    #[error("{0}")]
    Credentials(String),
    #[error("the object has changed meanwhile")]
    Conflict,
    /// It takes no such change, whenever it is asked.
    #[error("the API server refuses it: {0}")]
    Refused(String),
    #[error("the API server answered {0}")]
    Status(String),
    #[error("the API server's answer is not understood: {0}")]
    Body(#[from] serde_json::Error),
}

pub struct Api<'a> {
    http: Http,
    /// Of the Deployments.
    url: String,
    credentials: &'a Credentials,
    token: Option<(Instant, String)>,
}

impl<'a> Api<'a> {
    pub async fn of(cluster: &'a Cluster) -> Result<Self, ApiError> {
        let authority = &cluster.certificate_authority;
        let tls = Client::believing(authority).map_err(|error| ApiError::Credentials(error.to_string()))?;
        let (server, namespace) = (cluster.server.trim_end_matches('/'), &cluster.namespace);
        if !server.starts_with("https://") {
            return Err(ApiError::Credentials(format!("{server} is not https://…, and a token would be sent there")));
        }
        Ok(Self {
            http: Http::new(Connector::new(Some(tls), None)),
            url: format!("{server}/apis/apps/v1/namespaces/{namespace}/deployments"),
            credentials: &cluster.credentials,
            token: None,
        })
    }

    pub async fn deployment(&mut self, name: &str) -> Result<Deployment, ApiError> {
        let reply = self.ask(Method::GET, name, &[], vec![]).await?;
        Ok(serde_json::from_slice(&reply.body)?)
    }

    pub async fn patch(&mut self, name: &str, patch: &Value) -> Result<(), ApiError> {
        let headers = [("content-type", "application/strategic-merge-patch+json")];
        self.ask(Method::PATCH, name, &headers, patch.to_string().into_bytes()).await.map(|_| ())
    }

    async fn ask(
        &mut self,
        method: Method,
        name: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Reply, ApiError> {
        let authorization = format!("Bearer {}", self.token().await?);
        let headers = [headers, &[("authorization", &authorization), ("accept", "application/json")]].concat();
        let reply = self.http.ask(method, &format!("{}/{name}", self.url), &headers, body, PATIENCE).await?;
        match reply.status {
            status if status.is_success() => Ok(reply),
            StatusCode::CONFLICT => Err(ApiError::Conflict),
            StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => Err(ApiError::Refused(said(&reply))),
            _ => Err(ApiError::Status(format!("{}: {}", reply.status, said(&reply)))),
        }
    }

    async fn token(&mut self) -> Result<String, ApiError> {
        match &self.token {
            Some((made, token)) if made.elapsed() < TOKEN_KEPT => return Ok(token.clone()),
            _ => {}
        }
        let token = match self.credentials {
            Credentials::TokenFile(path) => from_file(path)?,
            Credentials::Eks(cluster) => of_eks(cluster).await?,
        };
        self.token = Some((Instant::now(), token.clone()));
        Ok(token)
    }
}

fn from_file(path: &PathBuf) -> Result<String, ApiError> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| ApiError::Credentials(format!("{}: {error}", path.display())))?;
    Ok(text.trim().to_owned())
}

async fn of_eks(cluster: &Eks) -> Result<String, ApiError> {
    eks::token(cluster).await.map_err(|why| ApiError::Credentials(format!("no token for {}: {why:#}", cluster.name)))
}

/// What an API server says of a refusal.
fn said(reply: &Reply) -> String {
    let status: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    status["message"].as_str().unwrap_or("no reason given").chars().take(400).collect()
}
