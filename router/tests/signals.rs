//! The router's process: the signals that end it, and what it does when descriptors run out.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const WALLET: &str = "/api/v1/wallets/1a836b5a-367e-4abc-8347-a2aaf56afd1c";

/// A process that does not outlive its test.
struct Router {
    child: Child,
    log: BufReader<ChildStderr>,
}

impl Drop for Router {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Router {
    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }

    fn until_logged(&mut self, text: &str) {
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            assert_ne!(self.log.read_line(&mut line).expect("text"), 0, "it ended before it logged: {text}");
        }
    }

    fn end(&mut self) -> (ExitStatus, Duration) {
        let started = Instant::now();
        (self.child.wait().expect("a child"), started.elapsed())
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}

fn accept_request(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = listener.accept().expect("a connection");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a head");
        head.push(byte[0]);
    }
    stream
}

/// A router that has learnt where its cell is.
struct Started {
    router: Router,
    public: SocketAddr,
    internal: SocketAddr,
    cell: TcpListener,
    /// The control plane's end of a question that stays open.
    _asks: TcpStream,
}

/// `limit`: how many descriptors it may have.
fn start(name: &str, limit: &str) -> Started {
    let listen = || TcpListener::bind("127.0.0.1:0").expect("a free port");
    let (cell, plane) = (listen(), listen());
    let address = |listener: &TcpListener| listener.local_addr().expect("bound");
    let data_dir = std::env::temp_dir().join(format!("router-{name}-{}", std::process::id()));
    // Left over from a process of the same number, if at all.
    let _ = std::fs::remove_dir_all(&data_dir);
    let [public, internal] = [free_address(), free_address()];
    let mut child = Command::new("sh")
        .args(["-c", "ulimit -n $0 && exec \"$@\"", limit, env!("CARGO_BIN_EXE_router")])
        .args(["--threads", "1", "--namespace", "6f1a0c52-9f35-4d0e-8a3d-3c1c6a6b1f10", "--log-format", "text"])
        .args(["--listen", &public.to_string(), "--internal-listen", &internal.to_string()])
        .args(["--admin-listen", "127.0.0.1:0"])
        .args(["--control-plane", &format!("http://{}", address(&plane))])
        .arg("--data-dir")
        .arg(&data_dir)
        .stderr(Stdio::piped())
        .spawn()
        .expect("the router starts");
    let log = BufReader::new(child.stderr.take().expect("piped"));
    let router = Router { child, log };
    let placement = format!(
        r#"{{"version":1,"intended":true,"cells":[{{"index":0,"id":"cell-1","state":"active","weight":1,"instances":[{{"id":"cell-1-a","address":"{}"}}]}}],"buckets":[{{"first":0,"last":65535,"cell":0}}]}}"#,
        address(&cell)
    );
    let mut told = accept_request(&plane);
    let length = placement.len();
    write!(told, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{placement}").expect("sent");
    // It asks for the next one once it has taken this one.
    let asks = accept_request(&plane);
    Started { router, public, internal, cell, _asks: asks }
}

/// A router with one request in flight, to a cell that never answers it; what has to stay open meanwhile.
fn with_a_request_in_flight(name: &str) -> (Router, Vec<TcpStream>) {
    let Started { router, public, cell, _asks: asks, .. } = start(name, "1024");
    let mut client = TcpStream::connect(public).expect("the router listens");
    write!(client, "GET {WALLET} HTTP/1.1\r\nhost: localhost\r\nx-deadline-ms: 30000\r\n\r\n").expect("sent");
    let asked = accept_request(&cell);
    (router, vec![asks, client, asked])
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let (mut router, _open) = with_a_request_in_flight("second-signal");
    router.signal("-TERM");
    router.until_logged("a second signal ends it at once");
    assert!(router.child.try_wait().expect("a child").is_none(), "it waits for what is in flight");
    router.signal("-INT");
    let (status, took) = router.end();
    assert_eq!(status.code(), Some(1));
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[test]
fn one_signal_waits_for_what_is_in_flight() {
    let (mut router, mut open) = with_a_request_in_flight("one-signal");
    router.signal("-TERM");
    router.until_logged("a second signal ends it at once");
    let mut cell = open.pop().expect("the cell's end");
    write!(cell, "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone").expect("the router waits");
    let mut answer = String::new();
    open[1].read_to_string(&mut answer).expect("an answer, then the end");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"), "{answer}");
    assert_eq!(router.end().0.code(), Some(0));
}

/// As for a transfer between cells: what the client waits for goes through the router once more.
#[test]
fn cells_reach_one_another_until_the_last_client_is_answered() {
    let Started { mut router, public, internal, cell, _asks } = start("transfer", "1024");
    let patient = |address| {
        let client = TcpStream::connect(address).expect("the router listens");
        client.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket");
        client
    };
    let mut client = patient(public);
    write!(client, "GET {WALLET} HTTP/1.1\r\nhost: localhost\r\n\r\n").expect("sent");
    let mut asked = accept_request(&cell);
    router.signal("-TERM");
    router.until_logged("a second signal ends it at once");
    let mut of_cell = patient(internal);
    let path = format!("{}/receivable", WALLET.replace("/api", "/internal"));
    write!(of_cell, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").expect("sent");
    let mut on_behalf = accept_request(&cell);
    write!(on_behalf, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nso").expect("it waits");
    let mut answer = String::new();
    of_cell.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("so"), "{answer}");
    write!(asked, "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone").expect("it still waits");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("an answer, then the end");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"), "{answer}");
    let (status, took) = router.end();
    assert!(status.code() == Some(0) && took < Duration::from_secs(5), "{status} after {took:?}");
}

#[test]
fn idle_clients_leave_descriptors_for_the_cell() {
    let started = start("descriptors", "200");
    // More than the router may have descriptors, each kept open by its client.
    let idle: Vec<_> = (0..300).map(|_| TcpStream::connect(started.public).expect("the router listens")).collect();
    let began = Instant::now();
    for _ in 0..3 {
        let mut client = TcpStream::connect(started.public).expect("the router listens");
        client.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket");
        write!(client, "GET {WALLET} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").expect("sent");
        let mut cell = accept_request(&started.cell);
        write!(cell, "HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\ndone").expect("it waits");
        let mut answer = String::new();
        client.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"), "{answer}");
    }
    assert!(began.elapsed() < Duration::from_secs(30), "no idle one was waited for: {:?}", began.elapsed());
    drop(idle);
}

#[test]
fn a_stream_of_events_ends_after_the_event_that_has_begun() {
    let Started { mut router, public, cell, _asks, .. } = start("mid-event", "1024");
    let mut client = TcpStream::connect(public).expect("the router listens");
    client.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket");
    write!(client, "GET /api/v1/events?cell=cell-1&follow=true HTTP/1.1\r\nhost: localhost\r\n\r\n").expect("sent");
    let mut asked = accept_request(&cell);
    write!(asked, "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        .and_then(|()| write!(asked, "7\r\ndata: {{\r\n"))
        .expect("it waits");
    let mut answer = Vec::new();
    while !answer.ends_with(b"data: {\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).expect("half of an event");
        answer.push(byte[0]);
    }
    router.signal("-TERM");
    router.until_logged("a second signal ends it at once");
    // Time to end it too early.
    std::thread::sleep(Duration::from_millis(300));
    write!(asked, "3\r\n}}\n\n\r\n").expect("it still waits");
    let mut rest = String::new();
    client.read_to_string(&mut rest).expect("the end");
    assert_eq!(rest, "3\r\n}\n\n\r\n0\r\n\r\n");
    assert_eq!(router.end().0.code(), Some(0));
}
