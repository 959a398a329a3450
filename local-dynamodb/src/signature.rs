//! How old a request's signature may be: DynamoDB refuses one that was signed more than five minutes ago, so that a request
//! that was stopped or lost on its way cannot be carried out hours later.
//!
//! The signature itself is not checked: any credentials are good for this stand-in.

use std::time::Duration;

use axum::http::HeaderMap;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

/// What DynamoDB allows.
pub const LIFETIME: Duration = Duration::from_secs(5 * 60);

/// Why the request is refused, in DynamoDB's words. A request without a date, such as one by hand, is taken.
pub fn refused(headers: &HeaderMap, now: OffsetDateTime, lifetime: Duration) -> Option<String> {
    let date = headers.get("x-amz-date")?.to_str().ok()?;
    let format = format_description!("[year][month][day]T[hour][minute][second]Z");
    let Ok(signed) = PrimitiveDateTime::parse(date, format).map(PrimitiveDateTime::assume_utc) else {
        return Some(format!("Date must be in ISO-8601 'basic format'. Got '{date}'"));
    };
    let minutes = lifetime.as_secs() / 60;
    if signed < now - lifetime {
        return Some(format!("Signature expired: {date} is now earlier than {} - {minutes} min.", now - lifetime));
    }
    let is_ahead = signed > now + lifetime;
    is_ahead
        .then(|| format!("Signature not yet current: {date} is still later than {} + {minutes} min.", now + lifetime))
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn a_signature_is_good_for_five_minutes() {
        let now = datetime!(2026-02-03 04:05:06 UTC);
        let answer = |date: &'static str| {
            let headers = HeaderMap::from_iter([("x-amz-date".parse().expect("sound"), date.parse().expect("sound"))]);
            refused(&headers, now, LIFETIME)
        };
        for date in ["20260203T040506Z", "20260203T040006Z", "20260203T041006Z"] {
            assert_eq!(answer(date), None, "{date}");
        }
        assert!(answer("20260203T040005Z").is_some_and(|why| why.starts_with("Signature expired")));
        assert!(answer("20260203T041007Z").is_some_and(|why| why.starts_with("Signature not yet current")));
        assert!(answer("yesterday").is_some());
        assert_eq!(refused(&HeaderMap::new(), now, LIFETIME), None);
    }
}
