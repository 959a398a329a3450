//! Money: a count of minor units (cents), never a float. Text becomes money here and nowhere else, rounded HALF_UP to
//! two decimals.

use std::fmt;

use rust_decimal::{Decimal, RoundingStrategy};

/// Decimals of an amount.
const DECIMALS: u32 = 2;
/// Minor units in one major unit.
const MINOR_PER_MAJOR: u64 = 100;
/// Longest text read as an amount, in bytes: more than any exact decimal needs.
pub const AMOUNT_TEXT_MAX_BYTES: usize = 64;

/// A non-negative sum in minor units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Money(u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    #[error("not a decimal number that can be read exactly (at most 28 significant digits)")]
    NotExact,
    #[error("an amount is at least 0.01 after rounding to two decimals")]
    BelowMinimum,
    #[error("an amount is at most {}", Money::MAX_AMOUNT)]
    AboveMaximum,
}

impl Money {
    pub const ZERO: Money = Money(0);
    /// Smallest amount of one operation: 0.01.
    pub const MIN_AMOUNT: Money = Money(1);
    /// Largest amount of one operation: 1,000,000,000.00.
    pub const MAX_AMOUNT: Money = Money(100_000_000_000);
    /// Largest balance that money may be received into: 9,999,999,999,999.99. Fifteen digits: every balance survives a
    /// client that reads JSON numbers as doubles. Money that comes *back* is never refused for it.
    pub const MAX_BALANCE: Money = Money(999_999_999_999_999);

    pub const fn from_minor(minor: u64) -> Self {
        Self(minor)
    }

    pub const fn minor(self) -> u64 {
        self.0
    }

    pub const fn checked_add(self, other: Money) -> Option<Money> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Money(sum)),
            None => None,
        }
    }

    pub const fn checked_sub(self, other: Money) -> Option<Money> {
        match self.0.checked_sub(other.0) {
            Some(difference) => Some(Money(difference)),
            None => None,
        }
    }

    /// Reads the amount of an operation: a decimal number, optionally with an exponent (`12`, `0.30`, `1.5e3`). It is
    /// read exactly, then rounded HALF_UP to two decimals, then checked against the limits of one operation.
    pub fn parse_amount(text: &str) -> Result<Money, AmountError> {
        let exact = parse_exact(text).ok_or(AmountError::NotExact)?;
        if exact.is_sign_negative() || exact.is_zero() {
            return Err(AmountError::BelowMinimum);
        }
        // The maximum is checked first, so that the scaling below cannot overflow.
        if exact > Decimal::from(Money::MAX_AMOUNT.0) {
            return Err(AmountError::AboveMaximum);
        }
        let rounded = exact.round_dp_with_strategy(DECIMALS, RoundingStrategy::MidpointAwayFromZero);
        let minor = rounded
            .checked_mul(Decimal::from(MINOR_PER_MAJOR))
            .and_then(|scaled| u64::try_from(scaled).ok())
            .ok_or(AmountError::AboveMaximum)?;
        match Money(minor) {
            amount if amount < Money::MIN_AMOUNT => Err(AmountError::BelowMinimum),
            amount if amount > Money::MAX_AMOUNT => Err(AmountError::AboveMaximum),
            amount => Ok(amount),
        }
    }
}

/// `[-]digits[.digits][e[+-]digits]`, exactly or not at all.
fn parse_exact(text: &str) -> Option<Decimal> {
    if text.len() > AMOUNT_TEXT_MAX_BYTES {
        return None;
    }
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.strip_prefix('+').unwrap_or(exponent).parse::<i32>().ok()?),
        None => (text, 0),
    };
    let digits = mantissa.strip_prefix('-').unwrap_or(mantissa);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    if [whole, fraction].iter().any(|part| part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit())) {
        return None;
    }
    let mut exact = Decimal::from_str_exact(mantissa).ok()?.normalize();
    let scale = i32::try_from(exact.scale()).ok()?.checked_sub(exponent)?;
    if scale >= 0 {
        exact.set_scale(u32::try_from(scale).ok()?).ok()?;
        return Some(exact);
    }
    exact.set_scale(0).ok()?;
    let power = 10_i64.checked_pow(u32::try_from(scale.checked_neg()?).ok()?)?;
    exact.checked_mul(Decimal::from(power))
}

impl fmt::Display for Money {
    /// Two decimals, no grouping: `350.00`. Valid as a JSON number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = (self.0.checked_div(MINOR_PER_MAJOR), self.0.checked_rem(MINOR_PER_MAJOR));
        write!(f, "{}.{:02}", major.unwrap_or_default(), minor.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn amounts_are_read_exactly_and_rounded_half_up() {
        for (text, minor) in [
            ("0.01", 1),
            ("0.005", 1),
            ("1", 100),
            ("1.005", 101),
            ("1.004999999999999999999999", 100),
            ("0.30", 30),
            ("1e2", 10_000),
            ("1.5E+3", 150_000),
            ("12345e-2", 12_345),
            ("1000000000", 100_000_000_000),
            ("1000000000.00", 100_000_000_000),
            ("00012.50", 1_250),
        ] {
            assert_eq!(Money::parse_amount(text), Ok(Money(minor)), "{text}");
        }
    }

    #[test]
    fn what_is_not_an_amount_is_refused() {
        use AmountError::*;
        for (text, error) in [
            ("0.004", BelowMinimum),
            ("0", BelowMinimum),
            ("-1", BelowMinimum),
            ("-0.001", BelowMinimum),
            ("1000000000.01", AboveMaximum),
            ("1e18", AboveMaximum),
            ("1e27", NotExact),
            ("1e400", NotExact),
            ("1e-400", NotExact),
            ("NaN", NotExact),
            ("inf", NotExact),
            ("", NotExact),
            (".", NotExact),
            ("1.", NotExact),
            (".5", NotExact),
            ("1_000", NotExact),
            ("0x10", NotExact),
            (" 1", NotExact),
            ("+1", NotExact),
            ("1e", NotExact),
            ("0.00499999999999999999999999999999999999999", NotExact),
            ("99999999999999999999999999999999999999", NotExact),
        ] {
            assert_eq!(Money::parse_amount(text), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_amount_prints_as_it_reads(minor in 1..=Money::MAX_AMOUNT.0) {
            prop_assert_eq!(Money::parse_amount(&Money(minor).to_string()), Ok(Money(minor)));
        }

        #[test]
        fn no_text_panics(text in "[-+0-9.eE]{0,70}") {
            let _ = Money::parse_amount(&text);
        }
    }
}
