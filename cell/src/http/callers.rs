//! Places for answers that last, so many for all and so many for each caller: one caller cannot take them all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::HeaderMap;
use topology::wire;

pub struct Places {
    most: usize,
    of_each: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    by_caller: HashMap<String, usize>,
}

/// A caller's place; free again when it is dropped.
pub struct CallerPlace {
    places: Arc<Places>,
    caller: String,
}

/// The caller: as the router verified it, else the address that the request comes from.
pub fn caller(headers: &HeaderMap) -> String {
    let said = headers.get(wire::ACTOR).or_else(|| headers.get(wire::FORWARDED_FOR));
    said.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).unwrap_or_default()
}

impl Places {
    pub fn new(most: usize, of_each: usize) -> Arc<Self> {
        Arc::new(Self { most, of_each, taken: Mutex::default() })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        // Nothing panics while it is held.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn enter(self: &Arc<Self>, caller: String) -> Option<CallerPlace> {
        let mut taken = self.taken();
        let by_caller = taken.by_caller.get(&caller).copied().unwrap_or(0);
        if taken.all >= self.most || by_caller >= self.of_each {
            return None;
        }
        taken.all += 1;
        taken.by_caller.insert(caller.clone(), by_caller + 1);
        Some(CallerPlace { places: Arc::clone(self), caller })
    }
}

impl Drop for CallerPlace {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.all -= 1;
        if let Some(by_caller) = taken.by_caller.get_mut(&self.caller) {
            *by_caller -= 1;
            if *by_caller == 0 {
                taken.by_caller.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_caller_cannot_take_all_places() {
        let places = Places::new(4, 2);
        let enter = |caller: &str| places.enter(caller.to_owned());
        let of_ann = [enter("ann"), enter("ann")];
        assert!(of_ann.iter().all(Option::is_some) && enter("ann").is_none());
        let of_others = [enter("bob"), enter("eve")];
        assert!(of_others.iter().all(Option::is_some) && enter("joe").is_none(), "all are taken");
        drop(of_ann);
        assert!(!places.taken().by_caller.contains_key("ann"), "a caller without a place is forgotten");
        assert!(enter("ann").is_some() && enter("joe").is_some());
    }
}
