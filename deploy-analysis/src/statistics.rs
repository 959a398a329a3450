//! The tests that a version is judged by: exact where counts are small, since errors are rare. Pure arithmetic; knows of no
//! deploy.
//!
//! It must never be given counts that are not of independent requests of the same kind: the caller
//! compares like with like.

/// Below this, what is left of a sum does not matter any more.
const NEGLIGIBLE: f64 = 1e-18;
/// Numbers of requests beyond this are not asked for.
pub const NEEDED_MAX: u64 = 10_000_000;

/// ln(n!), exact for small n, by Stirling's series beyond.
fn ln_factorial(n: u64) -> f64 {
    if n < 16 {
        return (2..=n).map(|k| (k as f64).ln()).sum();
    }
    let x = n as f64 + 1.0;
    (x - 0.5) * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI).ln() + 1.0 / (12.0 * x) - 1.0 / (360.0 * x.powi(3))
}

fn ln_choose(n: u64, k: u64) -> f64 {
    ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k)
}

/// Errors of all requests of one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Errors {
    pub errors: u64,
    pub requests: u64,
}

impl Errors {
    /// 0 of none.
    pub fn rate(self) -> f64 {
        self.errors as f64 / self.requests.max(1) as f64
    }
}

/// Fisher's exact test, one-sided: how likely so many of all errors would have met `tried`, or more, if both sides were
/// alike. 1 where there is nothing to compare.
pub fn more_errors(tried: Errors, control: Errors) -> f64 {
    let (all, errors) = (tried.requests + control.requests, tried.errors + control.errors);
    if errors == 0 || tried.requests == 0 || control.requests == 0 {
        return 1.0;
    }
    let whole = ln_choose(all, errors);
    let mut sum = 0.0;
    for k in tried.errors.max(errors.saturating_sub(control.requests))..=errors.min(tried.requests) {
        let term = (ln_choose(tried.requests, k) + ln_choose(control.requests, errors - k) - whole).exp();
        sum += term;
        // Terms fall from the expected count on.
        if term < NEGLIGIBLE && k as f64 > errors as f64 * tried.requests as f64 / all as f64 {
            break;
        }
    }
    sum.min(1.0)
}

/// The largest number of errors that `n` requests, failing with probability `p` each, reach with probability `power`. `p` is
/// below 1.
pub fn errors_met(n: u64, p: f64, power: f64) -> u64 {
    let mean = n as f64 * p;
    // What lies further below has no weight.
    let first = (mean - 10.0 * (mean * (1.0 - p)).sqrt()).max(0.0) as u64;
    let at_first = match first {
        0 => n as f64 * (1.0 - p).ln(),
        k => ln_choose(n, k) + k as f64 * p.ln() + (n - k) as f64 * (1.0 - p).ln(),
    };
    let (mut errors, mut exactly) = (first, at_first.exp());
    let mut fewer = 0.0;
    while errors < n && fewer + exactly <= 1.0 - power {
        fewer += exactly;
        exactly *= (n - errors) as f64 / (errors + 1) as f64 * (p / (1.0 - p));
        errors += 1;
    }
    errors
}

/// The least number of requests that `tells`, within a step of 1 in 64: errors are whole, and make steps of it. What is
/// found tells. `None`: no number does.
pub fn least_requests(tells: impl Fn(u64) -> bool) -> Option<u64> {
    let mut high = 8;
    while !tells(high) {
        if high >= NEEDED_MAX {
            return None;
        }
        high = (high * 2).min(NEEDED_MAX);
    }
    let mut low = high / 2;
    while high - low > (high / 64).max(1) {
        let middle = low + (high - low) / 2;
        if tells(middle) { high = middle } else { low = middle }
    }
    Some(high)
}

/// The rank-sum test of Mann and Whitney, one-sided, with the correction for ties, on counts by ascending classes: how likely
/// `tried` would lie so high above `control` if both were alike. 1 where there is nothing to compare.
pub fn slower(tried: &[u64], control: &[u64]) -> f64 {
    let (n, m) = (tried.iter().sum::<u64>() as f64, control.iter().sum::<u64>() as f64);
    if n == 0.0 || m == 0.0 {
        return 1.0;
    }
    // How often one of `tried` lies above one of `control`; ties count half.
    let (mut above, mut below, mut ties) = (0.0, 0.0, 0.0);
    for (&t, &c) in tried.iter().zip(control) {
        let (t, c) = (t as f64, c as f64);
        above += t * (below + c / 2.0);
        below += c;
        ties += (t + c).powi(3) - (t + c);
    }
    let all = n + m;
    let variance = n * m / 12.0 * ((all + 1.0) - ties / (all * (all - 1.0)));
    if variance <= 0.0 {
        return 1.0;
    }
    // Half a step towards the middle: ranks are whole.
    upper_tail((above - n * m / 2.0 - 0.5) / variance.sqrt())
}

/// How likely a normal deviate is above `z`; its relative error is below 2e-7 everywhere.
fn upper_tail(z: f64) -> f64 {
    let x = z / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.5 * x.abs());
    // Chebyshev's fit to the complementary error function.
    const FIT: [f64; 10] = [
        -1.265_512_23,
        1.000_023_68,
        0.374_091_96,
        0.096_784_18,
        -0.186_288_06,
        0.278_868_07,
        -1.135_203_98,
        1.488_515_87,
        -0.822_152_23,
        0.170_872_77,
    ];
    let fit = FIT.iter().rev().fold(0.0, |sum, factor| sum * t + factor);
    let tail = 0.5 * t * (-x * x + fit).exp();
    if x >= 0.0 { tail } else { 1.0 - tail }
}

#[cfg(test)]
mod tests;
