//! The processes of small fleets: with one Region as they have always been, and with two.

use topology::{Config, ZoneId};

use super::*;
use crate::regions::Regions;
use crate::relay::places::places;

const CONFIG: &str = "[deployment]\nname='t'\nnamespace='6f1a0c52-9f35-4d0e-8a3d-3c1c6a6b1f10'\nregion='r'\n\
                      [[cells]]\nid='cell-1'\n[[cells]]\nid='cell-2'\n";

fn layout() -> Layout {
    Layout { programs: "/bin".into(), data: "/fleet".into(), config: "/cells.toml".into() }
}

fn fleet(regions: bool) -> Fleet {
    let mut fleet = Fleet::new(&Config::parse(CONFIG).expect("sound"));
    fleet.regions = regions.then_some(Regions { latency_ms: 10 });
    fleet.relays = regions;
    fleet
}

/// Name, the last address, and where that says that the process is ready.
fn processes(fleet: &Fleet) -> Vec<String> {
    let line =
        |spec: Spec| format!("{} {}{}", spec.name, spec.health.trim_start_matches("127.0.0.1:"), spec.ready_path);
    layout().all(fleet).into_iter().map(line).collect()
}

fn command_line(fleet: &Fleet, name: &str) -> String {
    let spec = layout().all(fleet).into_iter().find(|spec| spec.name == name).expect("it is there");
    let environment = spec.environment.iter().map(|(name, value)| format!("{name}={value} "));
    environment.collect::<String>() + &spec.args.join(" ")
}

#[test]
fn a_fleet_with_one_region_is_as_it_was() {
    let fleet = fleet(false);
    assert_eq!(
        processes(&fleet),
        [
            "router 8082/readyz",
            "control-plane 8083/readyz",
            "control-plane-db 8084/readyz",
            "cell-1-db 8090/readyz",
            "cell-1-a 8091/readyz",
            "cell-2-db 8100/readyz",
            "cell-2-a 8101/readyz",
        ]
    );
    assert_eq!(
        command_line(&fleet, "cell-1-a"),
        "CELL_ARCHIVE=file:///fleet/archive/ serve --id cell-1 --instance cell-1-a --listen 127.0.0.1:8091 --role all \
         --max-tps 10000 --router http://127.0.0.1:8081 --config /cells.toml --checkpoint-key /fleet/keys/cell-1.pem \
         --dynamodb-endpoint http://127.0.0.1:8090 --table-prefix cell-1- --log-format json"
    );
    assert_eq!(
        command_line(&fleet, "router"),
        "--listen 127.0.0.1:8080 --internal-listen 127.0.0.1:8081 --admin-listen 127.0.0.1:8082 --control-plane \
         http://127.0.0.1:8083 --data-dir /fleet/router --config /cells.toml --log-format json"
    );
    let spec = fleet.spec(&fleet.cells[0]);
    assert_eq!((spec.standby, spec.dynamodb.region.as_str()), (None, "r"));
    assert_eq!(spec.dynamodb.endpoint.as_deref(), Some("http://127.0.0.1:8090"));
    assert!(!serde_json::to_string(&fleet).expect("plain data").contains("regions"));
}

#[test]
fn a_second_router_has_an_address_of_its_own() {
    let mut fleet = fleet(false);
    (fleet.routers, fleet.zones) = (2, vec![ZoneId::parse("z1").expect("sound"), ZoneId::parse("z2").expect("sound")]);
    assert_eq!(processes(&fleet)[..2], ["router 8082/readyz", "router-2 8088/readyz"]);
    let second = command_line(&fleet, "router-2");
    assert!(second.starts_with("--listen 127.0.0.1:8086 --internal-listen 127.0.0.1:8087"), "{second}");
    assert!(second.contains("--control-plane http://127.0.0.1:8083 --data-dir /fleet/router-2"), "{second}");
    let control_plane = command_line(&fleet, CONTROL_PLANE);
    let named = "--routers router@z1=http://127.0.0.1:8082,router-2@z2=http://127.0.0.1:8088";
    assert!(control_plane.contains(named), "{control_plane}");
}

#[test]
fn with_two_regions_each_cell_has_a_standby_in_the_other_one() {
    let fleet = fleet(true);
    assert_eq!(
        processes(&fleet),
        [
            "router 8082/readyz",
            "router-2 8182/readyz",
            "control-plane 8083/readyz",
            "control-plane-db 8084/readyz",
            "cell-1-db 8090/readyz",
            "cell-1-standby-db 8190/readyz",
            "cell-1-a 8091/readyz",
            "cell-1-standby-a 8191/livez",
            "cell-2-db 8100/readyz",
            "cell-2-standby-db 8200/readyz",
            "cell-2-a 8101/readyz",
            "cell-2-standby-a 8201/livez",
        ]
    );
    assert_eq!(
        command_line(&fleet, "cell-1-standby-a"),
        "CELL_ARCHIVE=file:///fleet/regions/local-2/archive/ serve --id cell-1 --instance cell-1-standby-a --listen \
         127.0.0.1:8191 --role all --max-tps 10000 --router http://127.0.0.1:8181 --config /cells.toml \
         --checkpoint-key /fleet/keys/cell-1.pem --dynamodb-endpoint http://127.0.0.1:8190 --table-prefix cell-1- \
         --region local-2 --standby --log-format json"
    );
    let home = command_line(&fleet, "cell-2-a");
    assert!(home.contains("--router http://127.0.0.1:8181") && home.contains("--region local-2 --log"), "{home}");
    let router = command_line(&fleet, "router-2");
    assert!(router.contains("--control-plane http://127.0.0.1:8233 --data-dir /fleet/router-2"), "{router}");
}

#[test]
fn what_crosses_regions_is_reached_by_relays() {
    let fleet = fleet(true);
    let line = |place: crate::relay::places::Place| {
        let port = |address: &str| address.trim_start_matches("127.0.0.1:").to_owned();
        let region = place.region.unwrap_or_else(|| "-".to_owned());
        format!("{} {} {} {region}", place.name, port(&place.listen), port(&place.to))
    };
    assert_eq!(
        places(&fleet).expect("few cells").into_iter().map(line).collect::<Vec<_>>(),
        [
            "cell-1-a 8141 8091 local-1",
            "cell-1-standby-a 8241 8191 local-2",
            "cell-2-a 8151 8101 local-2",
            "cell-2-standby-a 8251 8201 local-1",
            "cell-1-db 8140 8090 local-1",
            "cell-1-standby-db 8240 8190 local-2",
            "cell-2-db 8150 8100 local-2",
            "cell-2-standby-db 8250 8200 local-1",
            "control-plane of local-1 8133 8083 -",
            "control-plane of local-2 8233 8083 -",
        ]
    );
    let spec = fleet.spec(&fleet.cells[1]);
    let standby = spec.standby.expect("a standby");
    assert_eq!((spec.dynamodb.region.as_str(), standby.dynamodb.region.as_str()), ("local-2", "local-1"));
    assert_eq!(spec.dynamodb.endpoint.as_deref(), Some("http://127.0.0.1:8150"));
    assert_eq!(standby.dynamodb.endpoint.as_deref(), Some("http://127.0.0.1:8250"));
    assert_eq!((&*spec.instances[0].address, &*standby.instances[0].address), ("127.0.0.1:8151", "127.0.0.1:8251"));
}
