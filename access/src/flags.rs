//! The flags that all processes have in common, and what is checked of them. What is missing is said with the flag that
//! mends it.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::http::Uri;
use clap::{Args, ValueEnum};
use jsonwebtoken::Algorithm;
use topology::CellId;
use uuid::Uuid;

use crate::guard::Gate;
use crate::http::{Connector, Http};
use crate::jwt::Expected;
use crate::jwt::source::{Keys, Source, SourceError};
use crate::policy::{self, PolicyError};
use crate::role::{Role, cell_name};
use crate::tls::{self, Client, MeshFiles, TlsError};

#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("{0}")]
    Flags(String),
    #[error("{0}")]
    Tls(#[from] TlsError),
    #[error("--auth-jwks {at}: {error}")]
    Keys { at: String, error: SourceError },
    #[error("--policy: {0}")]
    Policy(#[from] PolicyError),
}

/// Certificates between our own processes. All three, or none.
#[derive(Debug, Clone, Default, Args)]
pub struct MeshFlags {
    /// PEM file of the authorities that issue the certificates of this deployment's own processes.
    #[arg(long, global = true, env = "WALLET_MESH_CA")]
    pub mesh_ca: Option<PathBuf>,
    /// PEM file of this process's own certificate, with its chain.
    #[arg(long, global = true, env = "WALLET_MESH_CERT")]
    pub mesh_cert: Option<PathBuf>,
    /// PEM file of its key.
    #[arg(long, global = true, env = "WALLET_MESH_KEY")]
    pub mesh_key: Option<PathBuf>,
}

impl MeshFlags {
    /// The files, with a certificate of the process that this one is.
    pub fn files_of(&self, role: Role, cell: Option<&CellId>) -> Result<Option<MeshFiles>, SetupError> {
        let Some(files) = self.files()? else { return Ok(None) };
        let found = tls::facts_of(&files.certificate)?;
        let expected = std::iter::once(role.dns_name().to_owned()).chain(cell.map(cell_name));
        if let Some(missing) = expected.into_iter().find(|name| !found.is_named(name)) {
            let (path, found) = (files.certificate.display(), found.names.join(", "));
            let what = format!("--mesh-cert {path} names {found}: this process needs a certificate for {missing}");
            return Err(SetupError::Flags(what));
        }
        Ok(Some(files))
    }

    fn files(&self) -> Result<Option<MeshFiles>, SetupError> {
        match (&self.mesh_ca, &self.mesh_cert, &self.mesh_key) {
            (None, None, None) => Ok(None),
            (Some(authority), Some(certificate), Some(key)) => {
                let (authority, certificate, key) = (authority.clone(), certificate.clone(), key.clone());
                Ok(Some(MeshFiles { authority, certificate, key }))
            }
            _ => Err(SetupError::Flags("--mesh-ca, --mesh-cert and --mesh-key go together".into())),
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum TokenAlgorithm {
    #[default]
    #[value(name = "EdDSA")]
    EdDsa,
    #[value(name = "ES256")]
    Es256,
    #[value(name = "RS256")]
    Rs256,
}

/// Tokens of callers from outside.
#[derive(Debug, Clone, Default, Args)]
pub struct AuthFlags {
    /// Public keys of the tokens' issuer: a JWKS file, or its http(s) URL. With it, every request needs a token.
    #[arg(long, global = true, env = "WALLET_AUTH_JWKS")]
    pub auth_jwks: Option<String>,
    /// What `iss` has to be.
    #[arg(long, global = true, env = "WALLET_AUTH_ISSUER")]
    pub auth_issuer: Option<String>,
    /// What `aud` has to contain.
    #[arg(long, global = true, env = "WALLET_AUTH_AUDIENCE")]
    pub auth_audience: Option<String>,
    /// How tokens are signed.
    #[arg(long, global = true, env = "WALLET_AUTH_ALGORITHM", value_enum, default_value = "EdDSA")]
    pub auth_algorithm: TokenAlgorithm,
    /// PEM file of the authorities to believe for an https URL; else those that the machine believes.
    #[arg(long, global = true, env = "WALLET_AUTH_CA")]
    pub auth_ca: Option<PathBuf>,
    /// Directory of the policy's .rego files; else the policy that is built in.
    #[arg(long, global = true, env = "WALLET_POLICY")]
    pub policy: Option<PathBuf>,
}

impl AuthFlags {
    /// Opens the gate, if one is asked for. Wallet ids derive from user ids in `namespace`. Called inside a runtime.
    pub async fn gate(&self, namespace: Uuid) -> Result<Option<Gate>, SetupError> {
        let Some(at) = &self.auth_jwks else {
            let asked = self.auth_issuer.is_some() || self.auth_audience.is_some() || self.policy.is_some();
            let missing = "--auth-issuer, --auth-audience and --policy mean nothing without --auth-jwks";
            return if asked { Err(SetupError::Flags(missing.into())) } else { Ok(None) };
        };
        let (Some(issuer), Some(audience)) = (self.auth_issuer.clone(), self.auth_audience.clone()) else {
            return Err(SetupError::Flags("--auth-jwks needs --auth-issuer and --auth-audience".into()));
        };
        let algorithm = match self.auth_algorithm {
            TokenAlgorithm::EdDsa => Algorithm::EdDSA,
            TokenAlgorithm::Es256 => Algorithm::ES256,
            TokenAlgorithm::Rs256 => Algorithm::RS256,
        };
        let source = self.source(at)?;
        let keys = Keys::start(source, algorithm).await;
        let keys = keys.map_err(|error| SetupError::Keys { at: at.clone(), error })?;
        let expected = Arc::new(Expected { issuer, audience, algorithm, namespace });
        Ok(Some(Gate { expected, keys, policy: policy::start(self.policy.as_deref())? }))
    }

    fn source(&self, at: &str) -> Result<Source, SetupError> {
        let tls = match at.split_once("://") {
            Some(("https", _)) => Some(match &self.auth_ca {
                Some(authority) => Client::believing(authority)?,
                None => Client::public()?,
            }),
            Some(("http", _)) => {
                check_plain("--auth-jwks", at)?;
                let mend = "use https, or a file";
                tracing::warn!(at, mend, "keys of the tokens' issuer are read over plain http");
                None
            }
            _ => return Ok(Source::File(Path::new(at).to_owned())),
        };
        Ok(Source::Url { url: at.to_owned(), http: Box::new(Http::new(Connector::new(tls, None))) })
    }
}

/// Refuses to send or to believe over plain `http` what others on the network could read or replace: only this machine
/// itself may be asked so.
pub fn check_plain(flag: &str, url: &str) -> Result<(), SetupError> {
    let Some(uri) = Some(url).filter(|url| url.starts_with("http://")).and_then(|url| url.parse::<Uri>().ok()) else {
        return Ok(());
    };
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    if host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()) {
        return Ok(());
    }
    Err(SetupError::Flags(format!("{flag} {url}: plain http can be read and changed on its way; use https")))
}

/// Refuses to listen for others than this machine without protection. `mend` says how to have it.
pub fn check_listen(flag: &str, address: SocketAddr, is_protected: bool, mend: &str) -> Result<(), SetupError> {
    if is_protected || address.ip().is_loopback() {
        return Ok(());
    }
    let reach = format!("{flag} {address} can be reached from other machines, and nothing protects it");
    Err(SetupError::Flags(format!("{reach}: give {mend}, or listen on a loopback address")))
}

/// Says what is open, once, at start.
pub fn warn_if_open(what: &str, is_protected: bool, mend: &str) {
    if !is_protected {
        tracing::warn!(what, mend, "unauthenticated: any process on this machine can use this listener");
    }
}

/// Says that tokens can be read on their way, once, at start.
pub fn warn_if_plain(what: &str, takes_tokens: bool, is_tls: bool, mend: &str) {
    if takes_tokens && !is_tls {
        tracing::warn!(what, mend, "tokens are taken over plain http: whatever can read the connection can use them");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_goes_no_further_than_this_machine() {
        for (url, is_taken) in [
            ("http://127.0.0.1:8083", true),
            ("http://[::1]:8083/keys", true),
            ("http://localhost/keys", true),
            ("https://issuer.example.org/keys", true),
            ("/etc/wallet/jwks.json", true),
            ("http://issuer.example.org/keys", false),
            ("http://10.0.0.1/keys", false),
            ("http://localhost.example.org/keys", false),
        ] {
            assert_eq!(check_plain("--auth-jwks", url).is_ok(), is_taken, "{url}");
        }
    }
}
