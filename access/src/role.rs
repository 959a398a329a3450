//! What a process of the deployment is, as its certificate says. A role is a DNS name among the certificate's
//! alternative names, below a domain that is reserved for private use: any authority can issue such a name, and the
//! checks are those that TLS makes of names anyway. A cell's certificate has two: that of the role and that of the cell.

use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use topology::CellId;

use crate::tls::Facts;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    Router,
    ControlPlane,
    Cell,
    /// May look at health and metrics, and at nothing else.
    Monitor,
}

const ALL: [Role; 4] = [Role::Router, Role::ControlPlane, Role::Cell, Role::Monitor];

impl Role {
    /// The name that a certificate of this role has.
    pub fn dns_name(self) -> &'static str {
        match self {
            Self::Router => "router.wallet.internal",
            Self::ControlPlane => "control-plane.wallet.internal",
            Self::Cell => "cell.wallet.internal",
            Self::Monitor => "monitor.wallet.internal",
        }
    }

    pub fn server_name(self) -> ServerName<'static> {
        ServerName::try_from(self.dns_name()).expect("the names above are sound")
    }

    /// The role that this certificate gives, which must have been verified already. One that names
    /// several is taken for the first of them.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let parsed = ParsedCertificate::try_from(certificate).ok()?;
        ALL.into_iter().find(|role| verify_server_name(&parsed, &role.server_name()).is_ok())
    }
}

/// Which of our processes a verified certificate says that its holder is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    pub role: Role,
    /// Of a cell: which one. None where the certificate names none, or several.
    pub cell: Option<CellId>,
}

impl Process {
    /// Of a certificate that has been verified already.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let role = Role::of(certificate)?;
        let names = Facts::of(certificate)?.names;
        let below = format!(".{}", Role::Cell.dns_name());
        let mut cells = names.iter().filter_map(|name| CellId::parse(name.strip_suffix(&below)?).ok());
        let cell = match (cells.next(), cells.next()) {
            (Some(cell), None) if role == Role::Cell => Some(cell),
            _ => None,
        };
        Some(Self { role, cell })
    }
}

/// The further name of one cell's certificate: no other cell is taken for it.
pub fn cell_name(cell: &CellId) -> String {
    format!("{cell}.{}", Role::Cell.dns_name())
}

/// None for a cell id that is no label of a DNS name (`cell-`): no certificate can name it.
pub fn cell_server_name(cell: &CellId) -> Option<ServerName<'static>> {
    ServerName::try_from(cell_name(cell)).ok()
}
