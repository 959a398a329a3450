//! openapi.yaml says what the service does: every answer that these tests meet is documented, with its status and its
//! code. The YAML is read by python3 with PyYAML; where that is missing, or nothing is documented yet, the test says so.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use reqwest::Method;
use serde_json::Value;

use crate::api::Fixture;
use crate::api::bad_input::{bodies, requests};
use crate::fleet::seen::{Kind, template};
use crate::fleet::{Answer, Call, within};

const TO_JSON: &str = "import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout, default=str)";

/// What is documented: the document, and its text for the codes.
struct Document {
    json: Value,
    text: String,
}

impl Document {
    fn read() -> Result<Self, String> {
        let usual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../openapi.yaml");
        let path = std::env::var_os("WALLET_OPENAPI").map_or(usual, Into::into);
        let text = std::fs::read_to_string(&path).expect("openapi.yaml is there");
        let output = Command::new("python3").args(["-c", TO_JSON]).arg(&path).stdin(Stdio::null()).output();
        let output = output.map_err(|error| format!("python3 cannot be run: {error}"))?;
        if !output.status.success() {
            return Err(format!("python3 cannot read it: {}", String::from_utf8_lossy(&output.stderr)));
        }
        let json: Value = serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())?;
        if json["paths"].as_object().is_none_or(serde_json::Map::is_empty) {
            return Err("it describes no path yet".into());
        }
        Ok(Self { json, text })
    }

    /// The operation at a path, whatever its parameters are called.
    fn operation(&self, method: &str, path: &str) -> Option<&Value> {
        let paths = self.json["paths"].as_object()?;
        let anonymous = |path: &str| {
            let segments = path.split('/').map(|part| if part.starts_with('{') { "{}" } else { part });
            segments.collect::<Vec<_>>().join("/")
        };
        let (_, item) = paths.iter().find(|(known, _)| anonymous(known) == path)?;
        Some(&item[method.to_lowercase()]).filter(|operation| !operation.is_null())
    }

    fn documents(&self, (method, path, status, code): &Kind) -> Result<(), String> {
        // An operation that does not exist has no place to document that it does not.
        if !matches!(code.as_str(), "method_not_allowed" | "not_found") {
            let operation = self.operation(method, path).ok_or("not documented")?;
            if operation["responses"][status.to_string()].is_null() {
                return Err("the status is not documented".into());
            }
        }
        let listed = |word: &str| self.text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|w| w == word);
        if code.is_empty() || listed(code) { Ok(()) } else { Err("the code is not listed".into()) }
    }
}

/// The answers of a walk over the whole API: what works, and every kind of bad input.
async fn walk(fixture: &Fixture) -> BTreeSet<Kind> {
    let (ann, bob) = (fixture.ann, fixture.bob);
    let transfer = Call::transfer(ann, bob, "1").key("walk");
    let sent = fixture.client.send(&transfer).await.expect(200);
    let user = fixture.client.send(&Call::show(ann)).await.string("userId");
    let get = |path: String| Call::get(format!("/api/v1/wallets{path}"));
    let mut calls = vec![
        Call::create(&fixture.newcomer().await).key("walk"),
        Call::create(&user),
        get(format!("?userId={user}")),
        Call::show(ann),
        Call::deposit(ann, "1").key("walk-deposit"),
        Call::withdraw(ann, "1"),
        transfer,
        get(format!("/{ann}/transfers/{}", sent.string("transferId"))),
        get(format!("/{ann}/transactions?limit=1")),
        get(format!("/{ann}/balance/historical?timestamp={}", sent.string("createdAt"))),
        Call::deposit(ann, "2").key("walk-deposit"),
    ];
    calls.extend(bodies(fixture).into_iter().chain(requests(fixture)).map(|(_, call, _, _)| call));
    let mut kinds = BTreeSet::new();
    for call in calls {
        kinds.insert(kind_of(&call, &fixture.client.send(&call).await));
    }
    kinds
}

/// A bound of a schema that clients fill in, with the longest text that fits into it and the first that does not.
struct Bound<'a> {
    /// Below `components`.
    pointer: &'a str,
    call: &'a dyn Fn(&str) -> Call,
    /// A text of so many characters.
    text: &'a dyn Fn(usize) -> String,
    code: &'a str,
}

/// Every `maxLength` and `maxItems` of the document's requests is what the service takes: one more is refused.
async fn bounds_that_do_not_hold(document: &Document, fixture: &Fixture) -> Vec<String> {
    let ann = fixture.ann;
    let batch = |key: &str| {
        let operation = format!(r#"{{"type":"deposit","amount":1,"idempotencyKey":"{key}"}}"#);
        Call::post(format!("/api/v1/wallets/{ann}/transactions:batch"), format!(r#"{{"operations":[{operation}]}}"#))
    };
    let letters = |count: usize| "k".repeat(count);
    let many = |path: &'static str, field: &'static str| {
        move |items: &str| {
            let body = format!(r#"{{"{field}":[{items}]}}"#);
            let key = format!("{field}-{}", body.len());
            Call::post(format!("/api/v1/wallets/{ann}/{path}"), body).key(key)
        }
    };
    let (operations, payments) = (many("transactions:batch", "operations"), many("transfers:batch", "payments"));
    let deposit = r#"{"type":"deposit","amount":1}"#;
    let payment = format!(r#"{{"toWalletId":"{}","amount":0.01}}"#, fixture.bob);
    let noted =
        |note: String| Call::post(format!("/api/v1/wallets/{ann}/deposit"), format!(r#"{{"amount":1,{note}}}"#));
    let bounds = [
        Bound {
            pointer: "schemas/UserId/maxLength",
            call: &|id| Call::create(id),
            text: &letters,
            code: "invalid_user_id",
        },
        Bound {
            pointer: "schemas/Amount/oneOf/1/maxLength",
            call: &|amount| Call::post(format!("/api/v1/wallets/{ann}/deposit"), format!(r#"{{"amount":"{amount}"}}"#)),
            text: &|count| format!("{:0>count$}", 1),
            code: "invalid_amount",
        },
        Bound {
            pointer: "schemas/OperationKey/maxLength",
            call: &batch,
            text: &letters,
            code: "invalid_idempotency_key",
        },
        Bound {
            pointer: "parameters/IdempotencyKey/schema/maxLength",
            call: &|key| Call::deposit(ann, "1").key(key),
            text: &letters,
            code: "invalid_idempotency_key",
        },
        Bound {
            pointer: "schemas/WalletId/maxLength",
            call: &|id| Call::get(format!("/api/v1/wallets/{id}")),
            text: &|count| ann.to_string() + &"0".repeat(count.saturating_sub(36)),
            code: "invalid_wallet_id",
        },
        Bound {
            pointer: "schemas/Reference/maxLength",
            call: &|text| noted(format!(r#""reference":"{text}""#)),
            text: &letters,
            code: "invalid_reference",
        },
        Bound {
            pointer: "schemas/Description/maxLength",
            call: &|text| noted(format!(r#""description":"{text}""#)),
            text: &letters,
            code: "invalid_description",
        },
        Bound {
            pointer: "schemas/Metadata/propertyNames/maxLength",
            call: &|name| noted(format!(r#""metadata":{{"{name}":""}}"#)),
            text: &letters,
            code: "invalid_metadata",
        },
        Bound {
            pointer: "schemas/Metadata/additionalProperties/maxLength",
            call: &|value| noted(format!(r#""metadata":{{"a":"{value}"}}"#)),
            text: &letters,
            code: "invalid_metadata",
        },
        Bound {
            pointer: "schemas/Metadata/maxProperties",
            call: &|pairs| noted(format!(r#""metadata":{{{pairs}}}"#)),
            text: &|count| (0..count).map(|at| format!(r#""a{at}":"""#)).collect::<Vec<_>>().join(","),
            code: "invalid_metadata",
        },
        Bound {
            pointer: "schemas/Batch/properties/operations/maxItems",
            call: &operations,
            text: &|count| vec![deposit; count].join(","),
            code: "invalid_batch_size",
        },
        Bound {
            pointer: "schemas/PaymentBatch/properties/payments/maxItems",
            call: &payments,
            text: &|count| vec![payment.as_str(); count].join(","),
            code: "invalid_batch_size",
        },
    ];
    let mut faults = Vec::new();
    for Bound { pointer, call, text, code } in &bounds {
        let most = document.json.pointer(&format!("/components/{pointer}")).and_then(Value::as_u64);
        let most = usize::try_from(most.unwrap_or_else(|| panic!("there is no {pointer}"))).expect("small");
        let (longest, longer) =
            (fixture.client.send(&call(&text(most))).await, fixture.client.send(&call(&text(most + 1))).await);
        if !longest.is_success() || longer.is_success() || longer.code() != *code {
            faults.push(format!("{pointer} is {most}: {longest:?}; one more: {longer:?}"));
        }
    }
    // A user id is measured in bytes, as its description says.
    for (count, status) in [(64, 201), (65, 400)] {
        let answer = fixture.client.send(&Call::create(&"\u{e4}".repeat(count))).await;
        if answer.status != status {
            faults.push(format!("{count} times \u{e4}: {answer:?}"));
        }
    }
    let listed = ["maxLength: ", "maxItems: ", "maxProperties: "]
        .map(|limit| document.text.matches(limit).count())
        .iter()
        .sum::<usize>();
    // What answers say of `X-Request-Id` is no bound of a request.
    assert_eq!(listed, bounds.len() + 1, "a bound of openapi.yaml is not in the table above");
    faults
}

fn kind_of(call: &Call, answer: &Answer) -> Kind {
    let path = template(&call.path).expect("a path of the wallet API");
    let code = if answer.is_success() { String::new() } else { answer.code() };
    (call.method.to_string(), path, answer.status, code)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openapi_yaml_documents_every_answer_that_is_met() {
    within(60, "the test", async {
        let document = match Document::read() {
            Ok(document) => document,
            Err(why) => return eprintln!("SKIPPED: openapi.yaml is not checked: {why}"),
        };
        let fixture = Fixture::new().await;
        let mut kinds = walk(&fixture).await;
        // And what the tests that run beside this one have met so far: outages, frozen wallets, slow transfers.
        kinds.extend(crate::fleet::seen::all());
        let faults =
            kinds.iter().filter_map(|kind| document.documents(kind).err().map(|why| format!("{kind:?}: {why}")));
        let mut faults: Vec<_> = faults.collect();
        faults.extend(bounds_that_do_not_hold(&document, &fixture).await);
        eprintln!("{} kinds of answers held against openapi.yaml", kinds.len());
        assert!(faults.is_empty(), "{}", faults.join("\n"));
        assert!(kinds.iter().any(|(method, ..)| *method == Method::POST.as_str()));
    })
    .await;
}
