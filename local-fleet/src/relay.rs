//! TCP relays before the instances of a cell, so that a drill can cut the network between router
//! and cell: as a broken line does (nothing arrives, not even an error), or as a closed one
//! (connections end, new ones are refused). Of a fleet with two Regions, also before databases and
//! the control plane: what crosses a border takes longer, and is cut with its Region.
//!
//! It must never look at what it carries.

pub mod crossing;
pub mod places;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crossing::{Borders, Way};
use places::Place;

/// What is read of a connection at once.
const BUFFER_BYTES: usize = 16 * 1024;
/// Such buffers that are on their way in one direction of a connection.
const BUFFERS_MAX: usize = 16;
/// Connections of one relay; further ones wait in the kernel.
const CONNECTIONS_MAX: usize = 4_096;
/// Before listening is tried again on an address that was not free.
const LISTEN_PAUSE: Duration = Duration::from_millis(50);

/// How a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Line {
    Whole,
    /// What is sent waits, as in a network that drops it: it arrives late, if the line is mended in time.
    Silent,
    /// Connections end, and new ones are refused.
    Refusing,
}

/// The lines of a fleet by name: of each process that a relay stands before, and of each Region.
#[derive(Default)]
pub struct Relays {
    lines: Mutex<BTreeMap<String, watch::Sender<Line>>>,
    borders: Option<Arc<Borders>>,
}

impl Relays {
    /// Of a fleet with Regions. What crosses the border of one is on the line that has its name.
    pub fn across(borders: impl FnOnce(BTreeMap<String, watch::Receiver<Line>>) -> Borders, regions: &[&str]) -> Self {
        let new = |region: &&str| ((*region).to_owned(), watch::Sender::new(Line::Whole));
        let lines: BTreeMap<_, _> = regions.iter().map(new).collect();
        let watched = lines.iter().map(|(region, line)| (region.clone(), line.subscribe())).collect();
        Self { borders: Some(Arc::new(borders(watched))), lines: Mutex::new(lines) }
    }

    /// Carries from now on; nothing if there is a relay of this name already.
    pub async fn add(&self, place: Place) -> Result<()> {
        if self.lines.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&place.name) {
            return Ok(());
        }
        let listen = &place.listen;
        let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
        let (line, watched) = watch::channel(Line::Whole);
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).insert(place.name.clone(), line);
        let borders = self.borders.clone();
        // It ends with its sender, when the fleet does.
        tokio::spawn(async move { relay(listener, Arc::new(place), borders, watched).await });
        Ok(())
    }

    /// Sets the named lines; all of them must be there.
    pub fn set(&self, names: &[String], line: Line) -> Result<()> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        for name in names {
            let Some(one) = lines.get(name) else {
                bail!("there is no relay before {name:?}: `ctl up --relays` puts one before each instance")
            };
            one.send_replace(line);
        }
        Ok(())
    }
}

/// Until the fleet ends.
async fn relay(first: TcpListener, place: Arc<Place>, borders: Option<Arc<Borders>>, mut line: watch::Receiver<Line>) {
    let listen = &place.listen;
    let mut listener = Some(first);
    let mut connections = JoinSet::new();
    loop {
        let now = *line.borrow_and_update();
        match (now, &listener) {
            (Line::Refusing, Some(_)) => listener = None,
            (Line::Whole | Line::Silent, None) => match TcpListener::bind(listen).await {
                Ok(again) => listener = Some(again),
                Err(error) => {
                    tracing::warn!(listen, %error, "the relay cannot listen again yet");
                    sleep(LISTEN_PAUSE).await;
                    continue;
                }
            },
            _ => {}
        }
        let has_room = connections.len() < CONNECTIONS_MAX;
        let accept = async {
            match &listener {
                Some(listener) if has_room => listener.accept().await,
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = line.changed() => if changed.is_err() { return },
            accepted = accept => match accepted {
                Ok((stream, _)) => {
                    let (place, borders, line) = (Arc::clone(&place), borders.clone(), line.clone());
                    connections.spawn(async move {
                        let mut way = match borders {
                            Some(borders) => borders.way(&stream, &place).await,
                            None => Way::default(),
                        };
                        way.lines.push(line);
                        carry(stream, &place.to, &way).await;
                    });
                }
                Err(_) => sleep(LISTEN_PAUSE).await,
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

/// One connection, until either side ends it or a line is cut.
async fn carry(client: TcpStream, to: &str, way: &Way) {
    let carried = async {
        way.until_whole().await;
        // The kernel of the other side answers before anything is sent.
        sleep(way.one_way * 2).await;
        let instance = TcpStream::connect(to).await?;
        instance.set_nodelay(true)?;
        client.set_nodelay(true)?;
        let ((from_client, to_client), (from_instance, to_instance)) = (client.into_split(), instance.into_split());
        // Either side may stop sending while it still listens.
        tokio::try_join!(pump(from_client, to_instance, way), pump(from_instance, to_client, way))?;
        std::io::Result::Ok(())
    };
    tokio::select! {
        // What broke is broken for both sides, which is all that a line can say.
        _ = carried => {}
        () = way.until_cut() => {}
    }
}

/// One direction. What is sent arrives so much later, and more can be sent meanwhile.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, way: &Way) -> std::io::Result<()> {
    let (sent, mut coming) = mpsc::channel(BUFFERS_MAX);
    let read = async move {
        loop {
            let mut buffer = vec![0; BUFFER_BYTES];
            let length = from.read(&mut buffer).await?;
            buffer.truncate(length);
            if sent.send((Instant::now() + way.one_way, buffer)).await.is_err() || length == 0 {
                return std::io::Result::Ok(());
            }
        }
    };
    let write = async {
        while let Some((arrival, buffer)) = coming.recv().await {
            if !way.one_way.is_zero() {
                sleep_until(arrival).await;
            }
            way.until_whole().await;
            if buffer.is_empty() {
                return to.shutdown().await;
            }
            to.write_all(&buffer).await?;
        }
        Ok(())
    };
    tokio::try_join!(read, write).map(drop)
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::places::From;
    use super::*;
    use crate::supervisor::Supervisor;

    const SHORT: Duration = Duration::from_millis(100);
    const LONG: Duration = Duration::from_secs(5);

    fn place(listen: &str, to: String) -> Place {
        Place {
            name: "cell-1-a".to_owned(),
            listen: listen.to_owned(),
            to,
            region: Some("local-1".to_owned()),
            from: From::Any,
        }
    }

    /// An instance that sends back what it is sent, and a relay before it.
    async fn echo(relays: Relays) -> (Relays, String) {
        let instance = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let to = instance.local_addr().expect("bound").to_string();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = instance.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        let free = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("bound").to_string();
        relays.add(place(&free, to)).await.expect("the port was free");
        (relays, free)
    }

    async fn ask(stream: &mut TcpStream) -> std::io::Result<u8> {
        stream.write_all(&[7]).await?;
        stream.read_u8().await
    }

    #[tokio::test]
    async fn what_is_sent_into_a_silent_line_arrives_when_it_is_mended() {
        let (relays, address) = echo(Relays::default()).await;
        let mut stream = TcpStream::connect(&address).await.expect("it listens");
        assert_eq!(ask(&mut stream).await.expect("the line is whole"), 7);
        relays.set(&["cell-1-a".into()], Line::Silent).expect("it is there");
        assert!(timeout(SHORT, ask(&mut stream)).await.is_err(), "nothing comes back, not even an error");
        let mut late = TcpStream::connect(&address).await.expect("a silent line refuses no connection");
        assert!(timeout(SHORT, ask(&mut late)).await.is_err());
        relays.set(&["cell-1-a".into()], Line::Whole).expect("it is there");
        assert_eq!(timeout(LONG, stream.read_u8()).await.expect("in time").expect("whole"), 7);
        assert_eq!(timeout(LONG, late.read_u8()).await.expect("in time").expect("whole"), 7);
    }

    #[tokio::test]
    async fn a_refusing_line_ends_what_is_open_and_keeps_its_address() {
        let (relays, address) = echo(Relays::default()).await;
        let mut stream = TcpStream::connect(&address).await.expect("it listens");
        assert_eq!(ask(&mut stream).await.expect("the line is whole"), 7);
        relays.set(&["cell-1-a".into()], Line::Refusing).expect("it is there");
        assert!(timeout(LONG, stream.read_u8()).await.expect("it ends at once").is_err());
        assert!(TcpStream::connect(&address).await.is_err());
        relays.set(&["cell-1-a".into()], Line::Whole).expect("it is there");
        let again = async {
            loop {
                if let Ok(mut stream) = TcpStream::connect(&address).await {
                    return ask(&mut stream).await;
                }
                sleep(SHORT / 10).await;
            }
        };
        assert_eq!(timeout(LONG, again).await.expect("in time").expect("whole"), 7);
        assert!(relays.set(&["unknown".into()], Line::Whole).is_err());
    }

    #[tokio::test]
    async fn what_crosses_a_border_takes_longer_and_is_cut_with_its_region() {
        let one_way = SHORT / 4;
        // This process is no router of the Region: it comes from outside.
        let borders = |lines| Borders { one_way, lines, supervisor: Arc::new(Supervisor::new(false)) };
        let (relays, address) = echo(Relays::across(borders, &["local-1", "local-2"])).await;
        let began = Instant::now();
        let mut stream = TcpStream::connect(&address).await.expect("it listens");
        assert_eq!(ask(&mut stream).await.expect("the line is whole"), 7);
        assert!(began.elapsed() >= one_way * 4, "a round trip to connect, and one to ask");
        relays.set(&["local-2".into()], Line::Silent).expect("it is there");
        assert_eq!(ask(&mut stream).await.expect("the other Region is not concerned"), 7);
        relays.set(&["local-1".into()], Line::Silent).expect("it is there");
        assert!(timeout(SHORT, ask(&mut stream)).await.is_err());
        relays.set(&["local-1".into()], Line::Whole).expect("it is there");
        assert_eq!(timeout(LONG, stream.read_u8()).await.expect("in time").expect("whole"), 7);
    }
}
