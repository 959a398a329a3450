//! One cell's DynamoDB for one test, in memory, with the way past the store to spoil what it wrote.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::Value;
use store::dynamodb::{Connection, DynamoStore, connect, create_tables};
use store::{Genesis, Homes};
use topology::Bucket;
use uuid::Uuid;

use crate::fleet::{ports, programs, until};

pub type Item = HashMap<String, AttributeValue>;

const PREFIX: &str = "cell-1-";
const START_PATIENCE_S: u64 = 30;

pub struct Database {
    process: Child,
    /// Where it is stored, if not in the memory of the process; deleted with it.
    folder: Option<PathBuf>,
    url: String,
    pub client: Client,
    pub store: DynamoStore,
}

impl Drop for Database {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if let Some(folder) = &self.folder {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

impl Database {
    pub async fn start() -> Self {
        Self::stored(None).await
    }

    /// With room for more than the gigabyte that SQLite takes in the memory of a process: in files in memory.
    pub async fn start_large() -> Self {
        let folder = Path::new("/dev/shm").join(format!("wallet-database-{}", Uuid::now_v7()));
        std::fs::create_dir(&folder).expect("there are files in memory");
        Self::stored(Some(folder)).await
    }

    async fn stored(folder: Option<PathBuf>) -> Self {
        let port = ports::free_port();
        let listen = format!("127.0.0.1:{port}");
        let mut command = Command::new(programs::program("local-dynamodb"));
        command.args(["--listen", &listen]).stdin(Stdio::null()).stderr(Stdio::null());
        match &folder {
            Some(folder) => command.arg("--data").arg(folder.join("cell.sqlite")),
            None => command.arg("--in-memory"),
        };
        programs::die_with_this_thread(&mut command);
        let process = command.spawn().expect("the program can be run");
        let url = format!("http://{listen}");
        let client = connect(&Connection { endpoint: Some(url.clone()), region: "us-east-1".into(), role: None }).await;
        until(START_PATIENCE_S, "the tables are created", async || create_tables(&client, PREFIX).await.is_ok()).await;
        let store = DynamoStore::new(client.clone(), PREFIX);
        assert_eq!(store.put_genesis(&Genesis::of(Bucket::all())).await, Ok(true));
        Self { process, folder, url, client, store }
    }

    pub fn table(name: &str) -> String {
        format!("{PREFIX}{name}")
    }

    /// Everything in a table.
    pub async fn items(&self, table: &str) -> Vec<Item> {
        let mut pages =
            self.client.scan().table_name(Self::table(table)).consistent_read(true).into_paginator().items().send();
        let mut items = Vec::new();
        while let Some(item) = pages.next().await {
            items.push(item.expect("the table answers"));
        }
        items
    }

    /// Puts an item past every condition.
    pub async fn put(&self, table: &str, item: Item) {
        let put = self.client.put_item().table_name(Self::table(table)).set_item(Some(item));
        put.send().await.expect("the table answers");
    }

    /// The item with the same keys as this one.
    pub async fn get(&self, table: &str, item: &Item) -> Option<Item> {
        let key = keys_of(table).map(|name| (name.to_owned(), item[name].clone()));
        let get = self.client.get_item().table_name(Self::table(table)).set_key(Some(key.into())).consistent_read(true);
        get.send().await.expect("the table answers").item
    }

    pub async fn delete(&self, table: &str, item: &Item) {
        let key = keys_of(table).map(|name| (name.to_owned(), item[name].clone()));
        let delete = self.client.delete_item().table_name(Self::table(table)).set_key(Some(key.into()));
        delete.send().await.expect("the table answers");
    }

    pub async fn reset_consumed(&self) {
        reqwest::Client::new().delete(format!("{}/_consumed", self.url)).send().await.expect("it answers");
    }

    pub async fn consumed(&self) -> Value {
        let answer = reqwest::Client::new().get(format!("{}/_consumed", self.url)).send().await.expect("it answers");
        answer.json().await.expect("counts")
    }
}

/// The names of a table's keys.
pub fn keys_of(table: &str) -> [&'static str; 2] {
    match table {
        "ledger" => ["w", "n"],
        "snapshots" => ["w", "s"],
        other => panic!("no table {other}"),
    }
}
