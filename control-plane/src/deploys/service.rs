//! What carrying out deploys needs.

use std::sync::Arc;

use crate::cells::fleet::Fleet;
use crate::deploys::canaries::Canaries;
use crate::deploys::parts::Routers;
use crate::deploys::record::Deploy;
use crate::deploys::replacer::Replacer;
use crate::jobs::table::Table;

pub struct Deploys {
    pub fleet: Arc<Fleet>,
    pub table: Table<Deploy>,
    pub routers: Routers,
    pub config: topology::config::Deploys,
    /// How instances come to run another version; without it, deploys are only planned here.
    pub replacer: Option<Arc<dyn Replacer>>,
    pub canaries: Arc<Canaries>,
}
