//! Which steps of an operation are done, while several are carried out side by side. Pure.
//!
//! It must never hold a step as done that is further from the first undone one than [`SIDE_BY_SIDE`]: none is begun
//! beyond, and what an abort takes back is looked for no further.

/// Most steps of one operation that are carried out at once.
pub const SIDE_BY_SIDE: u64 = 8;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DoneSteps {
    /// All with lower numbers are done, and the one with this number is not.
    pub before: u64,
    /// Bit i: whether the step `before + 1 + i` is done.
    pub ahead: u64,
}

impl DoneSteps {
    pub fn contains(self, step: u64) -> bool {
        match step.checked_sub(self.before) {
            None => true,
            Some(0) => false,
            Some(distance) => distance < SIDE_BY_SIDE && self.ahead >> (distance - 1) & 1 == 1,
        }
    }

    pub fn with(mut self, step: u64) -> Self {
        match step.checked_sub(self.before) {
            None => {}
            Some(0) => {
                let more = self.ahead.trailing_ones();
                self.before += 1 + u64::from(more);
                self.ahead >>= more + 1;
            }
            Some(distance) => {
                assert!(distance < SIDE_BY_SIDE, "step {step} was begun too early");
                self.ahead |= 1 << (distance - 1);
            }
        }
        self
    }

    pub fn count(self) -> u64 {
        self.before + u64::from(self.ahead.count_ones())
    }

    /// The steps of `steps` that may be under way.
    pub fn undone(self, steps: u64) -> impl Iterator<Item = u64> {
        (self.before..steps.min(self.before + SIDE_BY_SIDE)).filter(move |&step| !self.contains(step))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_done_in_any_order() {
        // Step by step: how many are done from the first on, how many in all, and which may be under way of 10.
        let cases: [(u64, u64, u64, &[u64]); 6] = [
            (2, 0, 1, &[0, 1, 3, 4, 5, 6, 7]),
            (7, 0, 2, &[0, 1, 3, 4, 5, 6]),
            (0, 1, 3, &[1, 3, 4, 5, 6, 8]),
            (1, 3, 4, &[3, 4, 5, 6, 8, 9]),
            (1, 3, 4, &[3, 4, 5, 6, 8, 9]),
            (3, 4, 5, &[4, 5, 6, 8, 9]),
        ];
        let mut done = DoneSteps::default();
        for (step, before, count, undone) in cases {
            done = done.with(step);
            assert_eq!((done.before, done.count()), (before, count), "{step}");
            assert_eq!(done.undone(10).collect::<Vec<_>>(), undone, "{step}");
            assert!(done.contains(step) && !undone.iter().any(|&step| done.contains(step)));
        }
        let all = (0..10).fold(done, DoneSteps::with);
        assert_eq!((all, all.undone(10).count()), (DoneSteps { before: 10, ahead: 0 }, 0));
    }
}
