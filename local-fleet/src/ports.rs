//! Which process listens where: everything follows from the first port. Loopback only.

use std::net::TcpListener;

use anyhow::Result;
use command_line::{PRECONDITION, failure};

use crate::connections;

/// Ports of one cell: its database and at most eight instances.
const CELL_STRIDE: u32 = 10;
/// The public port of a second router of the same Region; its other ports follow as the first one's do.
const SECOND_ROUTER: u16 = 6;
/// Relays stand this far above the instances they carry to, so that a small fleet keeps to one hundred ports.
const RELAY_OFFSET: u32 = 50;
/// What a second Region adds stands this far above the first one.
const REGION_OFFSET: u16 = 100;
/// Cells that fit below the relays.
pub const RELAYED_CELLS_MAX: u16 = 4;

/// Processes of each role where a cell has one set for wallets and one for money.
pub const SPLIT_INSTANCES_MAX: u16 = 4;

#[derive(Debug, Clone, Copy)]
pub struct Ports(pub u16);

impl Ports {
    pub fn router(self) -> String {
        self.at(0)
    }

    pub fn router_internal(self) -> String {
        self.at(1)
    }

    pub fn router_admin(self) -> String {
        self.at(2)
    }

    pub fn control_plane(self) -> String {
        self.at(3)
    }

    /// Before the control plane, for the router of a Region.
    pub fn control_plane_relay(self) -> String {
        self.at(RELAY_OFFSET + 3)
    }

    pub fn control_plane_db(self) -> String {
        self.at(4)
    }

    pub fn prometheus(self) -> String {
        self.at(5)
    }

    /// Cells count from 1.
    pub fn cell_db(self, cell: u16) -> String {
        self.at(u32::from(cell) * CELL_STRIDE)
    }

    /// Before the database, for the control plane.
    pub fn cell_db_relay(self, cell: u16) -> String {
        self.at(RELAY_OFFSET + u32::from(cell) * CELL_STRIDE)
    }

    /// Instances count from 0.
    pub fn instance(self, cell: u16, instance: u16) -> String {
        self.at(u32::from(cell) * CELL_STRIDE + 1 + u32::from(instance))
    }

    /// Before the instance of the same numbers; cells up to [`RELAYED_CELLS_MAX`].
    pub fn relay(self, cell: u16, instance: u16) -> String {
        self.at(RELAY_OFFSET + u32::from(cell) * CELL_STRIDE + 1 + u32::from(instance))
    }

    /// Of its ports for the router: those of a second one of the same Region.
    pub fn second_router(self) -> Self {
        Self(self.0 + SECOND_ROUTER)
    }

    /// Ports of the second Region's router, and of the standby of each cell.
    pub fn second(self) -> Self {
        Self(self.0 + REGION_OFFSET)
    }

    fn at(self, offset: u32) -> String {
        format!("127.0.0.1:{}", u32::from(self.0) + offset)
    }
}

/// Fails at the first address that cannot be listened on, and names the process that has it.
pub fn check_free(addresses: &[(String, String)]) -> Result<()> {
    for (name, address) in addresses {
        if let Err(error) = TcpListener::bind(address) {
            let port = address.rsplit(':').next().and_then(|port| port.parse().ok());
            let holder = port.and_then(holder_of).map_or_else(String::new, |holder| format!(" by {holder}"));
            let message = match error.kind() {
                std::io::ErrorKind::AddrInUse => {
                    format!("{address} ({name}) is in use{holder}: stop that, or choose another first port with --port")
                }
                _ => format!("cannot listen on {address} ({name}): {error}; choose another first port with --port"),
            };
            return Err(failure(PRECONDITION, message));
        }
    }
    Ok(())
}

/// "process 123 (name)" that listens on `port`, as far as /proc shows it to this user.
fn holder_of(port: u16) -> Option<String> {
    let inode = connections::socket_at(|local, state| local == port && state == connections::LISTENING)?;
    let mut processes = std::fs::read_dir("/proc").ok()?.flatten().map(|entry| entry.path());
    let process = processes.find(|process| connections::holds(process, &inode))?;
    let name = std::fs::read_to_string(process.join("comm")).unwrap_or_default();
    Some(format!("process {} ({})", process.file_name()?.to_string_lossy(), name.trim()))
}
