//! Posts what a process has to say to a collector of traces. Errors go to the caller, which counts
//! them: nothing is repeated.

use std::time::Duration;

use ::http::Method;

use crate::http::{Connector, Http, HttpError};
use crate::tls::{Client, TlsError};

const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub struct Collector {
    http: Http,
    url: String,
    content_type: &'static str,
}

impl Collector {
    /// Over https, whom the machine believes is believed.
    pub fn new(url: &str, content_type: &'static str) -> Result<Self, TlsError> {
        let tls = if url.starts_with("https://") { Some(Client::public()?) } else { None };
        Ok(Self { http: Http::new(Connector::new(tls, None)), url: url.to_owned(), content_type })
    }

    pub async fn post(self, body: Vec<u8>) -> Result<(), String> {
        let headers = [("content-type", self.content_type)];
        let reply = self.http.ask(Method::POST, &self.url, &headers, body, PATIENCE).await;
        let reply = reply.map_err(|error: HttpError| error.to_string())?;
        if reply.status.is_success() { Ok(()) } else { Err(format!("status {}", reply.status)) }
    }
}
