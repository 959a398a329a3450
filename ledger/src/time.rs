//! Points in time, in microseconds since the Unix epoch. Nothing here reads a clock.

use std::fmt;

use ::time::OffsetDateTime;
use ::time::format_description::well_known::Rfc3339;

/// Microseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an ISO-8601 timestamp with an offset, such as 2025-07-06T14:46:53.316283Z")]
pub struct TimestampError;

impl Timestamp {
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    pub const fn micros(self) -> i64 {
        self.0
    }

    pub const fn plus_micros(self, micros: i64) -> Self {
        Self(self.0.saturating_add(micros))
    }

    /// The first and the last that can be written: years have four digits.
    pub const MIN: Self = Self(-62_167_219_200_000_000);
    pub const MAX: Self = Self(253_402_300_799_999_999);

    /// Reads RFC 3339; what is finer than a microsecond is cut off, so that "at or before this
    /// time" means the same for the text and for what it became. A time with a year in UTC of other
    /// than four digits is refused.
    pub fn parse(text: &str) -> Result<Self, TimestampError> {
        let moment = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| TimestampError)?;
        let micros = i64::try_from(moment.unix_timestamp_nanos().div_euclid(1_000)).map_err(|_| TimestampError)?;
        Some(Self(micros)).filter(|at| (Self::MIN..=Self::MAX).contains(at)).ok_or(TimestampError)
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with six decimals; beyond what can be written, the first or the last that can.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(micros) = (*self).clamp(Self::MIN, Self::MAX);
        let nanos = i128::from(micros).saturating_mul(1_000);
        let moment = OffsetDateTime::from_unix_timestamp_nanos(nanos).map_err(|_| fmt::Error)?;
        let (date, time) = (moment.date(), moment.time());
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z",
            date.year(),
            u8::from(date.month()),
            date.day(),
            time.hour(),
            time.minute(),
            time.second(),
            time.microsecond()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_print_as_they_read() {
        let text = "2025-07-06T14:46:53.316283Z";
        assert_eq!(Timestamp::parse(text).expect("sound").to_string(), text);
        assert_eq!(Timestamp::parse("2025-07-06T16:46:53.316283400+02:00").expect("sound").to_string(), text);
        for edge in ["0000-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z"] {
            assert_eq!(Timestamp::parse(edge).expect("sound").to_string(), edge);
        }
        assert_eq!(Timestamp::from_micros(i64::MIN).to_string(), Timestamp::MIN.to_string());
        assert_eq!(Timestamp::from_micros(i64::MAX).to_string(), Timestamp::MAX.to_string());
        for wrong in ["9999-12-31T23:59:59-01:00", "0000-01-01T00:00:00+23:59"] {
            assert!(Timestamp::parse(wrong).is_err(), "{wrong} cannot be written in UTC");
        }
        for wrong in ["", "2025-07-06", "yesterday", "2025-13-01T00:00:00Z", "1751813213"] {
            assert!(Timestamp::parse(wrong).is_err(), "{wrong}");
        }
    }
}
