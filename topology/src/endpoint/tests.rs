use std::collections::BTreeSet;

use super::*;

const OPENAPI: &str = include_str!("../../../openapi.yaml");
/// What the router answers by itself.
const DOCUMENTS: [(&str, &str); 2] = [("GET", "/openapi.yaml"), ("GET", "/docs/")];
const ID: Uuid = Uuid::from_u128(0x6a83_6b5a_367e_4abc_8347_a2aa_f56a_fd1c);

fn path(endpoint: Endpoint) -> String {
    endpoint.path(&[ID, ID])
}

/// Methods and paths below `paths:`, which the document writes in block style.
fn documented() -> BTreeSet<(String, String)> {
    let paths = OPENAPI.split("\npaths:\n").nth(1).and_then(|rest| rest.split("\ncomponents:\n").next());
    let mut path = "";
    let mut operations = BTreeSet::new();
    for line in paths.expect("the document has paths").lines().filter_map(|line| line.strip_suffix(':')) {
        let name = line.trim_start();
        match line.len() - name.len() {
            2 => path = name,
            4 if name != "parameters" => _ = operations.insert((name.to_uppercase(), anonymous(path))),
            _ => {}
        }
    }
    operations
}

/// A template without the names of its ids.
fn anonymous(template: &str) -> String {
    let segments = template.split('/').map(|part| if part.starts_with('{') { "{}" } else { part });
    segments.collect::<Vec<_>>().join("/")
}

#[test]
fn the_document_describes_the_endpoints_of_clients() {
    let clients = Endpoint::ALL.iter().filter(|endpoint| endpoint.callers() == Callers::Clients);
    let served = clients.map(|endpoint| (endpoint.method().name(), endpoint.template())).chain(DOCUMENTS);
    let served: BTreeSet<_> = served.map(|(method, template)| (method.to_owned(), anonymous(template))).collect();
    assert_eq!(documented(), served);
}

#[test]
fn each_endpoint_is_found_by_method_and_path_or_template() {
    for &endpoint in Endpoint::ALL {
        for found in [Endpoint::at(&path(endpoint)), Endpoint::of_template(endpoint.template())] {
            assert_eq!(found.and_then(|first| first.taking(endpoint.method())), Some(endpoint));
        }
        assert!(path(endpoint).starts_with(endpoint.callers().wallets()) || endpoint.by() != By::Path);
    }
}

#[test]
fn what_is_not_quite_a_path_is_none() {
    for &endpoint in Endpoint::ALL {
        for end in ["/", "/x"] {
            assert_eq!(Endpoint::at(&(path(endpoint) + end)), None, "{endpoint:?} {end}");
        }
    }
    let wallet = Endpoint::Show.of_wallet(WalletId::from_uuid(ID));
    for below in
        ["x", "/Deposit", "//deposit", "/transfers/", "/holds//void", "/holds/a/b/void", "/transactions/reverse"]
    {
        assert_eq!(Endpoint::at(&format!("{wallet}{below}")), None, "{below}");
    }
    for path in ["", "/", "/api/v1/walletsx", "/api/v1/wallets/", "/api/v1/wallets/x/deposit", "/internal/v1/wallets"] {
        assert_eq!(Endpoint::at(path), None, "{path}");
    }
}

#[test]
fn endpoints_of_one_path_agree_on_what_is_decided_by_it() {
    for endpoint in Endpoint::ALL {
        for other in Endpoint::ALL.iter().filter(|other| other.template() == endpoint.template()) {
            let decided = |of: &Endpoint| (of.callers(), of.duty(), of.methods());
            assert_eq!(decided(endpoint), decided(other), "{}", endpoint.template());
        }
    }
}

#[test]
fn a_head_request_asks_for_what_get_shows() {
    let found = |method| Endpoint::at("/api/v1/wallets").and_then(|first| first.taking(Method::of(method)?));
    assert_eq!(found("HEAD"), Some(Endpoint::Find));
    assert_eq!(found("POST"), Some(Endpoint::Create));
    assert_eq!(found("DELETE"), None);
}
