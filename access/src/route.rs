//! What a request asks for, as a template without ids in it: what the policy, and the memory of its
//! decisions, knows requests by. Pure. It names also what is answered by cells of a later version:
//! what is here and not in the policy is refused.

/// `{id}` matches one segment. Of two that fit, the first.
const PUBLIC: [(&str, &str); 19] = [
    ("GET", "/api/v1/wallets"),
    ("POST", "/api/v1/wallets"),
    ("POST", "/api/v1/wallets/transfer"),
    ("GET", "/api/v1/wallets/{id}"),
    ("POST", "/api/v1/wallets/{id}/deposit"),
    ("POST", "/api/v1/wallets/{id}/withdraw"),
    ("GET", "/api/v1/wallets/{id}/balance/historical"),
    ("GET", "/api/v1/wallets/{id}/transactions"),
    ("GET", "/api/v1/wallets/{id}/statement"),
    ("GET", "/api/v1/wallets/{id}/proof"),
    ("GET", "/api/v1/wallets/{id}/transfers/{transfer}"),
    ("POST", "/api/v1/wallets/{id}/holds"),
    ("GET", "/api/v1/wallets/{id}/holds"),
    ("POST", "/api/v1/wallets/{id}/holds/{hold}/capture"),
    ("POST", "/api/v1/wallets/{id}/holds/{hold}/void"),
    ("POST", "/api/v1/wallets/{id}/transactions/{transaction}/reverse"),
    ("POST", "/api/v1/wallets/{id}/transactions:batch"),
    ("POST", "/api/v1/wallets/{id}/transfers:batch"),
    ("GET", "/api/v1/events"),
];

/// Method and template.
pub type Route = (&'static str, &'static str);

/// None for what this deployment does not know. `HEAD` is judged as `GET`.
pub fn public(method: &str, path: &str) -> Option<Route> {
    let method = if method == "HEAD" { "GET" } else { method };
    PUBLIC.into_iter().find(|(known, template)| *known == method && fits(template, path))
}

fn fits(template: &str, path: &str) -> bool {
    let (mut wanted, mut given) = (template.split('/'), path.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return true,
            (Some(wanted), Some(given)) if wanted.starts_with('{') && !given.is_empty() => {}
            (Some(wanted), Some(given)) if wanted == given => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_template_or_none() {
        for (method, path, expected) in [
            ("GET", "/api/v1/wallets/6a/transactions", Some("/api/v1/wallets/{id}/transactions")),
            ("POST", "/api/v1/wallets/transfer", Some("/api/v1/wallets/transfer")),
            ("GET", "/api/v1/wallets/transfer", Some("/api/v1/wallets/{id}")),
            ("HEAD", "/api/v1/wallets/6a", Some("/api/v1/wallets/{id}")),
            ("POST", "/api/v1/wallets/6a/holds/7/void", Some("/api/v1/wallets/{id}/holds/{hold}/void")),
            ("POST", "/api/v1/wallets/6a/holds/7/void/", None),
            ("POST", "/api/v1/wallets//deposit", None),
            ("POST", "/api/v1/wallets/6a/Deposit", None),
            ("DELETE", "/api/v1/wallets/6a", None),
            ("GET", "/internal/v1/wallets/6a/receivable", None),
        ] {
            assert_eq!(public(method, path).map(|(_, template)| template), expected, "{method} {path}");
        }
    }
}
