//! A cell without its database gets its chains back from an export: whole, served by one cell each,
//! and what was lost is named.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::{Value, json};
use store::{CellRow, CellRows};
use topology::WalletId;

use crate::fleet::programs::program;
use crate::fleet::{Answer, Call, Client, Fleet, Shape, ports, until, wallet_of, within};

pub const CELL: &str = "cell-2";

pub struct Fixture {
    pub fleet: Fleet,
    pub client: Client,
    /// In cell 1.
    pub ann: WalletId,
    /// In cell 2: two that stay, one that leaves after the export, and one that comes after it.
    pub bob: WalletId,
    pub ben: WalletId,
    pub leaves: WalletId,
    comes: WalletId,
}

impl Fixture {
    pub async fn start() -> Self {
        let environment = vec![
            ("CELL_CHECKPOINT_SECONDS".to_owned(), "1".to_owned()),
            ("CONTROL_PLANE_WITNESS_SECONDS".to_owned(), "1".to_owned()),
        ];
        let fleet = Fleet::of(Shape { cells: 2, environment, ..Shape::default() }).await;
        let client = fleet.client();
        let (ones, twos) = (fleet.users_in(1, 2).await, fleet.users_in(2, 3).await);
        let [ann, comes] = [wallet_of(&ones[0]), wallet_of(&ones[1])];
        let [bob, ben, leaves] = [0, 1, 2].map(|number| wallet_of(&twos[number]));
        for user in ones.iter().chain(&twos) {
            let wallet = client.create(user).await;
            client.insist(&Call::deposit(wallet, "100").key(format!("first-{user}"))).await.expect(200);
        }
        Self { fleet, client, ann, bob, ben, leaves, comes }
    }

    async fn done(&self, call: Call) -> Answer {
        self.client.send(&call).await.expect(200)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.fleet.data().join(name)
    }

    /// All events of the cell, as a follower wrote them down.
    async fn write_down_events(&self) -> String {
        let answer = self.client.send(&Call::get(format!("/api/v1/events?cell={CELL}"))).await.expect(200);
        std::fs::write(self.path("events.ndjson"), &answer.text).expect("written");
        answer.text
    }

    /// What a process of the cell says when it is started now; it must not stay.
    async fn refuses_to_start(&self) -> String {
        let mut command = tokio::process::Command::new(program("cell"));
        let listen = format!("127.0.0.1:{}", ports::free_port());
        command.args(["serve", "--id", CELL, "--listen", &listen, "--config"]).arg(self.fleet.config());
        let output = within(20, "its end", command.args(self.fleet.tables_of(CELL)).kill_on_drop(true).output()).await;
        let output = output.expect("it runs");
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    async fn operator(&self, path: &str, body: Value) -> (u16, Value) {
        let url = format!("{}{path}", self.fleet.ports.control_plane());
        let answer = crate::fleet::client::http().post(url).json(&body).send().await.expect("answered");
        (answer.status().as_u16(), answer.json().await.expect("JSON"))
    }

    async fn restore(&self, more: &[&str]) -> Result<Value, String> {
        let (from, events) = (self.path("export.jsonl"), self.path("events.ndjson"));
        let [from, events] = [from, events].map(|path| path.to_string_lossy().into_owned());
        let words = ["--reason", "its database is gone", "cell", "restore", CELL, "--from", &from, "--events", &events];
        self.fleet.try_ctl(&[&words[..], more].concat()).await
    }
}

fn transaction(answer: &Answer) -> String {
    answer.string("transactionId")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destroyed_cell_is_restored_and_what_was_lost_is_named() {
    within(240, "the test", async {
        let fixture = Fixture::start().await;
        let Fixture { fleet, client, ann, bob, ben, leaves, comes } = &fixture;
        fixture.done(Call::transfer(*ann, *bob, "10")).await;
        fixture.done(Call::transfer(*bob, *ann, "3")).await;
        let hold = client.send(&Call::post(format!("/api/v1/wallets/{ben}/holds"), r#"{"amount":20}"#)).await;
        assert!(hold.is_success(), "{hold:?}");
        let keyed = Call::deposit(*ben, "1").key("kept");
        let kept = client.send(&keyed).await.expect(200);
        let file = fixture.path("export.jsonl").to_string_lossy().into_owned();
        let exported = fleet.ctl(&["cell", "export", CELL, "--to", &file]).await;
        assert_eq!(exported["wallets"], 3, "{exported}");

        // What comes after the export is what can be lost.
        let mut lost = BTreeSet::new();
        lost.insert(transaction(&fixture.done(Call::deposit(*bob, "5")).await));
        lost.insert(transaction(&fixture.done(Call::withdraw(*ben, "2")).await));
        let away = fixture.done(Call::transfer(*bob, *ann, "7")).await.string("transferId");
        let here = fixture.done(Call::transfer(*ann, *bob, "11")).await.string("transferId");
        fleet.ctl(&["migrate", "--wallet", &leaves.to_string(), "--to", "cell-1", "--yes"]).await;
        fleet.ctl(&["migrate", "--wallet", &comes.to_string(), "--to", CELL, "--yes"]).await;
        fixture.done(Call::deposit(*leaves, "50")).await;
        let newcomer = fleet.users_in(2, 4).await.remove(3);
        let newcomer_wallet = client.create(&newcomer).await;
        lost.extend([away.clone(), here.clone()]);
        until(20, "the events were sent", async || {
            let events = fixture.write_down_events().await;
            lost.iter().all(|id| events.contains(id)) && events.contains(&newcomer_wallet.to_string())
        })
        .await;

        let running = fixture.restore(&[]).await.expect_err("it runs");
        assert!(running.contains("cell_running"), "{running}");
        fixture.fleet.destroy(CELL).await;
        let because = json!({ "actor": "test", "reason": "to see" });
        let (status, answer) = fixture.operator(&format!("/v1/cells/{CELL}/restore/finish"), because.clone()).await;
        assert_eq!((status, answer["code"].as_str()), (409, Some("no_restore")));
        // Begun and left: no process serves what may be half of it, and it can be gone on with.
        let (status, answer) = fixture.operator(&format!("/v1/cells/{CELL}/restore/begin"), because).await;
        assert_eq!((status, &answer["done"]), (200, &Value::Bool(false)));
        let said = fixture.refuses_to_start().await;
        assert!(said.contains("is being restored"), "{said}");

        let report = fixture.restore(&[]).await.expect("restored");
        assert_eq!(report["wallets"], 2, "{report}");
        assert_eq!(report["elsewhere"], 1, "a wallet that left stays where it is: {report}");
        let named = |report: &Value| -> BTreeSet<String> {
            let all = report["lost"].as_array().expect("a list");
            all.iter().map(|one| one["transaction"].as_str().expect("an id").to_owned()).collect()
        };
        assert!(lost.is_subset(&named(&report)), "{report}\nlost: {lost:?}");
        let kinds: BTreeSet<&str> =
            report["lost"].as_array().expect("a list").iter().filter_map(|one| one["type"].as_str()).collect();
        assert!(kinds.contains("OPENED"), "a new wallet is lost too: {report}");
        let again = fixture.restore(&[]).await.expect_err("it holds wallets");
        assert!(again.contains("not_empty"), "{again}");

        fleet.restart("cell-2-a").await;
        fleet.until_all_ready(&[]).await;
        for (wallet, balance) in [(bob, "107.00"), (ben, "101.00"), (leaves, "150.00"), (comes, "100.00")] {
            assert_eq!(client.balance(*wallet).await, balance, "{wallet}");
        }
        let replayed = client.insist(&keyed).await;
        assert!(replayed.is_replay() && transaction(&replayed) == transaction(&kept), "its keys are there");
        let held = client.send(&Call::get(format!("/api/v1/wallets/{ben}"))).await.expect(200);
        assert_eq!(held.raw("heldBalance"), "20.00", "and so is what was on hold");
        assert_eq!(client.create(&newcomer).await, newcomer_wallet, "the cell may create wallets again");
        for wallet in [bob, ben, leaves, comes, &newcomer_wallet] {
            client.insist(&Call::deposit(*wallet, "1").key(format!("after-{wallet}"))).await.expect(200);
        }
        let verified = fleet.ctl(&["ledger", "verify"]).await;
        assert_eq!(verified["breaks"], json!([]), "{verified}");
        until(20, "the witness takes the new log", async || {
            let kept = fleet.ctl(&["ledger", "checkpoint", "list", "--cell", CELL]).await;
            kept.as_array().is_some_and(|kept| kept.iter().any(|one| one["number"] == 1))
        })
        .await;

        // 7 arrived in cell 1 and never left; 11 left cell 1 and is nowhere.
        let mut books = Value::Null;
        until(60, "the moment that counts lies after the loss", async || {
            // Until then nothing of it counts.
            let Err(said) = fleet.try_ctl(&["audit", "conservation"]).await else { return false };
            let json = said.split_once('{').map(|(_, rest)| format!("{{{rest}")).unwrap_or_default();
            let first = serde_json::Deserializer::from_str(&json).into_iter::<Value>().next();
            books = first.and_then(Result::ok).unwrap_or_default();
            books["faults"].as_array().is_some_and(|faults| faults.len() >= 2)
        })
        .await;
        assert_eq!(books["difference"], -400, "{books}");
        let faults = books["faults"].to_string();
        assert!(
            faults.contains(&away) && faults.contains(&here) && books["faults"].as_array().map(Vec::len) == Some(2)
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cell_is_restored_to_a_moment_from_a_whole_file_only() {
    within(120, "the test", async {
        let fixture = Fixture::start().await;
        let moment = time::OffsetDateTime::now_utc();
        let later = transaction(&fixture.done(Call::deposit(fixture.bob, "5")).await);
        let file = fixture.path("export.jsonl");
        let name = file.to_string_lossy().into_owned();
        fixture.fleet.ctl(&["cell", "export", CELL, "--to", &name]).await;
        std::fs::write(fixture.path("events.ndjson"), "").expect("written");
        fixture.fleet.destroy(CELL).await;

        let whole = std::fs::read_to_string(&file).expect("text");
        let lines: Vec<&str> = whole.lines().collect();
        let without_last = lines[..lines.len() - 1].join("\n");
        let without_one = [&lines[..2], &lines[3..]].concat().join("\n");
        let changed = whole.replacen("\"canonical\":\"03", "\"canonical\":\"01", 1);
        let cases = [without_last, without_one, changed, whole.replace(CELL, "cell-1"), String::new()];
        for (number, broken) in cases.into_iter().enumerate() {
            assert_ne!(broken, whole, "case {number}");
            std::fs::write(&file, broken).expect("written");
            assert!(fixture.restore(&[]).await.is_err(), "case {number} was taken");
        }
        std::fs::write(&file, &whole).expect("written");
        let until_then = moment.format(&time::format_description::well_known::Rfc3339).expect("a date");
        let report = fixture.restore(&["--until", &until_then]).await.expect("restored");
        let lost = report["lost"].as_array().expect("a list");
        assert_eq!((lost.len(), lost[0]["transaction"].as_str()), (1, Some(later.as_str())), "{report}");
        fixture.fleet.restart("cell-2-a").await;
        fixture.fleet.until_all_ready(&[]).await;
        assert_eq!(fixture.client.balance(fixture.bob).await, "100.00");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cell_does_not_start_over_tables_that_were_rewound() {
    within(120, "the test", async {
        let fixture = Fixture::start().await;
        let store = fixture.fleet.store(2).await;
        fixture.fleet.kill_for_good("cell-2-a").await;
        // Recovery to a point in time makes new tables of what the old ones held: their ids differ.
        let signed = store.cell_row("tables", "ids").await.expect("answers").expect("signed at the first start");
        let others = CellRow { version: signed.version + 1, bytes: b"of other tables".to_vec() };
        assert_eq!(store.put_cell_row("tables", "ids", Some(signed.version), &others).await, Ok(true));
        let said = fixture.refuses_to_start().await;
        assert!(said.contains("cell restore cell-2 --in-place"), "{said}");

        let words = ["--reason", "its tables were rewound", "cell", "restore", CELL, "--in-place"];
        fixture.fleet.ctl(&words).await;
        fixture.fleet.restart("cell-2-a").await;
        fixture.fleet.until_all_ready(&[]).await;
        assert_eq!(fixture.client.balance(fixture.bob).await, "100.00");
    })
    .await;
}
