//! Cells and a control plane in this process, each on a socket of its own, and a router before them.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use telemetry::metrics::MetricsPage;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use topology::placement::{BucketRun, CellEntry, CellState, InstanceEntry};
use topology::{CellId, CellIndex, InstanceId, PlacementUpdate};
use uuid::Uuid;

use crate::config::{Access, Bounds, Place, Settings};
use crate::server::{Running, start};

pub const NAMESPACE: Uuid = Uuid::from_u128(7);
/// In the lower half of the buckets, and in the upper one.
pub const LOW: &str = "1a836b5a-367e-4abc-8347-a2aaf56afd1c";
pub const HIGH: &str = "fa836b5a-367e-4abc-8347-a2aaf56afd1c";

/// What a cell does with the next request.
#[derive(Debug, Clone)]
pub enum Deed {
    /// Status, further header lines, body.
    Answer(u16, &'static str, String),
    /// Reads the request and closes the connection.
    Die,
    /// Answers, then closes the connection without having said so.
    AnswerAndClose,
    Hang,
    /// Sends these bytes and nothing more.
    Stall(&'static str),
    /// Sends these bytes and closes the connection.
    BreakOff(&'static str),
}

/// One instance of a cell. Answers 200 with its name unless the test says otherwise.
#[derive(Clone)]
pub struct Cell {
    pub name: &'static str,
    pub address: SocketAddr,
    deeds: Arc<Mutex<VecDeque<Deed>>>,
    /// The requests it has read, head and body.
    seen: Arc<Mutex<Vec<String>>>,
    /// Connections it has accepted.
    connections: Arc<AtomicU32>,
    /// While true it answers nothing at all, as a process that was stopped.
    frozen: watch::Sender<bool>,
    /// What it answers next without reading more than a head.
    at_once: Arc<Mutex<VecDeque<Deed>>>,
}

impl Cell {
    pub async fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (deeds, seen, connections) = (Arc::default(), Arc::default(), Arc::default());
        let cell = Self {
            name,
            address,
            deeds,
            seen,
            connections,
            frozen: watch::Sender::new(false),
            at_once: Arc::default(),
        };
        let serving = cell.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serving.connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(serving.clone().converse(stream));
            }
        });
        cell
    }

    pub fn will(&self, deed: Deed) -> &Self {
        self.deeds.lock().expect("sound").push_back(deed);
        self
    }

    /// Answers the next request as soon as its head is there, and closes the connection over its body.
    pub fn will_at_once(&self, deed: Deed) {
        self.at_once.lock().expect("sound").push_back(deed);
    }

    pub fn deeds_cleared(&self) -> &Self {
        self.deeds.lock().expect("sound").clear();
        self
    }

    pub fn freeze(&self, frozen: bool) {
        self.frozen.send_replace(frozen);
    }

    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().expect("sound").clone()
    }

    pub fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }

    async fn converse(self, mut stream: TcpStream) {
        let mut bytes = Vec::new();
        let mut frozen = self.frozen.subscribe();
        let at_once = self.at_once.lock().expect("sound").pop_front();
        if let Some(Deed::Answer(status, lines, body)) = at_once {
            let mut head = [0; 64];
            stream.read_exact(&mut head).await.expect("a head");
            let length = body.len();
            let text = format!("HTTP/1.1 {status} Some\r\n{lines}content-length: {length}\r\n\r\n{body}");
            stream.write_all(text.as_bytes()).await.expect("the router reads");
            return;
        }
        while let Some(request) = read_request(&mut stream, &mut bytes).await {
            frozen.wait_for(|frozen| !frozen).await.expect("the cell has the sender");
            if request.starts_with("GET /livez ") {
                // The router may have gone.
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
                continue;
            }
            self.seen.lock().expect("sound").push(request);
            let deed = self.deeds.lock().expect("sound").pop_front();
            let usual = Deed::Answer(200, "", self.name.into());
            let closes = matches!(deed, Some(Deed::AnswerAndClose));
            let (status, lines, body) = match deed.unwrap_or_else(|| usual.clone()) {
                Deed::Answer(status, lines, body) => (status, lines, body),
                Deed::AnswerAndClose => (200, "", self.name.into()),
                Deed::Die => return,
                Deed::Hang => std::future::pending().await,
                Deed::BreakOff(bytes) => {
                    // The router may have gone.
                    let _ = stream.write_all(bytes.as_bytes()).await;
                    return;
                }
                Deed::Stall(bytes) => {
                    // The router may have gone.
                    let _ = stream.write_all(bytes.as_bytes()).await;
                    std::future::pending().await
                }
            };
            let length = body.len();
            let text = format!("HTTP/1.1 {status} Some\r\n{lines}content-length: {length}\r\n\r\n{body}");
            if stream.write_all(text.as_bytes()).await.is_err() || closes {
                return;
            }
        }
    }
}

/// Reads one request; chunked bodies are kept as they came, up to their last chunk.
async fn read_request(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<String> {
    loop {
        let text = String::from_utf8_lossy(bytes).into_owned();
        if let Some(end) = text.find("\r\n\r\n").map(|end| end + 4) {
            let head = text[..end].to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
            let chunked = head.contains("transfer-encoding: chunked");
            let whole = if chunked { text.find("\r\n0\r\n\r\n").map(|at| at + 7) } else { Some(end + length) };
            if let Some(whole) = whole.filter(|&whole| bytes.len() >= whole) {
                let rest = bytes.split_off(whole);
                let request = std::mem::replace(bytes, rest);
                return String::from_utf8(request).ok();
            }
        }
        if stream.read_buf(bytes).await.unwrap_or(0) == 0 {
            return None;
        }
    }
}

/// Instances by cell: the first cell has the lower half of the buckets, the second one the upper.
pub fn halves(version: u64, cells: [&[SocketAddr]; 2]) -> PlacementUpdate {
    let cells = cells.iter().enumerate().map(|(number, addresses)| CellEntry {
        index: CellIndex(u16::try_from(number).expect("two cells")),
        id: CellId::parse(format!("cell-{number}")).expect("sound"),
        state: CellState::Active,
        weight: 1,
        instances: (addresses.iter().enumerate())
            .map(|(n, address)| InstanceEntry {
                id: InstanceId(format!("cell-{number}-{n}")),
                address: address.to_string(),
                role: topology::Role::All,
                zone: None,
            })
            .collect(),
    });
    let run = |first, last, cell| BucketRun { first, last, cell: CellIndex(cell) };
    let buckets = vec![run(0, 0x7fff, 0), run(0x8000, 0xffff, 1)];
    let cells = cells.collect();
    PlacementUpdate { version, base: None, intended: false, cells, buckets, pins: vec![], avoided: vec![] }
}

/// Publishes what it is given to every caller; asked lines are kept.
pub struct ControlPlane {
    pub address: SocketAddr,
    pub publish: watch::Sender<Option<PlacementUpdate>>,
    asked: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl ControlPlane {
    pub async fn start(first: Option<PlacementUpdate>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (publish, published) = watch::channel(first);
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(tell(stream, published.clone(), Arc::clone(&log)));
            }
        });
        Self { address, publish, asked, task }
    }

    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("sound").clone()
    }

    pub fn stop(self) {
        self.task.abort();
    }
}

async fn tell(
    mut stream: TcpStream,
    mut published: watch::Receiver<Option<PlacementUpdate>>,
    log: Arc<Mutex<Vec<String>>>,
) {
    let Some(request) = read_request(&mut stream, &mut Vec::new()).await else { return };
    let line = request.lines().next().unwrap_or_default().to_owned();
    let since = line.split("since=").nth(1).and_then(|rest| rest.split('&').next()?.parse::<u64>().ok()).unwrap_or(0);
    log.lock().expect("sound").push(line);
    let newer = |update: &Option<PlacementUpdate>| update.as_ref().is_some_and(|update| update.version != since);
    let body = match published.wait_for(newer).await {
        Ok(update) => serde_json::to_string(&*update).expect("serializes"),
        Err(_) => return,
    };
    let text = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    // The router may have gone.
    let _ = stream.write_all(text.as_bytes()).await;
}

pub struct Rig {
    pub running: Running,
    pub data_dir: PathBuf,
}

fn metrics() -> MetricsPage {
    static PAGE: OnceLock<MetricsPage> = OnceLock::new();
    let build = topology::Version::parse("test").expect("sound");
    let install = || telemetry::metrics::install(&crate::telemetry::identity(&build)).expect("the only recorder");
    PAGE.get_or_init(install).clone()
}

pub fn fresh_dir() -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let dir = std::env::temp_dir().join(format!("router-test-{}-{number}", std::process::id()));
    // Left over from a process of the same number, if at all.
    let _ = std::fs::remove_dir_all(&dir);
    dir
}

fn settings(control_plane: SocketAddr, data_dir: PathBuf) -> Settings {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    Settings {
        listen: any,
        internal_listen: any,
        admin_listen: any,
        control_planes: vec![Place { address: control_plane.to_string(), is_tls: false }],
        peers: None,
        data_dir,
        namespace: NAMESPACE,
        zone: None,
        threads: 1,
        bounds: Bounds::default(),
        access: Access::default(),
    }
}

impl Rig {
    pub async fn start(control_plane: SocketAddr, data_dir: PathBuf) -> Self {
        Self::start_bound(control_plane, data_dir, 1, Bounds::default()).await
    }

    pub async fn start_bound(control_plane: SocketAddr, data_dir: PathBuf, threads: usize, bounds: Bounds) -> Self {
        Self::start_guarded(control_plane, data_dir, threads, bounds, Access::default()).await
    }

    pub async fn start_guarded(
        control_plane: SocketAddr,
        data_dir: PathBuf,
        threads: usize,
        bounds: Bounds,
        access: Access,
    ) -> Self {
        Self::start_as(Settings { threads, bounds, access, ..settings(control_plane, data_dir) }).await
    }

    /// A router without a placement of its own, and another that it may ask.
    pub async fn beside(control_plane: SocketAddr, other: SocketAddr) -> Self {
        let peers = Some(Place { address: other.to_string(), is_tls: false });
        Self::start_as(Settings { peers, ..settings(control_plane, fresh_dir()) }).await
    }

    /// A router of two Regions, which may ask the control plane of either.
    pub async fn between(control_planes: [SocketAddr; 2]) -> Self {
        let place = |address: SocketAddr| Place { address: address.to_string(), is_tls: false };
        let settings = settings(control_planes[0], fresh_dir());
        Self::start_as(Settings { control_planes: control_planes.map(place).into(), ..settings }).await
    }

    async fn start_as(settings: Settings) -> Self {
        let running = start(&settings, metrics(), None).await.expect("the router starts");
        Self { running, data_dir: settings.data_dir }
    }

    /// A router that has learnt `update`.
    pub async fn with(update: PlacementUpdate) -> (Self, ControlPlane) {
        let version = update.version;
        let control_plane = ControlPlane::start(Some(update)).await;
        let rig = Self::start(control_plane.address, fresh_dir()).await;
        rig.until_version(version).await;
        (rig, control_plane)
    }

    /// A router before one cell, which has all buckets.
    pub async fn with_one_cell(threads: usize, bounds: Bounds) -> (Self, Cell) {
        let cell = Cell::start("only").await;
        let control_plane = ControlPlane::start(Some(halves(1, [&[cell.address], &[cell.address]]))).await;
        let rig = Self::start_bound(control_plane.address, fresh_dir(), threads, bounds).await;
        rig.until_version(1).await;
        (rig, cell)
    }

    /// A router that lets in as `access` says, before one cell.
    pub async fn guarded(access: Access) -> (Self, Cell) {
        let cell = Cell::start("only").await;
        let control_plane = ControlPlane::start(Some(halves(1, [&[cell.address], &[cell.address]]))).await;
        let rig = Self::start_guarded(control_plane.address, fresh_dir(), 1, Bounds::default(), access).await;
        rig.until_version(1).await;
        (rig, cell)
    }

    /// A router before two cells of one instance each.
    pub async fn with_two_cells() -> (Self, Cell, Cell) {
        let (low, high) = (Cell::start("low").await, Cell::start("high").await);
        let (rig, _) = Self::with(halves(1, [&[low.address], &[high.address]])).await;
        (rig, low, high)
    }

    pub async fn placement(&self) -> serde_json::Value {
        let answer = super::http_client::ask(self.running.admin, "GET", "/v1/placement", &[], "").await;
        serde_json::from_str(&answer.body).expect("JSON")
    }

    pub async fn until_version(&self, version: u64) {
        eventually(async || self.placement().await["version"] == version).await;
    }
}

/// Waits for a condition, with a bound.
pub async fn eventually(condition: impl AsyncFn() -> bool) {
    for _ in 0..500 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not come about in 5 s");
}

/// An address that refuses connections.
pub async fn no_listener() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    listener.local_addr().expect("bound")
}
