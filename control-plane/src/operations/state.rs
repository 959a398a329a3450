//! Which state an operation is in after what happens to it. Pure: a table.
//!
//! It must never let an operation that is over begin again: its claims on buckets are given up by then.

use control_api::OperationState::{self, Aborted, Aborting, Done, Failed, Paused, Pausing, Planned, Running};

/// What happens to an operation: requested by an operator, or found out by the worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Pause,
    /// Also tries a failed one again.
    Resume,
    Abort,
    /// Abort without taking back the steps in progress.
    GiveUp,
    Begin,
    /// What was in progress has come to rest: paused, or taken back.
    Settle,
    Finish,
    Fail,
}

impl Event {
    pub const ALL: [Self; 8] =
        [Self::Pause, Self::Resume, Self::Abort, Self::GiveUp, Self::Begin, Self::Settle, Self::Finish, Self::Fail];
}

impl From<Event> for &'static str {
    fn from(event: Event) -> Self {
        match event {
            Event::Pause => "pause",
            Event::Resume => "resume",
            Event::Abort => "abort",
            Event::GiveUp => "give_up",
            Event::Begin => "begin",
            Event::Settle => "settle",
            Event::Finish => "finish",
            Event::Fail => "fail",
        }
    }
}

/// `None`: this cannot happen to an operation in this state.
pub fn after(state: OperationState, event: Event) -> Option<OperationState> {
    match (state, event) {
        (Planned, Event::Begin) => Some(Running),
        (Planned, Event::Pause) => Some(Paused),
        (Running, Event::Pause) => Some(Pausing),
        (Pausing | Paused | Failed, Event::Resume) => Some(Running),
        (Planned | Running | Pausing | Paused | Failed, Event::Abort) => Some(Aborting),
        (Failed | Aborting, Event::GiveUp) => Some(Aborted),
        (Pausing, Event::Settle) => Some(Paused),
        (Aborting, Event::Settle) => Some(Aborted),
        (Running | Pausing, Event::Finish) => Some(Done),
        (Planned | Running | Pausing | Aborting, Event::Fail) => Some(Failed),
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
        let (running, pausing, paused) = (Some(Running), Some(Pausing), Some(Paused));
        let (aborting, aborted, done, failed) = (Some(Aborting), Some(Aborted), Some(Done), Some(Failed));
        #[rustfmt::skip]
        let table = [
            //          pause    resume   abort     give up  begin    settle   finish  fail
            (Planned,  [paused,  no,      aborting, no,      running, no,      no,     failed]),
            (Running,  [pausing, no,      aborting, no,      no,      no,      done,   failed]),
            (Pausing,  [no,      running, aborting, no,      no,      paused,  done,   failed]),
            (Paused,   [no,      running, aborting, no,      no,      no,      no,     no]),
            (Aborting, [no,      no,      no,       aborted, no,      aborted, no,     failed]),
            (Done,     [no,      no,      no,       no,      no,      no,      no,     no]),
            (Failed,   [no,      running, aborting, aborted, no,      no,      no,     no]),
            (Aborted,  [no,      no,      no,       no,      no,      no,      no,     no]),
        ];
        for (state, expected) in table {
            for (event, expected) in Event::ALL.into_iter().zip(expected) {
                assert_eq!(after(state, event), expected, "{state:?} {event:?}");
            }
        }
    }
}
