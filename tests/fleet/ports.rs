//! Blocks of free ports. The layout follows that of `ctl up`, from the first port on.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

/// Below the ports that the kernel hands out for outgoing connections, so that none of those gets in the way.
const FIRST: u32 = 15_000;
const LAST: u32 = 31_900;
const STRIDE: u32 = 100;
const CELL_STRIDE: u16 = 10;
/// From a cell's ports to those of its relays.
const RELAY_OFFSET: u16 = 50;
/// From the ports of the first Region to those of the second one.
const REGION_OFFSET: u16 = 100;

static NEXT: AtomicU32 = AtomicU32::new(0);

#[derive(Debug, Clone, Copy)]
pub struct Ports(u16);

impl Ports {
    pub fn first(self) -> u16 {
        self.0
    }

    pub fn router(self) -> String {
        url(self.0)
    }

    pub fn router_internal(self) -> String {
        url(self.0 + 1)
    }

    pub fn router_admin(self) -> String {
        url(self.0 + 2)
    }

    /// The public address of a second router of the same Region.
    pub fn second_router(self) -> String {
        url(self.0 + 6)
    }

    pub fn second_router_admin(self) -> String {
        url(self.0 + 8)
    }

    pub fn control_plane(self) -> String {
        url(self.0 + 3)
    }

    pub fn control_plane_db(self) -> String {
        url(self.0 + 4)
    }

    /// Cells count from 1.
    pub fn cell_db(self, cell: u16) -> String {
        url(self.0 + CELL_STRIDE * cell)
    }

    /// Instances count from 0.
    pub fn instance(self, cell: u16, instance: u16) -> String {
        url(self.0 + CELL_STRIDE * cell + 1 + instance)
    }
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// A block that no process listens in now. Other test processes start elsewhere in the range.
pub fn free_block(cells: u16) -> Ports {
    free_ports(CELL_STRIDE * (cells + 1))
}

/// A block in which all of `ctl up --relays` fits.
pub fn free_block_with_relays(cells: u16) -> Ports {
    free_ports(CELL_STRIDE * (cells + 1) + RELAY_OFFSET)
}

/// A block in which all of `ctl up --regions 2` fits.
pub fn free_block_with_regions(cells: u16) -> Ports {
    free_ports(CELL_STRIDE * (cells + 1) + RELAY_OFFSET + REGION_OFFSET)
}

fn free_ports(count: u16) -> Ports {
    let blocks = (LAST - FIRST) / STRIDE;
    for _ in 0..blocks {
        let number = std::process::id().wrapping_mul(7) + NEXT.fetch_add(1, Ordering::Relaxed);
        let first = u16::try_from(FIRST + number % blocks * STRIDE).expect("the range is one of ports");
        let free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if (first..first + count).all(free) {
            return Ports(first);
        }
    }
    panic!("no free block of ports between {FIRST} and {LAST}");
}

/// One free port, from a block of its own.
pub fn free_port() -> u16 {
    free_block(0).first()
}
