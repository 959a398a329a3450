//! A secure fleet, and callers of every kind.

use std::time::Duration;

use access::http::{Connector, Http, HttpError};
use access::tls::{Client, MeshFiles};
use local_fleet::secrets::Secrets;
use reqwest::Method;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};

use crate::fleet::{Fleet, Shape};

pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Secure {
    pub fleet: Fleet,
    pub secrets: Secrets,
    http: Http,
}

pub struct Reply {
    pub status: u16,
    pub text: String,
    pub challenge: Option<String>,
}

impl Reply {
    pub fn code(&self) -> String {
        let body: Value = serde_json::from_str(&self.text).unwrap_or_default();
        body["code"].as_str().unwrap_or_default().to_owned()
    }
}

impl Secure {
    pub async fn start(cells: u16) -> Self {
        Self::start_with(cells, vec![]).await
    }

    pub async fn start_with(cells: u16, environment: Vec<(String, String)>) -> Self {
        let fleet = Fleet::of(Shape { cells, environment, flags: vec!["--secure"], ..Shape::default() }).await;
        let secrets = Secrets::of(fleet.data());
        let tls = Client::believing(&secrets.authority()).expect("the fleet's authority");
        Self { http: Http::new(Connector::new(Some(tls), None)), fleet, secrets }
    }

    pub fn router(&self) -> String {
        secure(&self.fleet.ports.router())
    }

    pub fn control_plane(&self) -> String {
        secure(&self.fleet.ports.control_plane())
    }

    pub fn token(&self, claims: Value) -> String {
        self.secrets.mint(claims, Duration::from_secs(600)).expect("the fleet has a signing key")
    }

    pub fn customer(&self, user: &str) -> String {
        self.token(json!({ "kind": "customer", "sub": user }))
    }

    pub fn service(&self, scope: &str) -> String {
        self.token(json!({ "kind": "service", "sub": "cards", "scope": scope }))
    }

    pub fn operator(&self, role: &str) -> String {
        self.token(json!({ "kind": "operator", "sub": "joe", "role": role }))
    }

    /// A caller without a connection.
    pub fn fresh(&self) -> Caller {
        let tls = Client::believing(&self.secrets.authority()).expect("the fleet's authority");
        Caller(Http::new(Connector::new(Some(tls), None)))
    }

    pub async fn ask(&self, token: &str, method: &str, url: &str, body: &str) -> Reply {
        let authorization = format!("Bearer {token}");
        let mut headers = vec![("content-type", "application/json")];
        if !token.is_empty() {
            headers.push(("authorization", &authorization));
        }
        self.ask_with(&headers, method, url, body).await.expect("an answer")
    }

    pub async fn ask_with(
        &self,
        headers: &[(&str, &str)],
        method: &str,
        url: &str,
        body: &str,
    ) -> Result<Reply, HttpError> {
        ask(&self.http, headers, method, url, body).await
    }

    /// A process with this certificate, which expects the server `name`.
    pub fn process(&self, files: &MeshFiles, name: &str) -> Http {
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        Http::new(Connector::new(Some(Client::mesh(files).expect("sound files")), Some(name)))
    }

    /// A process without a certificate, which expects the server `name`.
    pub fn without_certificate(&self, name: &str) -> Http {
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let tls = Client::believing(&self.secrets.authority()).expect("the fleet's authority");
        Http::new(Connector::new(Some(tls), Some(name)))
    }

    /// Of the router's metrics, those with a line that starts so, added up.
    pub async fn router_counted(&self, start: &str) -> f64 {
        let url = format!("{}/metrics", self.fleet.ports.router_admin());
        let page = ask(&Http::plain(), &[], "GET", &url, "").await.expect("the admin pages").text;
        let lines = page.lines().filter(|line| line.starts_with(start));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }
}

pub struct Caller(Http);

impl Caller {
    pub async fn ask(&self, token: &str, method: &str, url: &str, body: &str) -> Reply {
        let authorization = format!("Bearer {token}");
        let headers = [("content-type", "application/json"), ("authorization", authorization.as_str())];
        ask(&self.0, &headers, method, url, body).await.expect("an answer")
    }
}

pub fn secure(url: &str) -> String {
    url.replace("http://", "https://")
}

pub async fn ask(
    http: &Http,
    headers: &[(&str, &str)],
    method: &str,
    url: &str,
    body: &str,
) -> Result<Reply, HttpError> {
    let method: Method = method.parse().expect("a method");
    let reply = http.ask(method, url, headers, body.as_bytes().to_vec(), PATIENCE).await?;
    let challenge = reply.headers.get("www-authenticate").and_then(|value| value.to_str().ok()).map(str::to_owned);
    Ok(Reply { status: reply.status.as_u16(), text: String::from_utf8_lossy(&reply.body).into_owned(), challenge })
}
