//! What a cell takes on at once: bulkheads between kinds of requests, each with a limit that follows its latency, and the
//! cell's declared rate of writes. Decides before anything of a request is done.
//!
//! The bulkheads keep a flood of one kind from the others: a client that creates wallets or reads
//! histories without end uses up only the places of its own class. What cells ask of one another
//! has places that the public cannot take, and no rate: refusing a credit would leave money in
//! flight.
//!
//! The state machines below this are pure; this module adds the lock and the clock. It must never wait.

pub mod concurrency;
pub mod rate;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::{counter, gauge};
use tokio::time::Instant;

use concurrency::{Bounds, Limiter};
use rate::Bucket;
pub use topology::endpoint::Class;

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shed {
    /// More writes a second than the cell is declared to take.
    Rate,
    /// More requests of the class at once than answer in time.
    Concurrency,
}

/// How much of the declared rate may go into new wallets, as one part in so many.
const ACCOUNTS_SHARE: u32 = 4;
/// Of what the writes have left for the moment, this part is kept from new wallets: one in so many.
const ACCOUNTS_RESERVE: u32 = 2;
/// Internal requests at once. Not adaptive: it bounds memory, nothing else.
const INTERNAL_MAX: u32 = 1_024;

/// Places: at least so many however slow everything is, so many at first, and never more.
///
/// The least is what keeps a database of one lock busy with room to spare; a hot wallet makes one block of it.
fn bounds(class: Class) -> Bounds {
    match class {
        Class::Movement => Bounds { least: 64, first: 256, most: 1_024 },
        // Most of them wait for another cell, which may not answer: there have to be places for the others.
        Class::Transfers => Bounds { least: 64, first: 256, most: 1_024 },
        Class::Accounts => Bounds { least: 8, first: 32, most: 128 },
        Class::Reads => Bounds { least: 16, first: 128, most: 512 },
        // One of them keeps the database as busy as many of the others.
        Class::History => Bounds { least: 4, first: 16, most: 256 },
        Class::Internal => Bounds { least: INTERNAL_MAX, first: INTERNAL_MAX, most: INTERNAL_MAX },
    }
}

impl Shed {
    pub fn name(self) -> &'static str {
        match self {
            Shed::Rate => "rate",
            Shed::Concurrency => "concurrency",
        }
    }
}

struct State {
    limiters: [Limiter; Class::ALL.len()],
    /// All writes, and those of new wallets.
    writes: Bucket,
    accounts: Bucket,
}

impl State {
    fn admit(&mut self, class: Class, now: Duration) -> Result<(), Shed> {
        if !self.limiters[class as usize].has_room() {
            return Err(Shed::Concurrency);
        }
        match class {
            Class::Movement | Class::Transfers => self.writes.take(now).map_err(|_| Shed::Rate)?,
            Class::Accounts => {
                // New wallets get what moving money leaves them.
                if !self.writes.has_left(now, ACCOUNTS_RESERVE) {
                    return Err(Shed::Rate);
                }
                self.accounts.take(now).map_err(|_| Shed::Rate)?;
                self.writes.charge(now);
            }
            Class::Internal => self.writes.charge(now),
            Class::Reads | Class::History => {}
        }
        self.limiters[class as usize].enter();
        Ok(())
    }
}

/// What all requests of an instance share.
pub struct Admission {
    began: Instant,
    state: Mutex<State>,
}

impl Admission {
    /// `writes_a_second`: 0 is without limit.
    pub fn new(writes_a_second: u32) -> Arc<Self> {
        let state = State {
            limiters: Class::ALL.map(|class| Limiter::new(bounds(class))),
            writes: Bucket::new(writes_a_second),
            accounts: Bucket::new(writes_a_second.div_ceil(ACCOUNTS_SHARE)),
        };
        Arc::new(Self { began: Instant::now(), state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing below panics while it is held; if it did, the numbers would be off by one request.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place, or why there is none. Nothing may have been done before.
    pub fn admit(self: &Arc<Self>, class: Class) -> Result<ClassPlace, Shed> {
        let now = Instant::now();
        let admitted = self.state().admit(class, now - self.began);
        match admitted {
            Ok(()) => Ok(ClassPlace { admission: Arc::clone(self), class, since: now, took: None }),
            Err(why) => {
                counter!("cell_shed_total", "class" => class.name(), "reason" => why.name()).increment(1);
                Err(why)
            }
        }
    }

    /// Brings the gauges up to date; called when metrics are read.
    pub fn publish(&self) {
        let state = self.state();
        for class in Class::ALL {
            let limiter = &state.limiters[class as usize];
            gauge!("cell_admission_limit", "class" => class.name()).set(f64::from(limiter.limit()));
            gauge!("cell_admission_in_flight", "class" => class.name()).set(f64::from(limiter.in_flight()));
        }
    }
}

/// A request's place; free again when it is dropped, however the request ends. An answer holds it until its last byte.
pub struct ClassPlace {
    admission: Arc<Admission>,
    class: Class,
    since: Instant,
    /// How long its work took, if that says something about the cell.
    took: Option<Duration>,
}

impl ClassPlace {
    /// The request has done the whole of its work: how long that took counts. What was found wrong at once does not, nor
    /// how long the caller takes to read the answer.
    pub fn worked(&mut self) {
        self.took = Some(Instant::now() - self.since);
    }
}

impl Drop for ClassPlace {
    fn drop(&mut self) {
        let now = Instant::now();
        self.admission.state().limiters[self.class as usize].leave(now - self.admission.began, self.took);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(rate: u32) -> State {
        State {
            limiters: Class::ALL.map(|class| Limiter::new(bounds(class))),
            writes: Bucket::new(rate),
            accounts: Bucket::new(rate.div_ceil(ACCOUNTS_SHARE)),
        }
    }

    #[test]
    fn a_flood_of_one_class_leaves_the_places_of_the_others() {
        for flooded in Class::ALL {
            let mut state = state(0);
            while state.admit(flooded, Duration::ZERO).is_ok() {}
            for class in Class::ALL.into_iter().filter(|class| *class != flooded) {
                assert_eq!(state.admit(class, Duration::ZERO), Ok(()), "{class:?} while {flooded:?} is full");
            }
        }
    }

    #[test]
    fn new_wallets_get_at_most_a_quarter_of_the_rate() {
        let served = |state: &mut State, class: Class, at: Duration| {
            let admitted = state.admit(class, at).is_ok();
            if admitted {
                state.limiters[class as usize].leave(at, None);
            }
            u32::from(admitted)
        };
        // Creations at five times the rate, alone and beside money at just the rate; ten seconds each.
        let (mut alone, mut beside, mut money) = (0, 0, 0);
        let (mut quiet, mut busy) = (state(1_000), state(1_000));
        for millisecond in 0..10_000 {
            let at = Duration::from_millis(millisecond);
            money += served(&mut busy, Class::Movement, at);
            for _ in 0..5 {
                alone += served(&mut quiet, Class::Accounts, at);
                beside += served(&mut busy, Class::Accounts, at);
            }
        }
        assert!((2_400..2_700).contains(&alone), "{alone}");
        assert!(money > 9_900, "{money} of 10,000 movements");
        assert!(beside < 300, "{beside} creations beside them");
    }

    #[test]
    fn credits_pass_beyond_the_rate_and_the_public_waits() {
        let mut state = state(100);
        while state.admit(Class::Movement, Duration::ZERO).is_ok() {}
        for _ in 0..500 {
            assert_eq!(state.admit(Class::Internal, Duration::ZERO), Ok(()));
        }
        assert_eq!(state.admit(Class::Movement, Duration::from_millis(5)), Err(Shed::Rate));
    }

    #[tokio::test]
    async fn a_place_is_free_again_however_its_request_ends() {
        let admission = Admission::new(0);
        for _ in 0..10_000 {
            let mut place = admission.admit(Class::Movement).expect("there is room");
            place.worked();
        }
        assert_eq!(admission.state().limiters[Class::Movement as usize].in_flight(), 0);
    }
}
