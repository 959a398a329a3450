//! The fragments of fixed states: what they show, and to which visitor.

use std::collections::HashMap;
use std::sync::Arc;

use control_api::{DeployView, OperationView, Status};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use topology::{CellId, Version};

use super::*;
use crate::cells::loads::Load;
use crate::page::snapshot::Line;

fn read<T: DeserializeOwned>(json: Value) -> T {
    serde_json::from_value(json).expect("as it travels")
}

fn status() -> Status {
    let cell = |number: u16, state: &str, why: Option<&str>| {
        let id = format!("cell-{number}");
        json!({
            "id": id, "index": number, "state": state, "weight": 1, "maxTps": 1000, "maxCustomers": 2000,
            "buckets": 32768, "pins": 2, "customers": 1500, "createdAt": "2026-11-22T20:43:50Z", "sharePercent": 50.0,
            "dynamodb": { "region": "us-east-1", "tablePrefix": "c-" },
            "instances": [{ "id": format!("{id}-a"), "address": "127.0.0.1:1", "zone": "az-1" }],
            "health": [{ "id": format!("{id}-a"), "ready": why.is_none(), "why": why }],
        })
    };
    let cells = [cell(1, "active", None), cell(2, "draining", Some("not reachable"))];
    read(json!({ "placementVersion": 12, "notRegistered": [], "cells": cells }))
}

fn operation(number: u64, wanted: Value, state: &str) -> OperationView {
    let mut view = json!({
        "id": format!("op-{number}"), "state": state, "actor": "ann", "reason": "<script>alert(1)</script>",
        "limits": {}, "createdAt": "2026-11-22T20:43:50.837Z", "updatedAt": "2026-11-22T20:43:50Z",
        "placementVersion": 11, "steps": 258, "buckets": 16384, "walletsPlanned": 45,
        "progress": { "stepsDone": 129, "wallets": 20, "bytes": 52776, "longestCutoverMicros": 6400 },
    });
    let fields = view.as_object_mut().expect("an object");
    fields.extend(wanted.as_object().expect("an object").clone());
    read(view)
}

fn deploy() -> DeployView {
    let tally = json!({ "requests": 1200, "errors": 3, "meanMs": 4.25 });
    read(json!({
        "id": "deploy-3", "version": "1.4.0", "state": "undecided", "why": "too few requests", "actor": "ann",
        "because": { "actor": "ann", "reason": "holds are faster" }, "createdAt": "2026-11-22T20:43:50Z",
        "limits": { "baselineSeconds": 60, "bakeSeconds": 60, "waitSeconds": 120, "risePercent": 1.0, "slowerByMs": 10 },
        "updatedAt": "2026-11-22T20:43:50Z", "wave": 0,
        "waves": [
            { "cells": ["cell-1"], "instances": 2, "replaced": 2, "verdict": {
                "says": "too_few", "needs": 4000, "has": 1200, "wave": tally, "others": tally, "before": tally,
                "findings": ["slower by 12 ms"], "looks": 3 } },
            { "cells": ["cell-2"], "instances": 2, "replaced": 0 },
        ],
    }))
}

fn snapshot() -> Snapshot {
    let cell = |number: u16| CellId::parse(format!("cell-{number}")).expect("sound");
    let capacity = json!({
        "maxTps": 2000, "writesPerSecond": 900.0, "maxCustomers": 4000, "customers": 3000, "advice": ["add a cell now"],
        "cells": [{ "cell": "cell-1", "state": "active", "maxTps": 1000, "maxCustomers": 2000, "bytes": 52776,
            "hot": [{ "wallet": "df37fb4b-6633-5f4a-8daa-254b84952041", "writesPerSecond": 40.0 }] }],
    });
    let zones = json!([
        { "zone": "az-1", "cells": [{ "cell": "cell-1", "instances": 2, "ready": 1 }], "dns": { "state": "answers" } },
        { "zone": "az-2", "leftUntil": "2026-11-22T21:43:50Z", "cells": [], "dns": { "state": "failing", "why": "denied" } },
    ]);
    let changes = json!([{ "version": 12, "at": "2026-11-22T20:43:50Z", "kind": "wallets_moved", "actor": "ann",
        "reason": "room", "buckets": 64, "pins": 1 }]);
    let line = Line {
        at: "2026-11-22T20:43:50Z".into(),
        of: "op-1".into(),
        what: "migrate pause".into(),
        after: "paused",
        actor: "ann".into(),
        reason: "it is late".into(),
    };
    Snapshot {
        status: Ok(status()),
        versions: Arc::new(HashMap::from([("cell-1-a".into(), Version::parse("1.3.0").expect("sound"))])),
        capacity: Arc::new(Ok(read(capacity))),
        loads: HashMap::from([(cell(1), Load { writes_per_second: 900.0, requests_per_second: 2_000.0 })]),
        operations: Ok(vec![
            operation(3, json!({ "kind": "evacuate", "cell": "cell-2" }), "running"),
            operation(2, json!({ "kind": "rebalance" }), "done"),
            operation(1, json!({ "kind": "migrate", "scope": { "user": "zoe" }, "to": "cell-1" }), "paused"),
        ]),
        deploys: Ok(vec![deploy()]),
        zones: Ok(read(zones)),
        changes: Ok(read(changes)),
        audit: Ok(vec![line]),
        waves: HashMap::from([(cell(1), 1), (cell(2), 2)]),
    }
}

fn unauthenticated() -> Visitor {
    Visitor::unauthenticated("feed".into())
}

fn shown(snapshot: &Snapshot) -> HashMap<&'static str, String> {
    fragments(snapshot, &unauthenticated()).into_iter().map(|fragment| (fragment.id, fragment.html)).collect()
}

fn check(text: &str, holds: &[&str]) {
    for part in holds {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
}

#[test]
fn every_part_says_what_somebody_on_call_asks() {
    let parts = shown(&snapshot());
    check(&parts["summary"], &["cell-2: no instance is ready", "op-1 is paused", "deploy-3 waits for a decision"]);
    check(
        &parts["summary"],
        &[
            "zone az-2 is left",
            "add a cell now",
            "2 cells",
            "3\u{202f}000 customers",
            "placement version 12",
            "900 writes/s",
        ],
    );
    check(
        &parts["fleet"],
        &["900 of 1\u{202f}000 writes/s", "room for 500 more", "50.0 %", "<dd>1</dd>", "1.3.0, zone az-1"],
    );
    check(&parts["fleet"], &["not reachable", "version not known", "52 KB", "op-3</a> moves its customers away"]);
    check(&parts["moves"], &["129 of 258 steps", "20 wallets of about 45", "6.4 ms at most", "user zoe to cell-1"]);
    check(&parts["moves"], &[r#"max="258" value="129""#, "ctl migrate resume op-1", "ctl migrate reverse op-2"]);
    check(&parts["evacuations"], &["evacuate cell-2", "ctl migrate pause op-3", "ctl migrate abort op-3"]);
    check(
        &parts["deploys"],
        &["1.4.0", "too few requests", "slower by 12 ms", "4.2 ms", "ctl deploy promote deploy-3"],
    );
    check(&parts["deploys"], &[r#"aria-current="step""#, "2 of 2 instances", "0 of 2 instances"]);
    check(&parts["zones"], &["answers with its routers", "denied", "Requests go elsewhere until", "1 of 2 ready"]);
    check(&parts["changes"], &["version 12", "wallets moved, 64 buckets, 1 pin"]);
    check(&parts["audit"], &["op-1", "migrate pause, then paused", "it is late"]);
    assert!(!parts["moves"].contains("do-operation-op-2-pause"), "it is over");
}

#[test]
fn the_fragments_are_the_sections_of_their_ids() {
    for fragment in fragments(&snapshot(), &unauthenticated()) {
        assert!(
            fragment.html.starts_with(&format!(r#"<section id="{}" aria-labelledby="#, fragment.id)),
            "{}",
            fragment.id
        );
        assert!(fragment.html.ends_with("</section>"));
    }
}

#[test]
fn nothing_that_somebody_wrote_is_taken_for_markup() {
    for fragment in fragments(&snapshot(), &unauthenticated()) {
        assert!(!fragment.html.contains("<script"), "{}", fragment.id);
    }
    check(&shown(&snapshot())["moves"], &["&lt;script&gt;alert(1)"]);
}

#[test]
fn ids_are_unique_and_every_field_has_its_label() {
    let page = home(&unauthenticated(), &fragments(&snapshot(), &unauthenticated()), None).into_string();
    let values = |attribute: &str| {
        let opening = format!(r#" {attribute}=""#);
        let parts = page.split(opening.as_str()).skip(1);
        parts.map(|part| part.split('"').next().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    let ids = values("id");
    let mut unique = ids.clone();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), ids.len());
    for pointing in ["for", "aria-labelledby", "aria-describedby", "data-copies"] {
        for id in values(pointing) {
            assert!(ids.contains(&id), "{pointing}={id}");
        }
    }
    let labels = values("for");
    for field in page.split("<input ").chain(page.split("<select ")).skip(1).filter(|text| text.starts_with("id=")) {
        let id = field.trim_start_matches(r#"id=""#).split('"').next().unwrap_or_default().to_owned();
        assert!(labels.contains(&id), "{id}");
    }
}

#[test]
fn what_does_not_answer_hides_nothing_else() {
    let broken = Snapshot { operations: Err("no answer within 3 s".into()), ..snapshot() };
    let parts = shown(&broken);
    check(&parts["moves"], &["Not known now", "no answer within 3 s"]);
    check(&parts["fleet"], &["cell-1", "active"]);
    let lost = Snapshot { status: Err("no tables".into()), ..snapshot() };
    check(&shown(&lost)["summary"], &["the state of the cells is not known"]);
}

#[test]
fn a_calm_fleet_says_so() {
    let mut calm = status();
    calm.cells.truncate(1);
    let quiet = Snapshot {
        status: Ok(calm),
        capacity: Arc::new(Err("not asked".into())),
        operations: Ok(vec![]),
        deploys: Ok(vec![]),
        zones: Ok(vec![]),
        ..snapshot()
    };
    let parts = shown(&quiet);
    check(&parts["summary"], &["Nothing needs you"]);
    check(&parts["moves"], &["No wallet is being moved."]);
    check(&parts["zones"], &["No zones are named"]);
}
