//! What a connection between two Regions has on its way: the distance, and the lines of both. From which Region it
//! comes, the process that opened it says: an instance has one address, at which the routers of all Regions reach it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::{JoinSet, spawn_blocking};

use crate::connections;
use crate::layout::ROUTERS;
use crate::regions::REGIONS;
use crate::relay::Line;
use crate::relay::places::{From, Place};
use crate::supervisor::Supervisor;

/// The borders of all Regions.
pub struct Borders {
    /// Half of a round trip.
    pub one_way: Duration,
    /// By Region.
    pub lines: BTreeMap<String, watch::Receiver<Line>>,
    /// Knows which processes the routers are now.
    pub supervisor: Arc<Supervisor>,
}

/// What lies between the two ends of a connection.
#[derive(Default)]
pub struct Way {
    pub one_way: Duration,
    pub lines: Vec<watch::Receiver<Line>>,
}

impl Borders {
    /// Of a connection that a relay has taken.
    pub async fn way(&self, connection: &TcpStream, place: &Place) -> Way {
        let from = match &place.from {
            From::Region(region) => region.as_deref(),
            From::Any => self.origin(connection).await,
        };
        let region = place.region.as_deref();
        if from == region {
            return Way::default();
        }
        let lines = [from, region].into_iter().flatten().filter_map(|region| self.lines.get(region).cloned());
        Way { one_way: self.one_way, lines: lines.collect() }
    }

    /// The Region of the router that has opened it; all other processes that use relays are in none.
    async fn origin(&self, connection: &TcpStream) -> Option<&'static str> {
        let (client, server) = connection.peer_addr().ok().zip(connection.local_addr().ok())?;
        let process = |name: &&str| self.supervisor.watch(name).and_then(|view| view.borrow().pid);
        let routers: Vec<(u32, &str)> =
            ROUTERS.iter().zip(REGIONS).filter_map(|(name, region)| Some((process(name)?, region))).collect();
        let processes: Vec<u32> = routers.iter().map(|(process, _)| *process).collect();
        let opened = spawn_blocking(move || connections::opened_by(client, server, &processes)).await.ok()??;
        routers.iter().find(|(process, _)| *process == opened).map(|(_, region)| *region)
    }
}

impl Way {
    pub async fn until_whole(&self) {
        while let Some(line) = self.lines.iter().find(|line| *line.borrow() != Line::Whole) {
            if line.clone().wait_for(|line| *line == Line::Whole).await.is_err() {
                return;
            }
        }
    }

    /// Until one of the lines refuses to carry anything.
    pub async fn until_cut(&self) {
        let mut cuts: JoinSet<()> = JoinSet::new();
        for mut line in self.lines.iter().cloned() {
            cuts.spawn(async move {
                let _ = line.wait_for(|line| *line == Line::Refusing).await;
            });
        }
        cuts.join_next().await;
    }
}
