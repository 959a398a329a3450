//! Over real sockets, with clients that send and read as no decent client would.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::*;

const BODY_MAX_BYTES: usize = 1_000;
const BOUNDS: Bounds = Bounds { connections_max: 8, peer_connections_max: 4 };

#[derive(Clone)]
struct Echo;

impl Service<Request<ReadBody>> for Echo {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    /// `/large` is an answer that no socket takes whole; a body of more than [`BODY_MAX_BYTES`] is refused unread.
    fn call(&mut self, request: Request<ReadBody>) -> Self::Future {
        Box::pin(async move {
            let length = request.body().size_hint().lower();
            if length > BODY_MAX_BYTES as u64 {
                return Ok(Response::builder().status(413).body(Full::new("too large".into())).expect("sound"));
            }
            let body = if request.uri().path() == "/large" { vec![b'x'; 64 << 20] } else { b"ok".to_vec() };
            request.into_body().collect().await.expect("a body");
            Ok(Response::new(Full::new(body.into())))
        })
    }
}

async fn start() -> (SocketAddr, oneshot::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (stop, stopped) = oneshot::channel::<()>();
    let closing = async { drop(stopped.await) };
    let acceptor = Acceptor::new(listener, None);
    tokio::spawn(serve(acceptor, Echo, BOUNDS, closing, Duration::from_secs(1)));
    (address, stop)
}

async fn all(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // Reset or closed: what came before is what counts.
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

/// From an address of this machine that ends so.
async fn connect_from(number: u8, address: SocketAddr) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind(([127, 0, 0, number], 0).into()).expect("all of 127/8 is this machine");
    socket.connect(address).await.expect("it listens")
}

/// Far sooner than a connection ends on which nothing is asked.
async fn is_closed_at_once(mut stream: TcpStream) -> bool {
    timeout(Duration::from_secs(10), all(&mut stream)).await.is_ok_and(|all| all.is_empty())
}

#[tokio::test]
async fn an_answer_that_does_not_wait_for_its_body_arrives() {
    let (address, _stop) = start().await;
    for _ in 0..5 {
        let mut client = TcpStream::connect(address).await.expect("it listens");
        let head = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3000000\r\n\r\n";
        client.write_all(head.as_bytes()).await.expect("it reads");
        // In pieces: a connection that is reset meanwhile takes no more of them.
        for piece in vec![b'x'; 3_000_000].chunks(100_000) {
            client.write_all(piece).await.expect("all is taken");
            sleep(Duration::from_millis(2)).await;
        }
        let answer = all(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 413") && answer.ends_with("too large"), "{answer}");
    }
}

#[tokio::test]
async fn one_peer_gets_its_share_of_the_connections() {
    let (address, _stop) = start().await;
    let mut clients = Vec::new();
    for _ in 0..BOUNDS.peer_connections_max {
        let mut client = TcpStream::connect(address).await.expect("it listens");
        client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("it reads");
        client.read_exact(&mut [0; 12]).await.expect("an answer");
        clients.push(client);
    }
    assert!(is_closed_at_once(connect_from(1, address).await).await);
    let mut other = connect_from(2, address).await;
    other.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.expect("it reads");
    assert!(all(&mut other).await.ends_with("ok"), "another peer is served");
    // Until there are as many as there may be, of all peers.
    while clients.len() < BOUNDS.connections_max {
        let mut client = connect_from(2, address).await;
        client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("it reads");
        client.read_exact(&mut [0; 12]).await.expect("an answer");
        clients.push(client);
    }
    assert!(is_closed_at_once(connect_from(3, address).await).await);
    clients.clear();
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let mut again = TcpStream::connect(address).await.expect("it listens");
        // It may be closed already.
        let _ = again.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
        if all(&mut again).await.ends_with("ok") {
            break;
        }
        assert!(Instant::now() < deadline, "places are free again");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_too_little_is_ended() {
    let (address, _stop) = start().await;
    let mut client = TcpStream::connect(address).await.expect("it listens");
    client.write_all(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("it reads");
    client.read_exact(&mut [0; 12]).await.expect("an answer begins");
    let began = Instant::now();
    // The clock runs as fast as there is nothing else to do.
    sleep(2 * crate::limits::WRITE_STALL_TIMEOUT).await;
    let rest = all(&mut client).await.len();
    assert!(rest < 64 << 20, "it was cut off: {rest} bytes after {:?}", began.elapsed());
}
