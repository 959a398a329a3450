//! Which state a deploy is in after what happens to it. Pure: a table.
//!
//! It must never begin a wave that was not let through: only `Begin`, `Pass` and `Promote` lead to
//! one.

use control_api::DeployState::{
    self, Baking, Done, Failed, Held, Observing, Paused, Planned, RolledBack, Rolling, RollingBack, Undecided,
};

/// What happens to a deploy: requested by an operator, or found out by the worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Pause,
    Resume,
    /// On to the next wave, by an operator's word.
    Promote,
    Rollback,
    Begin,
    /// The wave's cells have been watched as they were.
    Observed,
    /// All of the wave's instances run the version.
    Replaced,
    /// The wave is sound, and another one follows.
    Pass,
    /// The last wave is sound, or was called so.
    Finish,
    /// The version is worse, or cannot be run.
    Worse,
    /// These figures do not decide.
    Doubt,
    /// Everything is as it was before.
    Restored,
    /// It cannot be put back.
    Fail,
}

impl Event {
    pub const ALL: [Self; 13] = [
        Self::Pause,
        Self::Resume,
        Self::Promote,
        Self::Rollback,
        Self::Begin,
        Self::Observed,
        Self::Replaced,
        Self::Pass,
        Self::Finish,
        Self::Worse,
        Self::Doubt,
        Self::Restored,
        Self::Fail,
    ];
}

impl From<Event> for &'static str {
    fn from(event: Event) -> Self {
        match event {
            Event::Pause => "pause",
            Event::Resume => "resume",
            Event::Promote => "promote",
            Event::Rollback => "rollback",
            Event::Begin => "begin",
            Event::Observed => "observed",
            Event::Replaced => "replaced",
            Event::Pass => "pass",
            Event::Finish => "finish",
            Event::Worse => "worse",
            Event::Doubt => "doubt",
            Event::Restored => "restored",
            Event::Fail => "fail",
        }
    }
}

/// `None`: this cannot happen to a deploy in this state.
pub fn after(state: DeployState, event: Event) -> Option<DeployState> {
    match (state, event) {
        (Planned, Event::Begin) => Some(Observing),
        (Planned | Observing, Event::Pause) => Some(Held),
        (Held, Event::Resume) => Some(Observing),
        (Observing, Event::Observed) => Some(Rolling),
        (Rolling, Event::Pause) => Some(Paused),
        (Paused, Event::Resume) => Some(Rolling),
        (Rolling, Event::Replaced) => Some(Baking),
        (Baking, Event::Pause | Event::Doubt) => Some(Undecided),
        (Undecided, Event::Resume) => Some(Baking),
        (Baking, Event::Pass) | (Baking | Undecided, Event::Promote) => Some(Observing),
        (Baking | Undecided, Event::Finish) => Some(Done),
        (Observing | Rolling | Baking, Event::Worse) => Some(RollingBack),
        (Planned | Observing | Rolling | Baking | Held | Paused | Undecided | Done | Failed, Event::Rollback) => {
            Some(RollingBack)
        }
        (RollingBack, Event::Restored) => Some(RolledBack),
        (RollingBack, Event::Fail) => Some(Failed),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One row for each state; one column for each event, in the order of `Event::ALL`.
    #[test]
    fn every_event_in_every_state() {
        let no = None;
        let (obs, rol, bak) = (Some(Observing), Some(Rolling), Some(Baking));
        let (hel, pau, und) = (Some(Held), Some(Paused), Some(Undecided));
        let (bac, don, rbd, fai) = (Some(RollingBack), Some(Done), Some(RolledBack), Some(Failed));
        #[rustfmt::skip]
        let table = [
            //             pause resume promote rollback begin observed replaced pass finish worse doubt restored fail
            (Planned,     [hel,  no,    no,     bac,     obs,  no,      no,      no,  no,    no,   no,   no,      no]),
            (Observing,   [hel,  no,    no,     bac,     no,   rol,     no,      no,  no,    bac,  no,   no,      no]),
            (Rolling,     [pau,  no,    no,     bac,     no,   no,      bak,     no,  no,    bac,  no,   no,      no]),
            (Baking,      [und,  no,    obs,    bac,     no,   no,      no,      obs, don,   bac,  und,  no,      no]),
            (Held,        [no,   obs,   no,     bac,     no,   no,      no,      no,  no,    no,   no,   no,      no]),
            (Paused,      [no,   rol,   no,     bac,     no,   no,      no,      no,  no,    no,   no,   no,      no]),
            (Undecided,   [no,   bak,   obs,    bac,     no,   no,      no,      no,  don,   no,   no,   no,      no]),
            (RollingBack, [no,   no,    no,     no,      no,   no,      no,      no,  no,    no,   no,   rbd,     fai]),
            (Done,        [no,   no,    no,     bac,     no,   no,      no,      no,  no,    no,   no,   no,      no]),
            (RolledBack,  [no,   no,    no,     no,      no,   no,      no,      no,  no,    no,   no,   no,      no]),
            (Failed,      [no,   no,    no,     bac,     no,   no,      no,      no,  no,    no,   no,   no,      no]),
        ];
        assert_eq!(table.map(|(state, _)| state), DeployState::ALL);
        for (state, expected) in table {
            for (event, expected) in Event::ALL.into_iter().zip(expected) {
                assert_eq!(after(state, event), expected, "{state:?} {event:?}");
            }
        }
    }
}
