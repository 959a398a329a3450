//! A small deployment for one test: databases, cells, and as many control planes as it asks for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use control_api::{Because, Bootstrap, CellSpec, CellTables, Standby};
use local_dynamodb::engine::Engine;
use local_dynamodb::http::{Server, app};
use topology::placement::InstanceEntry;
use topology::{CellId, Config, InstanceId, UserId, WalletId};

use super::cell::{Cell, NAMESPACE};
use crate::cells::counting;
use crate::cells::instances::Instances;
use crate::deploys::parts::Routers;
use crate::deploys::worker;
use crate::dynamo::{Connection, connect};
use crate::error::Error;
use crate::operations::reconciler;
use crate::service::{ControlPlane, Settings, create_tables};

pub const PATIENCE: Duration = Duration::from_secs(10);

pub struct Fixture {
    /// Each cell's own tables are in a database of their own.
    pub database: String,
    pub cells: Vec<CellSpec>,
    pub stand_ins: Vec<Cell>,
    pub purge_after: Duration,
    pub archive: Option<String>,
}

/// One control plane: its state, and its API's address.
pub struct Plane {
    pub control: Arc<ControlPlane>,
    pub url: String,
}

pub fn because() -> Because {
    Because { actor: "test".into(), reason: "to see".into() }
}

pub fn cell_id(number: usize) -> CellId {
    CellId::parse(format!("cell-{number}")).expect("sound")
}

/// The stable code of a refusal.
pub fn code<T>(result: Result<T, Error>) -> String {
    match result {
        Ok(_) => "done".into(),
        Err(Error::Refused(refused)) => refused.refusal.code().into(),
        Err(Error::Relayed(problem)) => problem.code,
        Err(other) => other.to_string(),
    }
}

pub async fn database() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let server = Server::new(Engine::in_memory().expect("opens"));
    tokio::spawn(async move { axum::serve(listener, app(server)).await });
    url
}

pub fn at(endpoint: &str) -> Connection {
    Connection { endpoint: Some(endpoint.to_owned()), region: "us-east-1".into(), role: None }
}

impl Fixture {
    /// Databases, tables and `count` cells; nothing is published yet.
    pub async fn new(count: usize) -> Self {
        let database = database().await;
        create_tables(&at(&database), "control-").await.expect("created");
        let mut fixture =
            Self { database, cells: vec![], stand_ins: vec![], purge_after: Duration::ZERO, archive: None };
        for _ in 0..count {
            fixture.start_cell().await;
        }
        fixture
    }

    pub async fn start_cell(&mut self) -> CellSpec {
        let id = cell_id(self.cells.len() + 1);
        let tables = CellTables {
            endpoint: Some(database().await),
            region: "us-east-1".into(),
            table_prefix: format!("{id}-"),
            role: None,
        };
        let stand_in = Cell {
            client: connect(&at(tables.endpoint.as_deref().expect("given"))).await,
            prefix: tables.table_prefix.clone(),
        };
        cell_tables(&stand_in).await;
        let address = stand_in.clone().serve().await;
        let spec = CellSpec {
            instances: vec![InstanceEntry {
                id: InstanceId(format!("{id}-a")),
                address: address.to_string(),
                role: topology::Role::All,
                zone: None,
            }],
            id,
            weight: 1,
            max_tps: 1_000,
            max_customers: 10,
            dynamodb: tables,
            standby: None,
            region_epoch: 0,
        };
        self.cells.push(spec.clone());
        self.stand_ins.push(stand_in);
        spec
    }

    /// A further control plane over the same tables.
    pub async fn plane(&self) -> Plane {
        let plane = self.idle_plane().await;
        let ControlPlane { fleet, operations, deploys, .. } = &*plane.control;
        let (placed, counted) = (Arc::clone(fleet), Arc::clone(fleet));
        tokio::spawn(async move { placed.placements.watch_store().await });
        tokio::spawn(async move { counting::keep_counting(&counted, Duration::from_secs(60)).await });
        let (operations, deploys) = (Arc::clone(operations), Arc::clone(deploys));
        tokio::spawn(async move { reconciler::keep_reconciling(&operations).await });
        tokio::spawn(async move { worker::keep_deploying(&deploys).await });
        plane
    }

    /// One that does nothing by itself.
    pub async fn idle_plane(&self) -> Plane {
        let mut config = format!("[deployment]\nname='t'\nnamespace='{NAMESPACE}'\nregion='us-east-1'\n");
        for cell in &self.cells {
            config.push_str(&format!("[[cells]]\nid='{}'\n", cell.id));
            if let Some(Standby { dynamodb: CellTables { endpoint, region, .. }, instances, .. }) = &cell.standby {
                let (here, there) = (&cell.instances[0].address, &instances[0].address);
                let endpoint = endpoint.as_deref().expect("given");
                let standby = format!("{{region='{region}',endpoint='{endpoint}',instances=['{there}']}}");
                config.push_str(&format!("instances=['{here}']\nstandby={standby}\n"));
            }
        }
        let settings = Settings {
            connection: at(&self.database),
            table_prefix: "control-".into(),
            config: Config::parse(&config).expect("sound"),
            checkpoint_keys: None,
            witness_every: Duration::from_secs(60),
            dns: None,
            replacer: None,
            routers: Routers::default(),
            canaries: None,
            packs: None,
            archive: self.archive.clone(),
            purge_after: self.purge_after,
        };
        let control = ControlPlane::new(settings, Instances::new()).await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address: SocketAddr = listener.local_addr().expect("bound");
        let metrics = telemetry::metrics::detached(&crate::identity(&topology::Version::parse("test").expect("sound")))
            .expect("a page");
        let api = crate::api::app(Arc::clone(&control), metrics);
        tokio::spawn(async move { axum::serve(listener, api).await });
        Plane { control, url: format!("http://{address}") }
    }

    /// A control plane with the first placement published.
    pub async fn bootstrapped(count: usize) -> (Self, Plane) {
        let fixture = Self::new(count).await;
        let plane = fixture.plane().await;
        let done =
            crate::lifecycle::bootstrap::bootstrap(&plane.control.fleet, &fixture.request()).await.expect("published");
        assert!(done.created);
        (fixture, plane)
    }

    /// The same, with a control plane that does nothing by itself.
    pub async fn idle(count: usize) -> (Self, Plane) {
        let fixture = Self::new(count).await;
        let plane = fixture.idle_plane().await;
        crate::lifecycle::bootstrap::bootstrap(&plane.control.fleet, &fixture.request()).await.expect("published");
        (fixture, plane)
    }

    pub fn request(&self) -> Bootstrap {
        Bootstrap { cells: self.cells.clone(), because: because() }
    }

    /// In how many cells the wallet's chain begins: never more than one.
    pub async fn chains_of(&self, wallet: WalletId) -> Vec<CellId> {
        let mut found = vec![];
        for (spec, cell) in self.cells.iter().zip(&self.stand_ins) {
            if cell.has(wallet).await {
                found.push(spec.id.clone());
            }
        }
        found
    }
}

/// A user with a bucket of the given cell.
pub fn user_of(plane: &Plane, cell: &CellId) -> (UserId, WalletId) {
    let now = plane.control.fleet.placements.known().expect("published");
    let of = |number: u32| {
        let user = UserId::parse(format!("user-{number}")).expect("sound");
        let wallet = WalletId::for_user(NAMESPACE, &user);
        (user, wallet)
    };
    let index = now.placement.cell_named(cell).expect("listed").index;
    let lives_there = |(_, wallet): &(UserId, WalletId)| now.placement.owner_of(wallet.bucket()) == index;
    (0..).map(of).find(lives_there).expect("every cell has buckets")
}

async fn cell_tables(cell: &Cell) {
    store::dynamodb::create_tables(&cell.client, &cell.prefix).await.expect("created");
}
