//! The file that names clusters and images.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use topology::{CellId, Version, ZoneId};

const FILE_MAX_BYTES: u64 = 1024 * 1024;

/// `{"images": {"v2": "registry/cell@sha256:…"}, "clusters": {"cell-1": {…}}}`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub images: BTreeMap<Version, String>,
    pub clusters: BTreeMap<CellId, Cluster>,
    /// Of cells with a second Region: their cluster there.
    #[serde(default)]
    pub standbys: BTreeMap<CellId, Standby>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Standby {
    /// Zones of that Region: an instance in one of them is in this cluster.
    pub zones: Vec<ZoneId>,
    /// As that Region's registry has them.
    pub images: BTreeMap<Version, String>,
    pub cluster: Cluster,
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
    /// The cluster with the cell's instances of this zone, and the images there: after a failover they are in the other
    /// Region.
    pub fn at(&self, cell: &CellId, zone: &ZoneId) -> Option<(&BTreeMap<Version, String>, &Cluster)> {
        let standby = self.standbys.get(cell).filter(|standby| standby.zones.contains(zone));
        let standby = standby.map(|standby| (&standby.images, &standby.cluster));
        standby.or_else(|| Some((&self.images, self.clusters.get(cell)?)))
    }

    pub fn read(path: &Path) -> Result<Self, String> {
        let named = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let size = std::fs::metadata(path).map_err(|error| named(&error))?.len();
        if size > FILE_MAX_BYTES {
            return Err(named(&format!("it has {size} bytes, and may have {FILE_MAX_BYTES}")));
        }
        let text = std::fs::read(path).map_err(|error| named(&error))?;
        let settings: Self = serde_json::from_slice(&text).map_err(|error| named(&error))?;
        let mut images = settings.images.iter().chain(settings.standbys.values().flat_map(|standby| &standby.images));
        match images.find(|(_, image)| !image.contains("@sha256:")) {
            // A tag may be moved to another build between two zones.
            Some((version, image)) => Err(named(&format!("the image of {version}, {image}, has no digest"))),
            None => Ok(settings),
        }
    }
}
