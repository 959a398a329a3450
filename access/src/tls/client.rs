//! The calling side: the server has to show a certificate of the authority in the expected name.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::files::{self, Identity, TlsError};
use super::{Fresh, Loaded, MeshFiles, Stream};
use crate::watch::Watched;

#[derive(Clone)]
pub struct Client {
    config: Arc<ArcSwap<ClientConfig>>,
}

impl Client {
    /// One of our own processes; a task keeps it fresh, so this is called inside a runtime.
    pub fn mesh(files: &MeshFiles) -> Result<Self, TlsError> {
        let (watched, paths) = (Watched::new(files.paths()), files.paths().to_vec());
        let files = files.clone();
        let load = move || {
            let roots = files::authorities(&files.authority)?;
            let identity = Identity::read(&files.certificate, &files.key)?;
            let facts = identity.facts()?;
            Ok(Loaded { value: config(roots, Some(identity), true)?, facts })
        };
        let fresh = Fresh::new("mesh_client", load()?);
        let config = fresh.current();
        tokio::spawn(fresh.keep(paths, watched, load));
        Ok(Self { config })
    }

    /// A client without a certificate that trusts the authorities in a file.
    pub fn believing(authority: &Path) -> Result<Self, TlsError> {
        let config = config(files::authorities(authority)?, None, false)?;
        Ok(Self { config: Arc::new(ArcSwap::from_pointee(config)) })
    }

    /// A client without a certificate that trusts the authorities that the machine trusts.
    pub fn public() -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in rustls_native_certs::load_native_certs().certs {
            // What the machine has and rustls cannot read is no authority for us.
            let _ = roots.add(certificate);
        }
        if roots.is_empty() {
            let reason = "this machine has no certificates of authorities".to_owned();
            return Err(TlsError::File { path: PathBuf::new(), reason });
        }
        Ok(Self { config: Arc::new(ArcSwap::from_pointee(config(roots, None, false)?)) })
    }

    pub async fn connect(&self, name: ServerName<'static>, stream: TcpStream) -> io::Result<Stream> {
        let connector = TlsConnector::from(self.config.load_full());
        Ok(Stream::Tls(Box::new(connector.connect(name, stream).await?.into())))
    }
}

fn config(roots: RootCertStore, identity: Option<Identity>, own: bool) -> Result<ClientConfig, TlsError> {
    let versions: &[_] = if own { &[&TLS13] } else { rustls::DEFAULT_VERSIONS };
    let builder = ClientConfig::builder_with_provider(files::provider()).with_protocol_versions(versions)?;
    let builder = builder.with_root_certificates(roots);
    let mut config = match identity {
        Some(Identity(key)) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key))),
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
