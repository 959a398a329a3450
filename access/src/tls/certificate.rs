//! What a certificate says of itself: names, and from when to when it counts. Reads no more of DER than that, and knows
//! no files, clock or network.
//!
//! It must never decide whether a certificate is to be believed: that is rustls's part.

use rustls::pki_types::CertificateDer;

use crate::limits::{CERTIFICATE_WARN_S, DAY_S};

const SEQUENCE: u8 = 0x30;
const OID: u8 = 0x06;
const OCTETS: u8 = 0x04;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const DNS_NAME: u8 = 0x82;
const IP_ADDRESS: u8 = 0x87;
/// 2.5.29.17
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

/// Below this domain stand the names of our own processes.
const OWN_DOMAIN: &str = ".wallet.internal";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// DNS names, and addresses as hexadecimal digits; sorted.
    pub names: Vec<String>,
    /// Seconds since 1970.
    pub not_before_s: i64,
    pub not_after_s: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotUsable {
    #[error("the certificate has ended (notAfter, seconds since 1970: {0})")]
    Ended(i64),
    #[error("the certificate is not valid yet (notBefore, seconds since 1970: {0})")]
    NotYet(i64),
    #[error("the certificate is another process's: it names {found}, not {expected}")]
    Names { found: String, expected: String },
}

impl Facts {
    /// Of a process's own chain: the names of its first certificate, for as long as the whole chain counts.
    pub fn of_chain(chain: &[CertificateDer<'_>]) -> Option<Self> {
        let mut all = chain.iter().map(|der| Self::of(der));
        let first = all.next()??;
        all.try_fold(first, |facts, next| {
            let next = next?;
            let not_before_s = facts.not_before_s.max(next.not_before_s);
            Some(Self { not_before_s, not_after_s: facts.not_after_s.min(next.not_after_s), ..facts })
        })
    }

    pub fn of(der: &CertificateDer<'_>) -> Option<Self> {
        let certificate = Der(der).expect(SEQUENCE)?;
        let mut fields = Der(Der(certificate).expect(SEQUENCE)?);
        let (tag, _) = fields.next()?;
        // The serial number, the algorithm and the issuer stand before the times.
        for _ in 0..if tag == VERSION { 3 } else { 2 } {
            fields.next()?;
        }
        let mut times = Der(fields.expect(SEQUENCE)?);
        let (not_before_s, not_after_s) = (time(times.next()?)?, time(times.next()?)?);
        let mut names = Vec::new();
        while let Some((tag, content)) = fields.next() {
            if tag == EXTENSIONS {
                names = alternative_names(Der(content).expect(SEQUENCE)?)?;
            }
        }
        names.sort();
        Some(Self { names, not_before_s, not_after_s })
    }

    pub fn is_named(&self, name: &str) -> bool {
        self.names.iter().any(|own| own == name)
    }

    /// Whether it counts now.
    pub fn check_time(&self, now_s: i64) -> Result<(), NotUsable> {
        match () {
            () if now_s < self.not_before_s => Err(NotUsable::NotYet(self.not_before_s)),
            () if now_s > self.not_after_s => Err(NotUsable::Ended(self.not_after_s)),
            () => Ok(()),
        }
    }

    /// Whether a process that shows `self` may show `next` from now on: it counts, and is the same process's. One of
    /// our own processes keeps its names; a public listener keeps one of its names at least.
    pub fn check_next(&self, next: &Self, now_s: i64) -> Result<(), NotUsable> {
        next.check_time(now_s)?;
        let own = |facts: &Self| facts.names.iter().filter(|name| name.ends_with(OWN_DOMAIN)).cloned().collect();
        let (mine, theirs): (Vec<String>, Vec<String>) = (own(self), own(next));
        let is_same = if mine.is_empty() { self.names.iter().any(|name| next.is_named(name)) } else { true };
        if mine == theirs && is_same {
            return Ok(());
        }
        Err(NotUsable::Names { found: next.names.join(", "), expected: self.names.join(", ") })
    }
}

/// The items of one DER value, one after the other.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// Tag and content.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x84 => {
                let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (digits.iter().fold(0, |length, &digit| (length << 8) | usize::from(digit)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }

    fn expect(&mut self, expected: u8) -> Option<&'a [u8]> {
        self.next().filter(|(tag, _)| *tag == expected).map(|(_, content)| content)
    }
}

fn alternative_names(extensions: &[u8]) -> Option<Vec<String>> {
    let mut extensions = Der(extensions);
    while let Some(extension) = extensions.expect(SEQUENCE) {
        let mut fields = Der(extension);
        if fields.expect(OID)? != SUBJECT_ALT_NAME {
            continue;
        }
        let content = std::iter::from_fn(|| fields.next()).find(|(tag, _)| *tag == OCTETS)?.1;
        let mut listed = Der(Der(content).expect(SEQUENCE)?);
        let name = |(tag, content): (u8, &[u8])| match tag {
            DNS_NAME => Some(String::from_utf8_lossy(content).to_lowercase()),
            IP_ADDRESS => Some(content.iter().map(|byte| format!("{byte:02x}")).collect()),
            _ => None,
        };
        return Some(std::iter::from_fn(|| listed.next()).filter_map(name).collect());
    }
    Some(vec![])
}

/// `YYMMDDHHMMSSZ` (of 1950 to 2049) or `YYYYMMDDHHMMSSZ`, as seconds since 1970.
fn time((tag, content): (u8, &[u8])) -> Option<i64> {
    let text = std::str::from_utf8(content).ok()?.strip_suffix('Z')?;
    let year_digits = match tag {
        UTC_TIME => 2,
        GENERALIZED_TIME => 4,
        _ => return None,
    };
    let (year, rest) = text.split_at_checked(year_digits)?;
    let year: i64 = year.parse().ok()?;
    let year = match tag {
        UTC_TIME if year < 50 => year + 2000,
        UTC_TIME => year + 1900,
        _ => year,
    };
    let part = |index: usize| rest.get(2 * index..2 * index + 2)?.parse::<i64>().ok();
    let seconds = part(2)? * 3_600 + part(3)? * 60 + part(4)?;
    Some(days_since_1970(year, part(0)?, part(1)?) * 86_400 + seconds)
}

/// In the Gregorian calendar; a year that begins in March ends with its leap day.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + day_of_year - 719_468
}

/// Days until a certificate ends; `None` where that is too far away for a warning.
pub fn days_left(ends_s: Option<i64>, now_s: i64) -> Option<i64> {
    let left_s = ends_s?.saturating_sub(now_s);
    (left_s < CERTIFICATE_WARN_S).then_some(left_s.div_euclid(DAY_S))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    #[test]
    fn only_a_certificate_that_ends_soon_is_warned_of() {
        let now_s = 1_000 * DAY_S;
        for (ends_s, expected) in [
            (None, None),
            (Some(now_s + 30 * DAY_S), None),
            (Some(now_s + 20 * DAY_S + 1), Some(20)),
            (Some(now_s), Some(0)),
            (Some(now_s - 1), Some(-1)),
        ] {
            assert_eq!(days_left(ends_s, now_s), expected, "{ends_s:?}");
        }
    }

    #[test]
    fn times_of_certificates_are_read() {
        for (tag, text, seconds) in [
            (UTC_TIME, "700101000000Z", 0),
            (UTC_TIME, "491231235959Z", 2_524_607_999),
            (UTC_TIME, "500101000000Z", -631_152_000),
            (GENERALIZED_TIME, "20240229120000Z", 1_709_208_000),
            (GENERALIZED_TIME, "99991231235959Z", 253_402_300_799),
        ] {
            assert_eq!(time((tag, text.as_bytes())), Some(seconds), "{text}");
        }
        for text in ["", "70", "7001010000Z", "700101000000", "7001010000é0Z"] {
            assert_eq!(time((UTC_TIME, text.as_bytes())), None, "{text}");
        }
    }

    #[test]
    fn der_that_is_cut_off_or_lies_about_its_length_is_refused() {
        for bytes in [&[][..], &[0x30], &[0x30, 0x05, 0x30], &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], &[0x30, 0x80]] {
            assert_eq!(Facts::of(&CertificateDer::from(bytes)), None, "{bytes:?}");
        }
    }

    #[test]
    fn a_certificate_is_replaced_only_by_one_of_the_same_process() {
        let facts = |names: &[&str]| Facts {
            names: names.iter().map(|&name| name.to_owned()).collect(),
            not_before_s: 0,
            not_after_s: 30 * DAY,
        };
        let router = facts(&["7f000001", "router.wallet.internal"]);
        let cell = facts(&["cell-1.cell.wallet.internal", "cell.wallet.internal"]);
        let public = facts(&["pay.example.org", "www.example.org"]);
        for (current, next, is_taken) in [
            (&router, &facts(&["router.wallet.internal"]), true),
            (&router, &cell, false),
            (&cell, &facts(&["cell-2.cell.wallet.internal", "cell.wallet.internal"]), false),
            (&cell, &public, false),
            (&public, &facts(&["pay.example.org"]), true),
            (&public, &facts(&["example.com"]), false),
            (&public, &facts(&["pay.example.org", "router.wallet.internal"]), false),
        ] {
            assert_eq!(current.check_next(next, DAY).is_ok(), is_taken, "{current:?} {next:?}");
        }
        assert_eq!(router.check_next(&router, -1), Err(NotUsable::NotYet(0)));
        assert_eq!(router.check_next(&router, 31 * DAY), Err(NotUsable::Ended(30 * DAY)));
    }
}
