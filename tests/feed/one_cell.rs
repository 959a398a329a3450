//! One cell over an engine of its own: processes that are started, paused and killed one by one, and wallets with open
//! transfers that no process has sent.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use aws_sdk_dynamodb::types::AttributeValue;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use store::dynamodb::{DynamoStore, connect, connect_streams, create_tables};
use store::{CellRows, Genesis, Homes};
use topology::{Bucket, WalletId};

use super::writes::Writes;
use crate::fleet::books::{Books, CellBooks, Moment};
use crate::fleet::engines::Engine;
use crate::fleet::{Call, Client, NAMESPACE, REGION, client, open_transfers, ports, programs, setting, until};

pub const CELL: &str = "cell-1";
const PREFIX: &str = "feed-";
/// From the moment that a process is there to do it, on a machine that is busy with other things. 10 in the nightly run.
const CARRIED_ON_WITHIN_S: u64 = 25;
/// A Java engine that has just started takes its time for the first calls.
const WARM_UP_S: u64 = 30;
const PAYERS: usize = 3;

/// The long version, for a machine that does nothing else.
pub fn is_long() -> bool {
    setting("WALLET_EVERY_STEP", 0) == 1
}

pub struct OneCell {
    pub store: DynamoStore,
    pub writes: Writes,
    payers: Vec<WalletId>,
    payees: Vec<WalletId>,
    instances: BTreeMap<&'static str, Child>,
    /// Where the cell's archive is, if it has one. Gone at the end of the test.
    pub archive: Option<PathBuf>,
    database: aws_sdk_dynamodb::Client,
    engine: Engine,
}

impl OneCell {
    /// With wallets, and without a process.
    pub async fn over(engine: Engine) -> Self {
        let connection = engine.connection();
        let database = connect(&connection).await;
        until(WARM_UP_S, "the tables are created", async || create_tables(&database, PREFIX).await.is_ok()).await;
        let store = DynamoStore::new(database.clone(), PREFIX).with_streams(connect_streams(&connection).await);
        let genesis = Genesis::of(Bucket::all());
        until(WARM_UP_S, "the cell has all buckets", async || store.put_genesis(&genesis).await.is_ok()).await;
        let writes = Writes::before(engine.url()).await;
        let (payers, payees, instances, archive) = (vec![], vec![], BTreeMap::new(), None);
        let mut cell = Self { store, writes, payers, payees, instances, archive, database, engine };
        let client = cell.start("first").await;
        for number in 0..PAYERS {
            let payer = client.create(&format!("payer-{number}")).await;
            client.insist(&Call::deposit(payer, "100").key(format!("first-{number}"))).await.expect(200);
            cell.payers.push(payer);
            cell.payees.push(client.create(&format!("payee-{number}")).await);
        }
        cell.kill("first");
        cell
    }

    /// A process of the cell, ready to serve.
    pub async fn start(&mut self, name: &'static str) -> Client {
        let listen = format!("127.0.0.1:{}", ports::free_port());
        let base = format!("http://{listen}");
        let mut command = Command::new(programs::program("cell"));
        command
            .args(["serve", "--id", CELL, "--instance", name, "--listen", &listen])
            .args(["--namespace", &NAMESPACE.to_string(), "--integrity-seconds", "0"])
            .args(["--dynamodb-endpoint", &self.writes.url, "--region", REGION, "--table-prefix", PREFIX])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if let Some(folder) = &self.archive {
            command.args(["--archive", &format!("file://{}", folder.display())]);
        }
        programs::die_with_this_thread(&mut command);
        self.instances.insert(name, command.spawn().expect("the cell's program can be run"));
        let (client, ready) = (Client::new(client::http(), base), Call::get("/readyz"));
        until(20, "the process is ready, or hangs", async || {
            self.writes.hangs() || client.try_send(&ready).await.is_ok_and(|answer| answer.status == 200)
        })
        .await;
        client
    }

    /// SIGKILL.
    pub fn kill(&mut self, name: &str) {
        let mut process = self.instances.remove(name).expect("it was started");
        process.kill().and_then(|()| process.wait()).expect("a child of this process");
    }

    pub fn signal(&self, name: &str, signal: Signal) {
        let pid = i32::try_from(self.instances[name].id()).expect("a process id");
        kill(Pid::from_raw(pid), signal).expect("it runs");
    }

    /// A transfer out of each payer to each payee.
    pub async fn leave_open(&self) {
        for payer in &self.payers {
            open_transfers::leave(&self.store, *payer, &self.payees).await;
        }
    }

    pub async fn is_settled(&self) -> bool {
        open_transfers::count(&self.store, &self.payers).await == 0
    }

    /// Fails the test if a transfer is open for too long after `since`, when a process was there to carry it on.
    pub async fn carried_on(&self, since: Instant, what: &str) {
        let seconds = setting("WALLET_CARRIED_ON_S", CARRIED_ON_WITHIN_S);
        until(seconds, &format!("all are carried on: {what}"), async || self.is_settled().await).await;
        eprintln!("{what}: {:.1?}", since.elapsed());
        self.audit().await;
    }

    /// Each transfer arrived exactly once.
    async fn audit(&self) {
        let totals = Books::of(vec![CellBooks::read(&self.store, CELL).await]).audit(Moment::Still);
        assert_eq!((totals.open_transfers, totals.balances), (0, PAYERS as u64 * 10_000), "{totals:?}");
    }

    /// Whether this instance has the job, as far as its row says.
    pub async fn reads(&self, name: &str) -> bool {
        self.does("feed", name).await
    }

    pub async fn does(&self, job: &str, name: &str) -> bool {
        let row = self.store.cell_row("jobs", job).await.expect("the tables answer");
        row.is_some_and(|row| String::from_utf8_lossy(&row.bytes).contains(&format!(r#""owner":"{name}/"#)))
    }

    /// SIGKILL, once no wallet is saved with the position: what comes later is found by the stream or by a walk.
    pub async fn kill_at_rest(&mut self, name: &str) {
        until(10, "no wallet is saved", async || {
            let row = self.store.cell_row("jobs", "feed").await.expect("the tables answer").expect("it was saved");
            let row: Value = serde_json::from_slice(&row.bytes).expect("JSON");
            row["progress"]["wallets"].as_array().is_some_and(Vec::is_empty)
        })
        .await;
        self.kill(name);
    }

    /// The row of the job with the saved position is gone.
    pub async fn lose_position(&self) {
        let text = |text: &str| AttributeValue::S(text.to_owned());
        let delete = self.database.delete_item().table_name(format!("{PREFIX}snapshots"));
        delete.key("w", text("cell#jobs")).key("s", text("feed")).send().await.expect("it is deleted");
    }

    /// Of DynamoDB Local: see `scripts/fetch/dynamodb-local.d`.
    pub async fn control(&self, action: &[(&str, &str)]) {
        let put = self.database.put_item().table_name("[TEST_CONTROL]");
        let put = action.iter().fold(put, |put, (name, value)| put.item(*name, AttributeValue::S((*value).to_owned())));
        put.send().await.expect("it does so");
    }

    /// Shards that the stream of the chains has and had.
    pub async fn shards(&self) -> usize {
        let table = self.database.describe_table().table_name(format!("{PREFIX}ledger")).send().await;
        let stream = table.expect("it answers").table.and_then(|table| table.latest_stream_arn).expect("a stream");
        let streams = connect_streams(&self.engine.connection()).await;
        let described = streams.describe_stream().stream_arn(stream).send().await.expect("it answers");
        described.stream_description.expect("a description").shards().len()
    }
}

impl Drop for OneCell {
    fn drop(&mut self) {
        for process in self.instances.values_mut() {
            let _ = process.kill();
            let _ = process.wait();
        }
        if let Some(folder) = &self.archive {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}
