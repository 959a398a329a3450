//! PEM files as rustls takes them. Knows no network.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::certificate::{Facts, NotUsable};

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{path}: {reason}")]
    File { path: PathBuf, reason: String },
    #[error("{0}")]
    Tls(#[from] rustls::Error),
    #[error("{0}")]
    NotUsable(#[from] NotUsable),
}

fn file_error(path: &Path, reason: impl std::fmt::Display) -> TlsError {
    TlsError::File { path: path.to_owned(), reason: reason.to_string() }
}

/// The one provider of cryptography in the whole program.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// A chain of certificates with its key.
#[derive(Debug, Clone)]
pub struct Identity(pub Arc<CertifiedKey>);

impl Identity {
    /// The key has to be that of the first certificate.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let chain = certificates(certificate)?;
        let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| file_error(key, error))?;
        let certified = CertifiedKey::from_der(chain, secret, &provider());
        Ok(Self(Arc::new(certified.map_err(|error| file_error(certificate, error))?)))
    }

    pub fn facts(&self) -> Result<Facts, TlsError> {
        let unsound = || rustls::Error::InvalidCertificate(rustls::CertificateError::BadEncoding);
        Ok(Facts::of_chain(&self.0.cert).ok_or_else(unsound)?)
    }
}

/// What the certificate in a file says of itself.
pub fn facts_of(certificate: &Path) -> Result<Facts, TlsError> {
    Facts::of_chain(&certificates(certificate)?).ok_or_else(|| file_error(certificate, "no sound certificate in it"))
}

/// At least one authority.
pub fn authorities(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(path)? {
        store.add(certificate).map_err(|error| file_error(path, error))?;
    }
    Ok(store)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).map_err(|error| file_error(path, error))?;
    let read = read.collect::<Result<Vec<_>, _>>().map_err(|error| file_error(path, error))?;
    if read.is_empty() { Err(file_error(path, "no certificate in it")) } else { Ok(read) }
}
