//! Connections that are opened and kept: clients that do not read, that do not send on, that say nothing at all. They come
//! from an address of their own, as an attacker's do.

use std::net::{Ipv4Addr, SocketAddr};

use access::tls::{Client, Stream};
use rustls::pki_types::ServerName;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

use super::Size;
use crate::access::support::Secure;

/// Also on this machine, and not the customer's.
const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// Requests that a slow reader sends on its connection.
const PIPELINED: usize = 20;

/// What is kept open.
pub struct Held {
    _plain: Vec<TcpStream>,
    _tls: Vec<Stream>,
}

pub async fn open(secure: &Secure, size: Size) -> Held {
    let tls = Client::believing(&secure.secrets.authority()).expect("the fleet's authority");
    let router = address(&secure.fleet.ports.router());
    let page = "GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(PIPELINED);
    let token = secure.service("batch deposit");
    let head = format!(
        "POST /api/v1/wallets/{}/transactions:batch HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: 60000\r\n\r\n{{",
        crate::fleet::wallet_of("ann")
    );
    let mut held = Held { _plain: vec![], _tls: vec![] };
    for text in std::iter::repeat_n(&page, size.slow_readers).chain(std::iter::repeat_n(&head, size.slow_senders)) {
        // Where the process has had enough of this address, it does not come about: that is what is wanted.
        if let Some(stream) = send(&tls, router, text).await {
            held._tls.push(stream);
        }
    }
    let ports = &secure.fleet.ports;
    let listeners = [ports.router(), ports.router_internal(), ports.control_plane(), ports.instance(1, 0)];
    for number in 0..size.silent {
        held._plain.extend(connect(address(&listeners[number % listeners.len()])).await.ok());
    }
    held
}

/// Sends a text and reads nothing.
async fn send(tls: &Client, to: SocketAddr, text: &str) -> Option<Stream> {
    let name = ServerName::try_from("localhost").expect("a name");
    let mut stream = tls.connect(name, connect(to).await.ok()?).await.ok()?;
    stream.write_all(text.as_bytes()).await.ok()?;
    stream.flush().await.ok()?;
    Some(stream)
}

async fn connect(to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((ATTACKER, 0)))?;
    // As little as the system gives: what is not read stays with the sender.
    socket.set_recv_buffer_size(4 * 1_024)?;
    socket.connect(to).await
}

fn address(url: &str) -> SocketAddr {
    url.trim_start_matches("http://").parse().expect("an address")
}
