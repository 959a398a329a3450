//! Which process listens where: everything follows from the first port. Loopback only.

use std::net::TcpListener;
use std::path::Path;

use anyhow::Result;
use command_line::{PRECONDITION, failure};

/// Ports of one cell: its database and at most eight instances.
const CELL_STRIDE: u32 = 10;
/// Relays stand this far above the instances they carry to, so that a small fleet keeps to one hundred ports.
const RELAY_OFFSET: u32 = 50;
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

    /// Instances count from 0.
    pub fn instance(self, cell: u16, instance: u16) -> String {
        self.at(u32::from(cell) * CELL_STRIDE + 1 + u32::from(instance))
    }

    /// Before the instance of the same numbers; cells up to [`RELAYED_CELLS_MAX`].
    pub fn relay(self, cell: u16, instance: u16) -> String {
        self.at(RELAY_OFFSET + u32::from(cell) * CELL_STRIDE + 1 + u32::from(instance))
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
    const LISTENING: &str = "0A";
    let sockets = std::fs::read_to_string("/proc/net/tcp").ok()?;
    let inode = sockets.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let local = u16::from_str_radix(fields.get(1)?.rsplit(':').next()?, 16).ok()?;
        (local == port && fields.get(3) == Some(&LISTENING)).then(|| fields.get(9).map(|inode| (*inode).to_owned()))?
    })?;
    let wanted = format!("socket:[{inode}]");
    let holds = |process: &Path| {
        let files = std::fs::read_dir(process.join("fd")).ok()?;
        let is_it =
            |file: std::fs::DirEntry| std::fs::read_link(file.path()).is_ok_and(|to| to.as_os_str() == wanted.as_str());
        files.flatten().any(is_it).then_some(())
    };
    let process =
        std::fs::read_dir("/proc").ok()?.flatten().map(|entry| entry.path()).find(|path| holds(path).is_some())?;
    let name = std::fs::read_to_string(process.join("comm")).unwrap_or_default();
    Some(format!("process {} ({})", process.file_name()?.to_string_lossy(), name.trim()))
}
