//! What a worker counts of each cell that it forwards to. Made when the placement changes, never for a request.

use std::cell::Cell;
use std::time::Duration;

use http::StatusCode;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use topology::CellId;

/// What became of a request that was for a cell, as its customers see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Ok,
    /// The cell says that the client is wrong, or too fast.
    Refused,
    /// The cell says that it is itself at fault, or has no room.
    Failed,
    /// The cell gave no answer that could be passed on.
    Unanswered,
}

pub const OUTCOMES: [&str; 4] = ["ok", "refused", "failed", "unanswered"];

impl Outcome {
    pub fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            ..400 => Self::Ok,
            400..500 => Self::Refused,
            500.. => Self::Failed,
        }
    }
}

pub struct CellMeters {
    requests: [Counter; OUTCOMES.len()],
    seconds: Histogram,
    pub connections_opened: Counter,
    idle: Gauge,
    /// This worker's part of the gauge.
    idle_told: Cell<usize>,
}

impl CellMeters {
    pub fn new(cell: &CellId) -> Self {
        let name = cell.to_string();
        let request = |outcome| counter!("router_cell_requests_total", "cell" => name.clone(), "outcome" => outcome);
        Self {
            requests: OUTCOMES.map(request),
            seconds: histogram!("router_cell_request_seconds", "cell" => name.clone()),
            connections_opened: counter!("router_cell_connections_opened_total", "cell" => name.clone()),
            idle: gauge!("router_cell_connections_idle", "cell" => name.clone()),
            idle_told: Cell::new(0),
        }
    }

    pub fn answered(&self, outcome: Outcome, took: Duration) {
        self.requests[outcome as usize].increment(1);
        self.seconds.record(took.as_secs_f64());
    }

    /// Connections of this worker that wait for a request now.
    pub fn tell_idle(&self, now: usize) {
        let told = self.idle_told.replace(now);
        self.idle.increment(now as f64 - told as f64);
    }
}

impl Drop for CellMeters {
    fn drop(&mut self) {
        self.tell_idle(0);
    }
}
