//! Which process holds a TCP socket of this machine, as far as the kernel shows it to this user.

use std::net::{SocketAddr, SocketAddrV4};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

/// States of a socket.
pub const LISTENING: &str = "0A";

/// The inode of the first IPv4 socket that `is_it`: by its port and its state.
pub fn socket_at(is_it: impl Fn(u16, &str) -> bool) -> Option<String> {
    let sockets = std::fs::read_to_string("/proc/net/tcp").ok()?;
    sockets.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let port = u16::from_str_radix(fields.get(1)?.rsplit(':').next()?, 16).ok()?;
        is_it(port, fields.get(3)?).then(|| fields.get(9).map(|inode| (*inode).to_owned()))?
    })
}

/// Whether a process, given by its folder in /proc, has the socket open.
pub fn holds(process: &Path, inode: &str) -> bool {
    let wanted = format!("socket:[{inode}]");
    let Ok(files) = std::fs::read_dir(process.join("fd")) else { return false };
    files.flatten().any(|file| std::fs::read_link(file.path()).is_ok_and(|to| to.as_os_str() == wanted.as_str()))
}

/// Which of the processes has opened the connection from `client` to `server`.
pub fn opened_by(client: SocketAddr, server: SocketAddr, processes: &[u32]) -> Option<u32> {
    let (SocketAddr::V4(client), SocketAddr::V4(server)) = (client, server) else { return None };
    let inode = inode(client, server)?.to_string();
    let folder = |process: u32| PathBuf::from(format!("/proc/{process}"));
    processes.iter().copied().find(|process| holds(&folder(*process), &inode))
}

/// The layout of what is asked, and of the answer: `sock_diag(7)`. It takes as long for one socket as for a thousand, which
/// /proc/net/tcp does not.
const REQUEST_BYTES: u32 = 72;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const TCP: u8 = 6;
const INET: u8 = 2;
/// In the answer.
const INODE_AT: usize = 84;

/// Of the socket at the client's end.
fn inode(client: SocketAddrV4, server: SocketAddrV4) -> Option<u32> {
    let mut request = Vec::new();
    request.extend(REQUEST_BYTES.to_ne_bytes());
    request.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request.extend(NLM_F_REQUEST.to_ne_bytes());
    request.extend([0; 8]);
    request.extend([INET, TCP, 0, 0]);
    let all_states = u32::MAX;
    request.extend(all_states.to_ne_bytes());
    request.extend([client.port().to_be_bytes(), server.port().to_be_bytes()].concat());
    for address in [client.ip(), server.ip()] {
        request.extend(address.octets());
        request.extend([0; 12]);
    }
    // Any interface, and no cookie.
    request.extend([0; 4]);
    request.extend([0xff; 8]);
    let protocol = SockProtocol::NetlinkSockDiag;
    let kernel = socket(AddressFamily::Netlink, SockType::Datagram, SockFlag::SOCK_CLOEXEC, protocol).ok()?;
    send(kernel.as_raw_fd(), &request, MsgFlags::empty()).ok()?;
    let mut answer = [0; 512];
    let length = recv(kernel.as_raw_fd(), &mut answer, MsgFlags::MSG_DONTWAIT).ok()?;
    let kind = u16::from_ne_bytes([answer[4], answer[5]]);
    let inode = answer[..length].get(INODE_AT..INODE_AT + 4)?;
    (kind == SOCK_DIAG_BY_FAMILY).then(|| u32::from_ne_bytes([inode[0], inode[1], inode[2], inode[3]]))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn the_process_that_has_opened_a_connection_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let server = listener.local_addr().expect("bound");
        let _client = TcpStream::connect(server).expect("it listens");
        let (_accepted, client) = listener.accept().expect("connected");
        let this = std::process::id();
        assert_eq!(opened_by(client, server, &[1, this]), Some(this));
        assert_eq!(opened_by(client, server, &[]), None);
    }
}
