//! The file that names clusters and images.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use control_api::{PartId, Program};
use serde::Deserialize;
use topology::{Version, ZoneId};

const FILE_MAX_BYTES: u64 = 1024 * 1024;

/// `{"images": {"v2": "registry/cell@sha256:…"}, "clusters": {"cell-1": {…}}}`, and with routers
/// `"routers": {"images": {"v2": "registry/router@sha256:…"}, "cluster": {…}}`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub images: Images,
    pub clusters: BTreeMap<PartId, Cluster>,
    /// Of cells with a second Region: their cluster there.
    #[serde(default)]
    pub standbys: BTreeMap<PartId, Standby>,
    /// Absent: they are not deployed from here.
    #[serde(default)]
    pub routers: Option<Routers>,
}

pub type Images = BTreeMap<Version, String>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Standby {
    /// Zones of that Region: an instance in one of them is in this cluster.
    pub zones: Vec<ZoneId>,
    /// As that Region's registry has them.
    pub images: Images,
    pub cluster: Cluster,
}

/// All routers are in one cluster, zone by zone.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Routers {
    images: Images,
    cluster: Cluster,
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
    /// Where a program's instances of this zone are, and the images there: after a failover those of a cell are in the other
    /// Region.
    pub fn at(&self, of: Program, part: &PartId, zone: &ZoneId) -> Option<(&Images, &Cluster)> {
        if of == Program::Routers {
            return self.routers.as_ref().map(|routers| (&routers.images, &routers.cluster));
        }
        let standby = self.standbys.get(part).filter(|standby| standby.zones.contains(zone));
        let standby = standby.map(|standby| (&standby.images, &standby.cluster));
        standby.or_else(|| Some((&self.images, self.clusters.get(part)?)))
    }

    pub fn read(path: &Path) -> Result<Self, String> {
        let named = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let size = std::fs::metadata(path).map_err(|error| named(&error))?.len();
        if size > FILE_MAX_BYTES {
            return Err(named(&format!("it has {size} bytes, and may have {FILE_MAX_BYTES}")));
        }
        let text = std::fs::read(path).map_err(|error| named(&error))?;
        let settings: Self = serde_json::from_slice(&text).map_err(|error| named(&error))?;
        let further = settings.standbys.values().map(|standby| &standby.images);
        let further = further.chain(settings.routers.iter().map(|routers| &routers.images));
        match settings.images.iter().chain(further.flatten()).find(|(_, image)| !image.contains("@sha256:")) {
            // A tag may be moved to another build between two zones.
            Some((version, image)) => Err(named(&format!("the image of {version}, {image}, has no digest"))),
            None => Ok(settings),
        }
    }
}
