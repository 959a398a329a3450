//! How much of its time a router gives to one wallet, and to all of them: two token buckets, one for each wallet and
//! one for the process, shared by its worker threads.
//!
//! A write takes a whole token and a read a fifth of one, which is the ratio of their costs in the
//! tables. Buckets are kept as the time at which they will be full again (GCRA): one number each,
//! without a task that refills them. They are this process's own: of N routers each allows what its
//! flag says, so each gets an N-th.
//!
//! It must never ask a clock or wait, nor grow with the number of wallets that are asked for.

mod table;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use topology::WalletId;

use table::Table;

/// Tokens a second; 0: without limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    pub all: u32,
    pub wallet: u32,
}

/// What a bucket holds when it is full, as the time it takes to fill it: a burst is what comes in so long.
const WINDOW: Duration = Duration::from_secs(1);
const WINDOW_NS: u64 = 1_000_000_000;
/// Reads that cost as much as one write.
const READS_PER_WRITE: u64 = 5;

/// Which bucket was empty. Also its name in headers and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Wallet,
    Router,
}

impl Scope {
    pub fn name(self) -> &'static str {
        match self {
            Scope::Wallet => "wallet",
            Scope::Router => "router",
        }
    }

    pub fn whose(self) -> &'static str {
        match self {
            Scope::Wallet => "one wallet",
            Scope::Router => "all wallets together",
        }
    }
}

/// Too soon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    pub scope: Scope,
    /// Until it would have been allowed.
    pub wait: Duration,
}

impl Refused {
    /// Whole seconds, at least one: how `Retry-After` counts.
    pub fn wait_s(&self) -> u64 {
        u64::try_from(self.wait.as_millis().div_ceil(1_000)).unwrap_or(u64::MAX).max(1)
    }
}

/// What is left, in whole writes, of each bucket that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    wallet: Option<u64>,
    router: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    Read,
    Write,
}

impl Weight {
    pub fn of(method: &Method) -> Self {
        if matches!(*method, Method::GET | Method::HEAD) { Weight::Read } else { Weight::Write }
    }
}

/// What one token costs, as a time.
#[derive(Debug, Clone, Copy)]
struct Price {
    write_ns: u64,
}

/// A request that a bucket allows: when the bucket would be full again after it, and how many writes are left in it.
struct Allowed {
    full_at: u64,
    left: u64,
}

impl Price {
    /// None: without limit.
    fn of(tokens_a_second: u32) -> Option<Self> {
        WINDOW_NS
            .checked_div(u64::from(tokens_a_second))
            .map(|write_ns| Self { write_ns: write_ns.max(READS_PER_WRITE) })
    }

    /// For a bucket that will be full at `full_at`; the error is how long it is too soon.
    fn take(self, full_at: u64, now: u64, weight: Weight) -> Result<Allowed, Duration> {
        let cost = match weight {
            Weight::Write => self.write_ns,
            Weight::Read => self.write_ns / READS_PER_WRITE,
        };
        let full_at = full_at.max(now).saturating_add(cost);
        let used = full_at - now;
        match WINDOW_NS.checked_sub(used) {
            Some(left) => Ok(Allowed { full_at, left: left / self.write_ns }),
            None => Err(Duration::from_nanos(used - WINDOW_NS)),
        }
    }
}

pub struct Limiter {
    /// All times are counted from here.
    began: Instant,
    router: Option<(Price, AtomicU64)>,
    wallets: Option<(Price, Table)>,
    policy: HeaderValue,
}

impl Limiter {
    pub fn new(rates: Rates, began: Instant) -> Self {
        Self {
            began,
            router: Price::of(rates.all).map(|price| (price, AtomicU64::new(0))),
            wallets: Price::of(rates.wallet).map(|price| (price, Table::new())),
            policy: policy(rates),
        }
    }

    /// Takes what a request costs out of both buckets, or out of neither. None where nothing is limited.
    pub fn take(&self, wallet: WalletId, weight: Weight, now: Instant) -> Result<Option<Left>, Refused> {
        let now = u64::try_from(now.saturating_duration_since(self.began).as_nanos()).unwrap_or(u64::MAX);
        let refused = |scope| move |wait| Refused { scope, wait };
        let Some((price, table)) = &self.wallets else {
            let router = self.take_of_all(now, weight).map_err(refused(Scope::Router))?;
            return Ok(router.map(|left| Left { wallet: None, router: Some(left) }));
        };
        table.with(wallet, |full_at| {
            let allowed = price.take(*full_at, now, weight).map_err(refused(Scope::Wallet))?;
            // The wallet pays only for what all may still do; and one that is refused takes nothing from the others.
            let router = self.take_of_all(now, weight).map_err(refused(Scope::Router))?;
            *full_at = allowed.full_at;
            Ok(Some(Left { wallet: Some(allowed.left), router }))
        })
    }

    fn take_of_all(&self, now: u64, weight: Weight) -> Result<Option<u64>, Duration> {
        let Some((price, bucket)) = &self.router else { return Ok(None) };
        let mut full_at = bucket.load(Ordering::Relaxed);
        loop {
            let allowed = price.take(full_at, now, weight)?;
            match bucket.compare_exchange_weak(full_at, allowed.full_at, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(Some(allowed.left)),
                Err(other) => full_at = other,
            }
        }
    }

    /// Says on an answer what is left.
    pub fn describe(&self, left: Left, headers: &mut HeaderMap) {
        let item = |scope: Scope, left| (scope.name(), left, WINDOW.as_secs());
        let wallet = left.wallet.map(|left| item(Scope::Wallet, left));
        let router = left.router.map(|left| item(Scope::Router, left));
        self.write(wallet.into_iter().chain(router), headers);
    }

    /// Says on a refusal which bucket is empty, and for how long.
    pub fn describe_refusal(&self, refused: &Refused, headers: &mut HeaderMap) {
        self.write([(refused.scope.name(), 0, refused.wait_s())].into_iter(), headers);
    }

    fn write(&self, items: impl Iterator<Item = (&'static str, u64, u64)>, headers: &mut HeaderMap) {
        use std::fmt::Write;
        let mut text = String::with_capacity(64);
        for (name, left, reset_s) in items {
            let comma = if text.is_empty() { "" } else { ", " };
            write!(text, "{comma}\"{name}\";r={left};t={reset_s}").expect("a string takes everything");
        }
        headers.insert(RATE_LIMIT, HeaderValue::try_from(text).expect("visible ASCII"));
        headers.insert(RATE_LIMIT_POLICY, self.policy.clone());
    }
}

/// draft-ietf-httpapi-ratelimit-headers-10: a list of policies (`q`: quota, `w`: window in seconds), and for each what
/// remains (`r`) and the seconds until it is whole again (`t`).
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");

fn policy(rates: Rates) -> HeaderValue {
    let window_s = WINDOW.as_secs();
    let limited = [(Scope::Wallet, rates.wallet), (Scope::Router, rates.all)].into_iter().filter(|(_, rate)| *rate > 0);
    let items: Vec<_> = limited.map(|(scope, rate)| format!("\"{}\";q={rate};w={window_s}", scope.name())).collect();
    HeaderValue::try_from(items.join(", ")).expect("visible ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;
    use topology::UserId;
    use uuid::Uuid;

    fn wallet(number: u32) -> WalletId {
        WalletId::for_user(Uuid::from_u128(7), &UserId::parse(format!("user-{number}")).expect("sound"))
    }

    fn text(headers: &HeaderMap, name: &str) -> String {
        headers[name].to_str().expect("ASCII").to_owned()
    }

    #[test]
    fn a_wallet_gets_its_rate_and_a_burst_of_a_second_and_no_more() {
        let began = Instant::now();
        let limiter = Limiter::new(Rates { all: 0, wallet: 10 }, began);
        let mut allowed = 0;
        // Ten times as fast as allowed, for ten seconds.
        for step in 0..1_000_u64 {
            let now = began + Duration::from_millis(step * 10);
            allowed += u32::from(limiter.take(wallet(1), Weight::Write, now).is_ok());
        }
        assert!((108..=110).contains(&allowed), "{allowed}");
        let reads = (0..1_000).filter(|_| limiter.take(wallet(2), Weight::Read, began).is_ok()).count();
        assert_eq!(reads, 50, "a read is a fifth of a write");
    }

    #[test]
    fn one_wallet_at_its_limit_takes_nothing_from_the_others() {
        let began = Instant::now();
        let limiter = Limiter::new(Rates { all: 30, wallet: 10 }, began);
        for _ in 0..1_000 {
            let _ = limiter.take(wallet(1), Weight::Write, began);
        }
        let refused = limiter.take(wallet(1), Weight::Write, began).expect_err("it is at its limit");
        assert_eq!((refused.scope, refused.wait_s()), (Scope::Wallet, 1));
        for other in [2, 3] {
            for _ in 0..10 {
                limiter.take(wallet(other), Weight::Write, began).expect("there is room for three wallets");
            }
        }
        let refused = limiter.take(wallet(4), Weight::Write, began).expect_err("all together are at the limit");
        assert_eq!(refused.scope, Scope::Router);
        // What all together were refused, the wallet has not spent.
        let later = began + Duration::from_millis(400);
        assert_eq!((0..20).filter(|_| limiter.take(wallet(4), Weight::Write, later).is_ok()).count(), 10);
    }

    #[test]
    fn the_headers_say_what_is_left_and_what_was_promised() {
        let began = Instant::now();
        let limiter = Limiter::new(Rates { all: 100, wallet: 2 }, began);
        let mut headers = HeaderMap::new();
        let left = limiter.take(wallet(1), Weight::Write, began).expect("the first").expect("limited");
        limiter.describe(left, &mut headers);
        assert_eq!(text(&headers, "ratelimit"), r#""wallet";r=1;t=1, "router";r=99;t=1"#);
        assert_eq!(text(&headers, "ratelimit-policy"), r#""wallet";q=2;w=1, "router";q=100;w=1"#);
        limiter.take(wallet(1), Weight::Write, began).expect("the second");
        let refused = limiter.take(wallet(1), Weight::Write, began).expect_err("the third");
        limiter.describe_refusal(&refused, &mut headers);
        assert_eq!(text(&headers, "ratelimit"), r#""wallet";r=0;t=1"#);
    }

    #[test]
    fn without_rates_nothing_is_limited_and_nothing_said() {
        let began = Instant::now();
        let limiter = Limiter::new(Rates { all: 0, wallet: 0 }, began);
        assert!((0..100_000).all(|_| limiter.take(wallet(1), Weight::Write, began) == Ok(None)));
    }

    #[test]
    fn threads_together_get_no_more_than_one_alone() {
        let began = Instant::now();
        let limiter = Limiter::new(Rates { all: 1_000, wallet: 700 }, began);
        let allowed: usize = std::thread::scope(|scope| {
            let take = |number| {
                let limiter = &limiter;
                let one = move |_: &i32| limiter.take(wallet(number), Weight::Write, began).is_ok();
                scope.spawn(move || (0..2_000).filter(one).count())
            };
            let threads: Vec<_> = [1, 1, 2, 3].map(take).into();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        });
        assert_eq!(allowed, 1_000);
    }

    /// Beyond any chance: the bound of the hot path is a microsecond, and this is a build for tests.
    #[test]
    fn a_decision_costs_far_less_than_a_request() {
        const DECISIONS: u32 = 100_000;
        let began = Instant::now();
        let limiter = Limiter::new(Rates { all: u32::MAX, wallet: u32::MAX }, began);
        let wallets: Vec<_> = (0..1_000).map(wallet).collect();
        for wallet in wallets.iter().cycle().take(DECISIONS as usize) {
            let _ = limiter.take(*wallet, Weight::Read, Instant::now());
        }
        let each = began.elapsed() / DECISIONS;
        eprintln!("{} ns a decision, reading the clock included", each.as_nanos());
        assert!(each < Duration::from_micros(20), "{each:?}");
    }
}
