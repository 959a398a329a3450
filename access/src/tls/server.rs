//! The called side: takes connections, makes the handshake within its time, and says what the caller's certificate is.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::version::TLS13;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::files::{self, Identity, TlsError};
use super::{Fresh, Loaded, MeshFiles, Stream};
use crate::limits::{
    ACCEPT_PAUSE, HANDSHAKE_TIMEOUT, HANDSHAKES_MAX, PEER_HANDSHAKES_MAX, UNSENT_MAX_BYTES, WARN_SPACING,
};
use crate::role::{Process, Role};
use crate::watch::Watched;

/// Whom a listener of our own processes lets in.
#[derive(Debug, Clone, Copy)]
struct Callers {
    roles: &'static [Role],
    /// Whether it admits a caller without a certificate, which has to authenticate otherwise.
    or_nobody: bool,
}

#[derive(Clone)]
pub struct Server {
    config: Arc<ArcSwap<ServerConfig>>,
    callers: Option<Callers>,
    listener: &'static str,
}

impl Server {
    /// For the public: callers show no certificate. A task keeps it fresh, so this is called inside
    /// a runtime.
    pub fn public(listener: &'static str, certificate: PathBuf, key: PathBuf) -> Result<Self, TlsError> {
        let paths = vec![certificate.clone(), key.clone()];
        let load = move || {
            let builder = ServerConfig::builder_with_provider(files::provider());
            let builder = builder.with_protocol_versions(rustls::DEFAULT_VERSIONS)?.with_no_client_auth();
            let identity = Identity::read(&certificate, &key)?;
            let facts = identity.facts()?;
            let mut value = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(identity.0)));
            value.alpn_protocols = vec![b"http/1.1".to_vec()];
            Ok(Loaded { value, facts })
        };
        Self::fresh(listener, None, paths, load)
    }

    /// For our own processes of these roles.
    pub fn mesh(listener: &'static str, files: &MeshFiles, roles: &'static [Role]) -> Result<Self, TlsError> {
        Self::for_callers(listener, files, Callers { roles, or_nobody: false })
    }

    /// For our own processes of these roles, and for others without a certificate.
    pub fn mesh_and_others(
        listener: &'static str,
        files: &MeshFiles,
        roles: &'static [Role],
    ) -> Result<Self, TlsError> {
        Self::for_callers(listener, files, Callers { roles, or_nobody: true })
    }

    fn for_callers(listener: &'static str, files: &MeshFiles, callers: Callers) -> Result<Self, TlsError> {
        let paths = files.paths().to_vec();
        let files = files.clone();
        let load = move || {
            let roots = Arc::new(files::authorities(&files.authority)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, files::provider());
            let verifier = if callers.or_nobody { verifier.allow_unauthenticated() } else { verifier };
            let verifier = verifier.build().map_err(|error| rustls::Error::General(error.to_string()))?;
            let builder = ServerConfig::builder_with_provider(files::provider()).with_protocol_versions(&[&TLS13])?;
            let identity = Identity::read(&files.certificate, &files.key)?;
            let facts = identity.facts()?;
            let resolver = Arc::new(SingleCertAndKey::from(identity.0));
            let mut value = builder.with_client_cert_verifier(verifier).with_cert_resolver(resolver);
            value.session_storage = Arc::new(NoServerSessionStorage {});
            value.send_tls13_tickets = 0;
            value.alpn_protocols = vec![b"http/1.1".to_vec()];
            Ok(Loaded { value, facts })
        };
        Self::fresh(listener, Some(callers), paths, load)
    }

    fn fresh(
        listener: &'static str,
        callers: Option<Callers>,
        paths: Vec<PathBuf>,
        load: impl Fn() -> Result<Loaded<ServerConfig>, TlsError> + Send + 'static,
    ) -> Result<Self, TlsError> {
        let watched = Watched::new(paths.clone());
        let fresh = Fresh::new(listener, load()?);
        let config = fresh.current();
        tokio::spawn(fresh.keep(paths, watched, load));
        Ok(Self { config, callers, listener })
    }

    /// The handshake, and which of our processes the caller's certificate says that it is. Counts what fails.
    pub async fn handshake(&self, stream: TcpStream) -> io::Result<(Stream, Option<Process>)> {
        let shaking = TlsAcceptor::from(self.config.load_full()).accept(stream);
        let shaken = match timeout(HANDSHAKE_TIMEOUT, shaking).await {
            Ok(shaken) => shaken,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        let stream = shaken.inspect_err(|error| self.failed(reason(error)))?;
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let process = shown.and_then(Process::of);
        let role = process.as_ref().map(|process| process.role);
        let welcome = match (self.callers, shown) {
            (None, _) => true,
            (Some(callers), None) => callers.or_nobody,
            (Some(callers), Some(_)) => role.is_some_and(|role| callers.roles.contains(&role)),
        };
        if !welcome {
            self.failed("role");
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok((Stream::Tls(Box::new(stream.into())), process))
    }

    fn failed(&self, reason: &'static str) {
        metrics::counter!("access_handshakes_failed_total", "listener" => self.listener, "reason" => reason)
            .increment(1);
    }
}

/// A closed set, for a label.
fn reason(error: &io::Error) -> &'static str {
    use rustls::Error;
    if error.kind() == io::ErrorKind::TimedOut {
        return "timeout";
    }
    match error.get_ref().and_then(|error| error.downcast_ref::<Error>()) {
        Some(Error::NoCertificatesPresented) => "no_certificate",
        Some(Error::InvalidCertificate(_)) => "certificate",
        Some(Error::InvalidMessage(_)) => "not_tls",
        Some(_) => "tls",
        None => "connection",
    }
}

/// Sets how a connection of a client sends: at once, and without more waiting in the system than is
/// on its way, so that a slow reader costs little and is noticed.
pub fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_MAX_BYTES)
}

/// A connection that may be used, and the caller's role, if a certificate says it.
pub struct Accepted {
    pub stream: Stream,
    pub peer: SocketAddr,
    pub role: Option<Role>,
}

/// A listener whose handshakes, if it makes any, run beside one another: a slow one delays no
/// other.
pub struct Acceptor {
    listener: TcpListener,
    tls: Option<Server>,
    shaking: JoinSet<io::Result<Accepted>>,
    /// The same handshakes, oldest first.
    begun: VecDeque<(IpAddr, AbortHandle)>,
    warned: Option<Instant>,
}

impl Acceptor {
    pub fn new(listener: TcpListener, tls: Option<Server>) -> Self {
        Self { listener, tls, shaking: JoinSet::new(), begun: VecDeque::new(), warned: None }
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The next connection. Safe to drop and to call again.
    pub async fn accept(&mut self) -> Accepted {
        loop {
            let accepted = tokio::select! {
                Some(shaken) = self.shaking.join_next() => match shaken {
                    Ok(Ok(accepted)) => return accepted,
                    Ok(Err(error)) => {
                        self.warn(&error);
                        continue;
                    }
                    Err(_) => continue,
                },
                accepted = self.listener.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    self.warn(&error);
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            if tune(&stream).is_err() {
                continue;
            }
            let Some(tls) = self.tls.clone() else {
                return Accepted { stream: Stream::Plain(stream), peer, role: None };
            };
            self.make_room(peer.ip());
            let handle = self.shaking.spawn(async move {
                let (stream, process) = tls.handshake(stream).await?;
                Ok(Accepted { stream, peer, role: process.map(|process| process.role) })
            });
            self.begun.push_back((peer.ip(), handle));
        }
    }

    /// Gives up the oldest handshake, of this peer or of all, if there would be too many: connections that say nothing
    /// must not keep out those that do.
    fn make_room(&mut self, peer: IpAddr) {
        self.begun.retain(|(_, handle)| !handle.is_finished());
        let of_peer = self.begun.iter().filter(|(other, _)| *other == peer).count();
        let oldest = if of_peer >= PEER_HANDSHAKES_MAX {
            self.begun.iter().position(|(other, _)| *other == peer)
        } else if self.begun.len() >= HANDSHAKES_MAX {
            Some(0)
        } else {
            None
        };
        if let Some((_, handle)) = oldest.and_then(|oldest| self.begun.remove(oldest)) {
            handle.abort();
        }
    }

    /// Each is counted; of many, some are logged.
    fn warn(&mut self, error: &io::Error) {
        if self.warned.is_none_or(|at| at.elapsed() >= WARN_SPACING) {
            self.warned = Some(Instant::now());
            tracing::warn!(%error, "a connection was not accepted");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slow_reader_has_little_waiting_in_the_system() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let client = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("it listens");
        let mut acceptor = Acceptor::new(listener, None);
        let Stream::Plain(stream) = acceptor.accept().await.stream else { panic!("no TLS") };
        assert_eq!(SockRef::from(&stream).tcp_notsent_lowat().expect("a socket"), UNSENT_MAX_BYTES);
        drop(client);
    }
}
