//! Cells in AWS accounts of their own: the control plane reaches what is another account's by
//! becoming a role of it, with a name that follows from `cells.toml`. The emulator keeps accounts
//! apart as AWS does.

use std::path::Path;
use std::process::{Command, Stdio};

use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_route53::types::{HealthCheckConfig, HealthCheckType};
use serde_json::Value;
use store::Homes;
use store::dynamodb::{DynamoStore, create_tables};
use topology::{Bucket, Config};

use crate::fleet::stand_in::{self, StandIn};
use crate::fleet::{ports, programs, until, within};

const REGION: &str = "eu-west-1";
const ZONE: &str = "eu-west-1a";

/// Credentials of a role of the account, from the emulator's STS, which gives them to any caller.
async fn credentials(emulator: &str, account: &str) -> Credentials {
    let body = format!(
        "Action=AssumeRole&Version=2011-06-15&RoleSessionName=test&RoleArn=arn:aws:iam::{account}:role/anything"
    );
    let scope = "AWS4-HMAC-SHA256 Credential=anybody/20260101/us-east-1/sts/aws4_request";
    let form = "application/x-www-form-urlencoded";
    let request = reqwest::Client::new().post(emulator).header("authorization", scope).header("content-type", form);
    let request = request.body(body);
    let answer = request.send().await.expect("it answers").text().await.expect("text");
    let between = |name: &str| {
        let after = answer.split_once(&format!("<{name}>")).unwrap_or_else(|| panic!("{answer}")).1;
        after.split_once('<').expect(name).0.to_owned()
    };
    Credentials::new(between("AccessKeyId"), between("SecretAccessKey"), Some(between("SessionToken")), None, "test")
}

fn plain_http() -> aws_sdk_dynamodb::config::SharedHttpClient {
    aws_smithy_http_client::Builder::new().build_http()
}

/// The tables of a cell, as its own account sees them.
async fn tables_of(emulator: &str, account: &str, cell: &str) -> DynamoStore {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .endpoint_url(emulator)
        .http_client(plain_http())
        .credentials_provider(credentials(emulator, account).await);
    let client = aws_sdk_dynamodb::Client::from_conf(config.build());
    let prefix = format!("{cell}-");
    create_tables(&client, &prefix).await.expect("created");
    DynamoStore::new(client, &prefix)
}

/// A health check in the routers' account.
async fn health_check(emulator: &str, account: &str) -> String {
    let config = aws_sdk_route53::Config::builder()
        .behavior_version(aws_sdk_route53::config::BehaviorVersion::latest())
        .region(aws_sdk_route53::config::Region::new("us-east-1"))
        .endpoint_url(emulator)
        .http_client(plain_http())
        .credentials_provider(credentials(emulator, account).await);
    let client = aws_sdk_route53::Client::from_conf(config.build());
    let check = HealthCheckConfig::builder().r#type(HealthCheckType::Calculated).health_threshold(0);
    let create = client.create_health_check().caller_reference(ZONE);
    let created = create.health_check_config(check.build().expect("it has a type")).send().await;
    created.expect("created").health_check.expect("one").id
}

/// The control plane's program, with the rights of its own account only.
fn control_plane(emulator: &str, config: &Path) -> Command {
    let mut command = Command::new(programs::program("control-plane"));
    command.args(["--dynamodb-endpoint", emulator, "--config"]).arg(config);
    command.env("AWS_ENDPOINT_URL", emulator).env("AWS_EC2_METADATA_DISABLED", "true");
    command.env("AWS_ACCESS_KEY_ID", "own").env("AWS_SECRET_ACCESS_KEY", "own");
    command
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_of_other_accounts_are_reached_by_assuming_their_roles() {
    within(120, "the test", async {
        let Some((_emulator, url)) = stand_in::aws("accounts of AWS").await else { return };
        // The fixture has no endpoints: on AWS region and account decide. Here the environment says where AWS is.
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../topology/fixtures/valid/on-aws.toml");
        let config = Config::parse(&std::fs::read_to_string(&fixture).expect("it is there")).expect("sound");
        let mut stores = Vec::new();
        for cell in &config.cells {
            stores.push(tables_of(&url, cell.account.as_ref().expect("it has one"), cell.id.as_str()).await);
        }
        for task in [&["tables", "create"][..], &["bootstrap", "--actor", "test", "--reason", "first"]] {
            let done = control_plane(&url, &fixture).args(task).output().expect("it runs");
            assert!(done.status.success(), "{task:?}: {}", String::from_utf8_lossy(&done.stderr));
        }
        // Each account has its own cell's rows, and no other cell's.
        let mut geneses = Vec::new();
        for store in &stores {
            geneses.push(store.genesis().await.expect("readable").expect("the cell has its buckets"));
        }
        let homes = |bucket| geneses.iter().filter(|genesis| genesis.contains(bucket)).count();
        assert!(Bucket::all().all(|bucket| homes(bucket) == 1), "each bucket has one home");

        let router_account = &config.aws.as_ref().expect("on AWS").router_account;
        let checks = format!("{ZONE}={}", health_check(&url, router_account).await);
        let listen = format!("127.0.0.1:{}", ports::free_port());
        let mut serve = control_plane(&url, &fixture);
        serve.args(["--listen", &listen, "--route53-health-checks", &checks, "--route53-endpoint", &url]);
        serve.stdout(Stdio::null()).stderr(Stdio::null());
        let _process = StandIn::start(serve);
        let read = async |path: &str| -> Value {
            match reqwest::get(format!("http://{listen}{path}")).await {
                Ok(answer) => answer.json().await.unwrap_or_default(),
                Err(_) => Value::Null,
            }
        };
        until(30, "the customers of every cell are counted", async || {
            let cells = read("/v1/cells").await;
            cells.as_array().is_some_and(|all| all.len() == 3 && all.iter().all(|cell| cell["customers"] == 0))
        })
        .await;
        until(30, "the health check is reached", async || {
            read("/v1/zones").await.to_string().contains(r#"{"state":"answers"}"#)
        })
        .await;
    })
    .await;
}
