//! Where a browser says that a request comes from. Any page may have a browser send requests to any address, with what the
//! browser's machine can reach: so what another site caused is refused, and so is another site's name for an address of
//! this machine.
//!
//! What says nothing is no browser.

use ::http::header::{CONTENT_TYPE, HOST, HeaderName, ORIGIN};
use ::http::uri::Authority;
use ::http::{HeaderMap, StatusCode, Uri};

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Why a request is not taken. Nothing was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Foreign {
    #[error("without tokens this process answers only as 127.0.0.1, [::1] or localhost")]
    Host,
    #[error("another site had a browser send this request: call the API from its own address, or from a server")]
    Site,
}

impl Foreign {
    pub const STATUS: StatusCode = StatusCode::FORBIDDEN;

    pub fn code(self) -> &'static str {
        match self {
            Self::Host => "foreign_host",
            Self::Site => "cross_site",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Self::Host => "Not under this name",
            Self::Site => "Not from another site",
        }
    }
}

/// Refuses what another site caused. `is_open`: nothing else protects this process, which listens on this machine only.
pub fn check(headers: &HeaderMap, is_open: bool) -> Result<(), Foreign> {
    if is_open && headers.contains_key(HOST) && !is_local(headers) {
        return Err(Foreign::Host);
    }
    match headers.get(FETCH_SITE) {
        // A page cannot forge it; `none` means that the user typed the address.
        Some(site) if site == "same-origin" || site == "none" => Ok(()),
        Some(_) => Err(Foreign::Site),
        None if headers.contains_key(ORIGIN) && !is_own_origin(headers) => Err(Foreign::Site),
        None => Ok(()),
    }
}

/// Whether a form was sent by a page of this address. Browsers always say it of one of these headers or the other.
pub fn is_own_form(headers: &HeaderMap) -> bool {
    let site = headers.get(FETCH_SITE).map(|site| site == "same-origin");
    let origin = headers.contains_key(ORIGIN).then(|| is_own_origin(headers));
    matches!((site, origin), (Some(true), None | Some(true)) | (None, Some(true)))
}

/// Whether `Host` is a name of this machine for itself.
pub fn is_local(headers: &HeaderMap) -> bool {
    let Some(host) = text(headers, HOST).and_then(|host| host.parse::<Authority>().ok()) else { return false };
    let name = host.host().trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn is_own_origin(headers: &HeaderMap) -> bool {
    let origin = text(headers, ORIGIN).and_then(|origin| origin.parse::<Uri>().ok());
    let authority = origin.as_ref().and_then(Uri::authority).map(Authority::as_str);
    authority.is_some() && authority == text(headers, HOST)
}

/// Whether a body is said to be JSON. A page can have a browser send other types to any site without asking that site.
pub fn is_json(headers: &HeaderMap) -> bool {
    let media = text(headers, CONTENT_TYPE).and_then(|kind| kind.split(';').next());
    media.is_some_and(|media| media.trim().eq_ignore_ascii_case("application/json"))
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(of: &[(&str, &str)]) -> HeaderMap {
        let line = |&(name, value): &(&str, &str)| -> (HeaderName, ::http::HeaderValue) {
            (name.parse().expect("a name"), value.parse().expect("a value"))
        };
        of.iter().map(line).collect()
    }

    const HERE: (&str, &str) = ("host", "127.0.0.1:8083");

    #[test]
    fn a_form_says_that_it_comes_from_here() {
        for (lines, ours) in [
            (vec![HERE, ("sec-fetch-site", "same-origin")], true),
            (vec![HERE, ("origin", "http://127.0.0.1:8083")], true),
            (vec![HERE, ("sec-fetch-site", "same-origin"), ("origin", "https://127.0.0.1:8083")], true),
            (vec![HERE], false),
            (vec![HERE, ("sec-fetch-site", "cross-site")], false),
            (vec![HERE, ("sec-fetch-site", "same-site")], false),
            (vec![HERE, ("sec-fetch-site", "none")], false),
            (vec![HERE, ("origin", "null")], false),
            (vec![HERE, ("origin", "http://127.0.0.1:8084")], false),
            (vec![HERE, ("sec-fetch-site", "same-origin"), ("origin", "http://elsewhere")], false),
            (vec![("origin", "http://127.0.0.1:8083")], false),
        ] {
            assert_eq!(is_own_form(&headers(&lines)), ours, "{lines:?}");
        }
    }

    #[test]
    fn a_request_that_another_site_caused_is_refused() {
        let foreign = ("host", "wallet.example");
        for (lines, open, closed) in [
            (vec![HERE], Ok(()), Ok(())),
            (vec![], Ok(()), Ok(())),
            (vec![HERE, ("sec-fetch-site", "same-origin")], Ok(()), Ok(())),
            (vec![HERE, ("sec-fetch-site", "none")], Ok(()), Ok(())),
            (vec![HERE, ("origin", "http://127.0.0.1:8083")], Ok(()), Ok(())),
            (vec![HERE, ("sec-fetch-site", "cross-site")], Err(Foreign::Site), Err(Foreign::Site)),
            (vec![HERE, ("sec-fetch-site", "same-site")], Err(Foreign::Site), Err(Foreign::Site)),
            (vec![HERE, ("origin", "http://evil.example")], Err(Foreign::Site), Err(Foreign::Site)),
            (vec![HERE, ("origin", "http://127.0.0.1:9")], Err(Foreign::Site), Err(Foreign::Site)),
            (vec![HERE, ("origin", "null")], Err(Foreign::Site), Err(Foreign::Site)),
            (vec![foreign], Err(Foreign::Host), Ok(())),
            (vec![foreign, ("sec-fetch-site", "same-origin")], Err(Foreign::Host), Ok(())),
        ] {
            let lines = headers(&lines);
            assert_eq!((check(&lines, true), check(&lines, false)), (open, closed), "{lines:?}");
        }
    }

    #[test]
    fn an_open_fleet_has_this_machines_names_only() {
        for (host, local) in [
            ("127.0.0.1:8083", true),
            ("localhost:8083", true),
            ("[::1]:8083", true),
            ("127.9.9.9", true),
            ("10.0.0.1:8083", false),
            ("wallet.example:8083", false),
            ("127.0.0.1.example", false),
            ("", false),
        ] {
            assert_eq!(is_local(&headers(&[("host", host)])), local, "{host}");
        }
        assert!(!is_local(&HeaderMap::new()));
    }

    #[test]
    fn only_application_json_is_json() {
        for (kind, json) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("text/plain", false),
            ("application/json-patch+json", false),
        ] {
            assert_eq!(is_json(&headers(&[("content-type", kind)])), json, "{kind}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }
}
