//! A TCP relay before each instance of a cell, so that a drill can cut the network between router
//! and cell: as a broken line does (nothing arrives, not even an error), or as a closed one
//! (connections end, new ones are refused).
//!
//! It must never look at what it carries.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// What one direction of a connection holds at once.
const BUFFER_BYTES: usize = 16 * 1024;
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

/// All relays of a fleet, by the instance that they stand before.
#[derive(Default)]
pub struct Relays(Mutex<BTreeMap<String, watch::Sender<Line>>>);

impl Relays {
    /// Carries `listen` to `to` from now on; nothing if the instance has its relay already.
    pub async fn add(&self, name: &str, listen: &str, to: String) -> Result<()> {
        if self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(name) {
            return Ok(());
        }
        let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
        let (line, watched) = watch::channel(Line::Whole);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), line);
        let listen = listen.to_owned();
        // It ends with its sender, when the fleet does.
        tokio::spawn(async move { relay(listener, &listen, &to, watched).await });
        Ok(())
    }

    /// Sets the lines of the named instances; all of them must have relays.
    pub fn set(&self, names: &[String], line: Line) -> Result<()> {
        let relays = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for name in names {
            let Some(relay) = relays.get(name) else {
                bail!("there is no relay before {name:?}: `ctl up --relays` puts one before each instance")
            };
            relay.send_replace(line);
        }
        Ok(())
    }
}

/// Until the fleet ends.
async fn relay(first: TcpListener, listen: &str, to: &str, mut line: watch::Receiver<Line>) {
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
                    let (to, line) = (to.to_owned(), line.clone());
                    connections.spawn(async move { carry(stream, &to, line).await });
                }
                Err(_) => sleep(LISTEN_PAUSE).await,
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

/// One connection, until either side ends it or the line is cut.
async fn carry(client: TcpStream, to: &str, line: watch::Receiver<Line>) {
    let carried = async {
        until_whole(line.clone()).await;
        let instance = TcpStream::connect(to).await?;
        instance.set_nodelay(true)?;
        client.set_nodelay(true)?;
        let ((from_client, to_client), (from_instance, to_instance)) = (client.into_split(), instance.into_split());
        // Either side may stop sending while it still listens.
        tokio::try_join!(pump(from_client, to_instance, line.clone()), pump(from_instance, to_client, line.clone()))?;
        std::io::Result::Ok(())
    };
    let cut = async {
        let _ = line.clone().wait_for(|line| *line == Line::Refusing).await;
    };
    tokio::select! {
        // What broke is broken for both sides, which is all that a line can say.
        _ = carried => {}
        () = cut => {}
    }
}

async fn until_whole(mut line: watch::Receiver<Line>) {
    let _ = line.wait_for(|line| *line == Line::Whole).await;
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, line: watch::Receiver<Line>) -> std::io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let length = from.read(&mut buffer).await?;
        until_whole(line.clone()).await;
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..length]).await?;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const SHORT: Duration = Duration::from_millis(100);
    const LONG: Duration = Duration::from_secs(5);

    /// An instance that sends back what it is sent, and a relay before it.
    async fn echo() -> (Relays, String) {
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
        let relays = Relays::default();
        relays.add("cell-1-a", &free, to).await.expect("the port was free");
        (relays, free)
    }

    async fn ask(stream: &mut TcpStream) -> std::io::Result<u8> {
        stream.write_all(&[7]).await?;
        stream.read_u8().await
    }

    #[tokio::test]
    async fn what_is_sent_into_a_silent_line_arrives_when_it_is_mended() {
        let (relays, address) = echo().await;
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
        let (relays, address) = echo().await;
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
}
