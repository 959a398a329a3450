//! An amount that is taken is within the limits, prints as what it is, and where it is a plain decimal number, is what
//! rounding its digits by hand gives.
#![no_main]

use ledger::Money;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let read = Money::parse_amount(text);
    if let Ok(amount) = read {
        assert!((Money::MIN_AMOUNT..=Money::MAX_AMOUNT).contains(&amount), "{amount}");
        assert_eq!(Money::parse_amount(&amount.to_string()), Ok(amount), "it is read as it is printed");
    }
    if let Some(minor) = by_hand(text) {
        let within = (Money::MIN_AMOUNT.minor()..=Money::MAX_AMOUNT.minor()).contains(&minor);
        assert_eq!(read.ok().map(Money::minor), within.then_some(minor), "{text}");
    }
});

/// Of `digits` or `digits.digits` without an exponent, short enough to be certain: cents, rounded half up.
fn by_hand(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |part: &str| (1..=12).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let digit = |position: usize| fraction.as_bytes().get(position).map_or(0, |byte| u64::from(byte - b'0'));
    let cents = whole.parse::<u64>().ok()? * 100 + digit(0) * 10 + digit(1);
    Some(cents + u64::from(digit(2) >= 5))
}
