//! What comes next for a Deployment, and the token against the one that Amazon's program makes.

use std::time::{Duration, UNIX_EPOCH};

use aws_credential_types::Credentials;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use control_api::{PartId, Program};
use serde_json::{Value, json};
use topology::{Role, Version, ZoneId};

use super::eks::signed;
use super::named;
use super::rollout::{ORDER, Rollout, Step};
use super::settings::{self, Eks, Settings};

const OLD: &str = "registry/cell@sha256:01";
const NEW: &str = "registry/cell@sha256:02";

/// Of two pods; `seen` is the generation that the controller has looked at, of 7.
fn deployment(image: &str, order: Option<u64>, seen: i64, counts: [u32; 4]) -> Value {
    let [all, updated, ready, available] = counts;
    json!({
        "metadata": {
            "name": "cell-z1", "resourceVersion": "41", "generation": 7,
            "annotations": order.map(|order| json!({ ORDER: order.to_string() })).unwrap_or(json!({})),
        },
        "spec": {
            "replicas": 2,
            "template": { "spec": { "containers": [
                { "name": "log", "image": "other" }, { "name": "cell", "image": image },
            ] } },
        },
        "status": {
            "observedGeneration": seen, "replicas": all, "updatedReplicas": updated, "readyReplicas": ready,
            "availableReplicas": available,
        },
    })
}

fn next(deployment: Value) -> Step {
    let wanted = Rollout { container: "cell", image: NEW, order: 9 };
    wanted.next(&serde_json::from_value(deployment).expect("a Deployment")).expect("it has our container")
}

#[test]
fn a_deployment_is_changed_once_and_only_as_it_was_read() {
    let Step::Change(patch) = next(deployment(OLD, Some(8), 7, [2; 4])) else { panic!("it is to be changed") };
    assert_eq!(patch["metadata"]["resourceVersion"], "41");
    assert_eq!(patch["metadata"]["annotations"][ORDER], "9");
    let containers = json!([{ "name": "cell", "image": NEW }]);
    assert_eq!(patch["spec"]["template"]["spec"]["containers"], containers);
    // The first order of all. An order for the image that runs already is noted too: an older one is not obeyed then.
    assert!(matches!(next(deployment(OLD, None, 7, [2; 4])), Step::Change(_)));
    assert!(matches!(next(deployment(NEW, Some(8), 7, [2; 4])), Step::Change(_)));
    assert_eq!(next(deployment(NEW, Some(9), 7, [2; 4])), Step::Done);
}

#[test]
fn an_older_order_changes_nothing() {
    assert_eq!(next(deployment(OLD, Some(10), 7, [2; 4])), Step::Outdated(10));
}

#[test]
fn it_is_done_when_all_pods_have_the_image_and_stay_ready() {
    for (seen, counts) in
        [(6, [2, 2, 2, 2]), (7, [3, 2, 2, 2]), (7, [2, 1, 2, 2]), (7, [2, 2, 1, 1]), (7, [2, 2, 2, 1])]
    {
        let step = next(deployment(NEW, Some(9), seen, counts));
        assert!(matches!(step, Step::Wait(_)), "{seen} {counts:?}: {step:?}");
    }
    let mut stuck = deployment(NEW, Some(9), 7, [3, 1, 2, 2]);
    stuck["status"]["conditions"] = json!([
        { "type": "Available", "status": "True" },
        { "type": "Progressing", "status": "False", "message": "has timed out progressing" },
    ]);
    assert_eq!(next(stuck.clone()), Step::Failed("has timed out progressing".into()));
    // That is about the image before.
    stuck["status"]["observedGeneration"] = json!(6);
    assert!(matches!(next(stuck), Step::Wait(_)));
}

#[test]
fn the_file_says_what_is_wrong_with_it() {
    let path = std::env::temp_dir().join(format!("wallet-clusters-{}.json", std::process::id()));
    let read = |text: Value| {
        std::fs::write(&path, text.to_string()).expect("written");
        Settings::read(&path)
    };
    let cluster =
        json!({ "server": "https://a", "certificateAuthority": "ca.pem", "credentials": { "tokenFile": "token" } });
    let sound = json!({ "images": { "v2": NEW }, "clusters": { "cell-1": cluster } });
    let settings = read(sound.clone()).expect("sound");
    assert_eq!(settings.clusters.values().next().expect("one").namespace, "wallet");
    let mut eks = sound.clone();
    eks["clusters"]["cell-1"] = json!({ "server": "https://a", "certificateAuthority": "ca.pem",
        "credentials": { "eks": { "name": "wallet-cell-1", "region": "eu-west-1" } } });
    let settings = read(eks).expect("sound");
    assert!(matches!(settings.clusters.values().next().expect("one").credentials, settings::Credentials::Eks(_)));
    let mut routers = sound.clone();
    routers["routers"] = json!({ "images": { "v3": NEW }, "cluster": cluster });
    let part = PartId("router-z1".into());
    let settings = read(routers.clone()).expect("sound");
    let zone = ZoneId::parse("z1").expect("sound");
    let (images, _) = settings.at(Program::Routers, &part, &zone).expect("their own cluster");
    assert_eq!(images.keys().map(Version::as_str).collect::<Vec<_>>(), ["v3"]);
    assert!(settings.at(Program::Cells, &part, &zone).is_none(), "no cell");
    let settings = read(sound.clone()).expect("sound");
    assert!(settings.at(Program::Routers, &part, &zone).is_none(), "a file from before routers were deployed");
    routers["routers"]["images"]["v3"] = json!("registry/router:latest");
    assert!(read(routers).expect_err("a tag").contains("has no digest"));
    for (of, what, said) in [
        ("/images/v2", json!("registry/cell:latest"), "has no digest"),
        (
            "/clusters/cell-1",
            json!({ "server": "https://a", "certificateAuthority": "ca.pem" }),
            "missing field `credentials`",
        ),
        ("/images", json!({ "": NEW }), "a version is"),
    ] {
        let mut bad = sound.clone();
        *bad.pointer_mut(of).expect("it is there") = what;
        let error = read(bad).expect_err(of);
        assert!(error.contains(&path.display().to_string()), "{error}");
        assert!(error.contains(said), "{of}: {error}");
    }
    let _ = std::fs::remove_file(path);
}

#[test]
fn each_role_of_a_zone_has_a_deployment_of_its_own() {
    let zone = ZoneId::parse("eu-west-1a").expect("sound");
    let names = Role::EACH.map(|role| named("cell", &zone, role));
    assert_eq!(names, ["cell-eu-west-1a", "cell-eu-west-1a-accounts", "cell-eu-west-1a-transactions"]);
}

#[test]
fn an_instance_is_in_the_cluster_of_its_zone() {
    let cluster = |server: &str| {
        let credentials = json!({ "tokenFile": "token" });
        json!({ "server": server, "certificateAuthority": "ca.pem", "credentials": credentials })
    };
    let text = json!({
        "images": { "v2": OLD }, "clusters": { "cell-1": cluster("home"), "cell-2": cluster("other") },
        "standbys": { "cell-1": { "zones": ["z4", "z5"], "images": { "v2": NEW }, "cluster": cluster("second") } },
    });
    let settings: Settings = serde_json::from_value(text).expect("sound");
    for (cell, zone, expected) in [
        ("cell-1", "z1", Some(("home", OLD))),
        ("cell-1", "z4", Some(("second", NEW))),
        ("cell-2", "z4", Some(("other", OLD))),
        ("x", "z1", None),
    ] {
        let zone = ZoneId::parse(zone).expect("sound");
        let found = settings.at(Program::Cells, &PartId(cell.to_owned()), &zone);
        let found =
            found.map(|(images, cluster)| (cluster.server.as_str(), images.values().next().expect("one").as_str()));
        assert_eq!(found, expected, "{cell} {zone}");
    }
}

/// The token was made by `aws eks get-token --cluster-name wallet-cell-1 --region eu-west-1` of aws-cli 1.45.11, with these
/// credentials in its environment.
#[test]
fn a_token_is_the_one_that_amazons_program_makes() {
    let amazons = concat!(
        "k8s-aws-v1.aHR0cHM6Ly9zdHMuZXUtd2VzdC0xLmFtYXpvbmF3cy5jb20vP0FjdGlvbj1HZXRDYWxsZXJJZGVudGl0eSZWZXJza",
        "W9uPTIwMTEtMDYtMTUmWC1BbXotQWxnb3JpdGhtPUFXUzQtSE1BQy1TSEEyNTYmWC1BbXotQ3JlZGVudGlhbD1BS0lERVhBTVBMR",
        "SUyRjIwMjYxMTMwJTJGZXUtd2VzdC0xJTJGc3RzJTJGYXdzNF9yZXF1ZXN0JlgtQW16LURhdGU9MjAyNjExMzBUMTIxMjEyWiZYL",
        "UFtei1FeHBpcmVzPTYwJlgtQW16LVNpZ25lZEhlYWRlcnM9aG9zdCUzQngtazhzLWF3cy1pZCZYLUFtei1TZWN1cml0eS1Ub2tlb",
        "j1zZXNzaW9uJTJGJTJCJTNEJlgtQW16LVNpZ25hdHVyZT05YjgzMmI4MDM5OGFhYTc3ZGU2NWJiMDY0OTIxMDdjYThiZjM3Y2NkZ",
        "GY3M2Q2ZDhkMGJmMjJjMjliY2QxNThk",
    );
    let cluster = Eks { name: "wallet-cell-1".into(), region: "eu-west-1".into(), role: None };
    let session = Some("session/+=".to_owned());
    let credentials =
        Credentials::new("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", session, None, "test");
    let ours = signed(&cluster, credentials, UNIX_EPOCH + Duration::from_secs(1_796_040_732)).expect("signed");
    let parts = |token: &str| {
        let text = token.strip_prefix("k8s-aws-v1.").expect("its prefix");
        let url = String::from_utf8(URL_SAFE_NO_PAD.decode(text).expect("base64")).expect("text");
        let (place, query) = url.split_once('?').expect("a query");
        let query: std::collections::BTreeMap<_, _> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        (place.to_owned(), query)
    };
    assert_eq!(parts(&ours), parts(amazons));
}
