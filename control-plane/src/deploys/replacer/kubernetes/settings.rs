//! The file that names clusters and images.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use topology::{CellId, Version};

const FILE_MAX_BYTES: u64 = 1024 * 1024;

/// `{"images": {"v2": "registry/cell@sha256:…"}, "clusters": {"cell-1": {…}}}`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub images: BTreeMap<Version, String>,
    pub clusters: BTreeMap<CellId, Cluster>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cluster {
    /// Base URL of the API server, `https://…`.
    pub server: String,
    /// PEM file of the authority of its certificate.
    pub certificate_authority: PathBuf,
    #[serde(default = "usual_namespace")]
    pub namespace: String,
    pub credentials: Credentials,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Credentials {
    /// File with a bearer token, which is read for each order.
    TokenFile(PathBuf),
    /// A cluster of EKS, which lets in by what AWS says.
    Eks(Eks),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Eks {
    pub name: String,
    pub region: String,
    /// ARN of the role to become first: that of an operator of the cell's account.
    pub role: Option<String>,
}

fn usual_namespace() -> String {
    "wallet".to_owned()
}

impl Settings {
    pub fn read(path: &Path) -> Result<Self, String> {
        let named = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let size = std::fs::metadata(path).map_err(|error| named(&error))?.len();
        if size > FILE_MAX_BYTES {
            return Err(named(&format!("it has {size} bytes, and may have {FILE_MAX_BYTES}")));
        }
        let text = std::fs::read(path).map_err(|error| named(&error))?;
        let settings: Self = serde_json::from_slice(&text).map_err(|error| named(&error))?;
        match settings.images.iter().find(|(_, image)| !image.contains("@sha256:")) {
            // A tag may be moved to another build between two zones.
            Some((version, image)) => Err(named(&format!("the image of {version}, {image}, has no digest"))),
            None => Ok(settings),
        }
    }
}
