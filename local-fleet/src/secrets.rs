//! What `ctl up --secure` makes for a fleet on one machine: an authority with a certificate for each process, and a key
//! that signs tokens. All of it lies in a folder that only its owner may look into.
//!
//! It must never be used for anything but development: a program that can read the folder can take
//! any identity.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use access::Role;
use access::jwt::sign::{SigningKey, key_set};
use access::role::cell_name;
use access::tls::MeshFiles;
use anyhow::{Context, Result, bail};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use serde_json::{Value, json};
use time::OffsetDateTime;
use topology::CellId;

pub const ISSUER: &str = "ctl-up";
pub const AUDIENCE: &str = "wallet";
const AUTHORITY_LIFE: Duration = Duration::from_secs(3_650 * 24 * 3_600);
pub const CERTIFICATE_LIFE_DAYS: u32 = 365;
const CERTIFICATE_LIFE: Duration = days(CERTIFICATE_LIFE_DAYS);
/// It outlives any one wait of a command.
const OPERATOR_TOKEN_LIFE: Duration = Duration::from_secs(24 * 3_600);
const CANARY_TOKEN_LIFE: Duration = Duration::from_secs(30 * 24 * 3_600);
/// Certificates count from a little before they are made: clocks differ.
const BACKDATED: Duration = Duration::from_secs(3_600);

const AUTHORITY: &str = "ca";
/// The router's certificate for the public.
pub const PUBLIC: &str = "public";
pub const ROUTER: &str = "router";
pub const CONTROL_PLANE: &str = "control-plane";
pub const MONITOR: &str = "monitor";
const SIGNING_KEY: &str = "tokens.key";
const KEY_SET: &str = "jwks.json";

#[derive(Debug, Clone)]
pub struct Secrets {
    folder: PathBuf,
}

impl Secrets {
    /// Those of the fleet in `data`.
    pub fn of(data: &Path) -> Self {
        Self { folder: data.join("secrets") }
    }

    /// A token for the operator of this fleet, an admin of it.
    pub fn operator_token(&self, actor: &str) -> Result<String> {
        let name: String = actor.chars().filter(char::is_ascii_graphic).collect();
        let name = if name.is_empty() { "unknown" } else { &name };
        self.mint(json!({ "kind": "operator", "sub": name, "role": "admin" }), OPERATOR_TOKEN_LIFE)
    }

    /// Makes what is missing. The authority and the signing key stay from one start to the next;
    /// certificates are made again.
    pub fn prepare(&self, cells: &[CellId]) -> Result<()> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.folder);
        made.with_context(|| format!("cannot create {}", self.folder.display()))?;
        if !self.key(AUTHORITY).is_file() {
            let key = KeyPair::generate()?;
            let certificate = authority()?.self_signed(&key)?;
            self.write(&self.certificate(AUTHORITY), certificate.pem().as_bytes())?;
            self.write(&self.key(AUTHORITY), key.serialize_pem().as_bytes())?;
        }
        if !self.folder.join(SIGNING_KEY).is_file() {
            self.write(&self.folder.join(SIGNING_KEY), SigningKey::generate().pkcs8())?;
        }
        self.write(&self.key_set(), key_set(&[&self.signing_key()?]).as_bytes())?;
        self.renew(cells, CERTIFICATE_LIFE)
    }

    /// New certificates for every process, which notice by themselves. They end after `length`.
    pub fn renew(&self, cells: &[CellId], length: Duration) -> Result<()> {
        let roles = [(ROUTER, Role::Router), (CONTROL_PLANE, Role::ControlPlane), (MONITOR, Role::Monitor)];
        for (name, role) in roles {
            self.issue_for(name, &[role.dns_name()], life(length))?;
        }
        self.issue_for(PUBLIC, &["localhost"], life(length))?;
        cells.iter().try_for_each(|cell| self.issue_for(cell.as_str(), &names_of(cell), life(length)))
    }

    pub fn issue_cell(&self, cell: &CellId) -> Result<()> {
        self.issue(cell.as_str(), &names_of(cell))
    }

    /// A certificate for this machine with these names, signed by the authority.
    pub fn issue(&self, file: &str, names: &[impl AsRef<str>]) -> Result<()> {
        self.issue_for(file, names, life(CERTIFICATE_LIFE))
    }

    /// The same, that counts from one time to another.
    pub fn issue_for(
        &self,
        file: &str,
        names: &[impl AsRef<str>],
        (not_before, not_after): (OffsetDateTime, OffsetDateTime),
    ) -> Result<()> {
        let key = KeyPair::from_pem(&std::fs::read_to_string(self.key(AUTHORITY))?)?;
        let issuer = Issuer::new(authority()?, key);
        let mut params = CertificateParams::new(names.iter().map(|name| name.as_ref().to_owned()).collect::<Vec<_>>())?;
        params.subject_alt_names.push(SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        params.distinguished_name.push(DnType::CommonName, file);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        (params.not_before, params.not_after) = (not_before, not_after);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &issuer)?;
        self.write(&self.key(file), key.serialize_pem().as_bytes())?;
        self.write(&self.certificate(file), certificate.pem().as_bytes())
    }

    pub fn certificate(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.pem"))
    }

    pub fn key(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.key"))
    }

    pub fn authority(&self) -> PathBuf {
        self.certificate(AUTHORITY)
    }

    pub fn key_set(&self) -> PathBuf {
        self.folder.join(KEY_SET)
    }

    pub fn canary_token(&self) -> PathBuf {
        self.folder.join("canaries.token")
    }

    /// A token by which canaries are a service that does what customers do; made again with each
    /// start.
    pub fn mint_for_canaries(&self) -> Result<()> {
        let scope = "wallets:create wallets:read deposit withdraw transfer";
        let token = self.mint(json!({ "kind": "service", "sub": "canaries", "scope": scope }), CANARY_TOKEN_LIFE)?;
        self.write(&self.canary_token(), token.as_bytes())
    }

    pub fn mesh(&self, name: &str) -> MeshFiles {
        MeshFiles { authority: self.authority(), certificate: self.certificate(name), key: self.key(name) }
    }

    pub fn signing_key(&self) -> Result<SigningKey> {
        let path = self.folder.join(SIGNING_KEY);
        match std::fs::read(&path) {
            Ok(pkcs8) => SigningKey::from_pkcs8(&pkcs8).with_context(|| path.display().to_string()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(
                "there is no development key at {}: `ctl up --secure` makes one; elsewhere tokens come from your \
                 identity provider",
                path.display()
            ),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// A token with these claims for `life`; issuer, audience and times are added.
    pub fn mint(&self, mut claims: Value, life: Duration) -> Result<String> {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let fields = claims.as_object_mut().context("claims are an object")?;
        for (name, value) in [
            ("iss", json!(ISSUER)),
            ("aud", json!(AUDIENCE)),
            ("iat", json!(now)),
            ("exp", json!(now.saturating_add_unsigned(life.as_secs()))),
        ] {
            fields.entry(name).or_insert(value);
        }
        Ok(self.signing_key()?.sign(&claims))
    }

    /// Written beside and put in place whole, readable only by its owner.
    fn write(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let next = path.with_extension("next");
        let write = || {
            let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&next)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            std::fs::rename(&next, path)
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }
}

fn authority() -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.distinguished_name.push(DnType::CommonName, "local wallet fleet");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = life(AUTHORITY_LIFE);
    Ok(params)
}

fn names_of(cell: &CellId) -> [String; 2] {
    [Role::Cell.dns_name().to_owned(), cell_name(cell)]
}

pub const fn days(number: u32) -> Duration {
    Duration::from_secs(number as u64 * 24 * 3_600)
}

fn life(length: Duration) -> (OffsetDateTime, OffsetDateTime) {
    let now = OffsetDateTime::now_utc();
    (now - BACKDATED, now + length)
}

#[cfg(test)]
mod tests {
    use access::role::Process;
    use access::tls::{Identity, facts_of};

    use super::*;

    #[test]
    fn a_certificate_says_whose_it_is_and_when_it_ends() {
        let data = std::env::temp_dir().join(format!("wallet-secrets-{}", std::process::id()));
        let secrets = Secrets::of(&data);
        let cell = CellId::parse("cell-7").expect("sound");
        secrets.prepare(std::slice::from_ref(&cell)).expect("made");
        let times = (OffsetDateTime::UNIX_EPOCH, OffsetDateTime::from_unix_timestamp(4_000_000_000).expect("a time"));
        secrets.issue_for("stray", &["cell.wallet.internal"], times).expect("made");
        secrets
            .issue("twofold", &["cell.wallet.internal", "a.cell.wallet.internal", "b.cell.wallet.internal"])
            .expect("made");
        let process = |name: &str| {
            let identity = Identity::read(&secrets.certificate(name), &secrets.key(name)).expect("sound");
            Process::of(&identity.0.cert[0]).map(|process| (process.role, process.cell))
        };
        assert_eq!(process("cell-7"), Some((Role::Cell, Some(cell))));
        assert_eq!(process("stray"), Some((Role::Cell, None)));
        assert_eq!(process("twofold"), Some((Role::Cell, None)), "it is not clear which cell");
        assert_eq!(process(ROUTER), Some((Role::Router, None)));
        assert_eq!(process(PUBLIC), None);
        let facts = facts_of(&secrets.certificate("stray")).expect("sound");
        assert_eq!(facts.names, ["7f000001", "cell.wallet.internal"]);
        assert_eq!((facts.not_before_s, facts.not_after_s), (0, 4_000_000_000));
        let _ = std::fs::remove_dir_all(data);
    }
}
