//! Every bound of the router, by name. Units stand last in the name.

use std::time::Duration;

/// What all bodies that come in pieces may hold of one worker thread's memory. How large one may be is said by
/// [`topology::Endpoint::body_max_bytes`].
pub const BODIES_MAX_BYTES: usize = 32 * 1024 * 1024;
/// A client that still sends an unread body gets its answer first; this much more is thrown away meanwhile, so that
/// the connection is not reset under the answer.
pub const LINGER_MAX_BYTES: usize = 16 * 1024 * 1024;
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
/// Answers leave in slices of this size: what a slow reader has not taken is not copied for it.
pub const SLICE_MAX_BYTES: usize = 16 * 1024;
/// Largest request head; hyper answers 431 above it.
pub const HEAD_MAX_BYTES: usize = 16 * 1024;
/// Most header lines a request may have.
pub const HEADERS_MAX: usize = 64;
/// Longest `x-request-id` taken over from a client.
pub const REQUEST_ID_MAX_BYTES: usize = 64;

/// What a client may ask for in `x-deadline-ms`, and what it gets without asking.
pub const DEADLINE_MIN_MS: u64 = 100;
pub const DEADLINE_MAX_MS: u64 = 30_000;
pub const DEADLINE_DEFAULT_MS: u64 = 10_000;

/// Sends of one request, first one included, whatever made the later ones necessary.
pub const ATTEMPTS_MAX: u32 = 6;
/// 421 hints followed for one request: a wallet may move on, or back, while a request is on its way to it.
pub const HOPS_MAX: u32 = 4;
/// `Retry-After` of everything that passes by itself.
pub const RETRY_AFTER_S: u64 = 1;

/// Writes a second of all wallets together, and of one wallet: far above what one customer does, and about what one core
/// of a router forwards. A deployment says what it takes.
pub const MAX_TPS: u32 = 50_000;
pub const WALLET_MAX_TPS: u32 = 5_000;

/// Requests in flight on one worker thread, above which it sheds.
pub const IN_FLIGHT_MAX: usize = 1_024;
/// Client connections of one worker thread, and those of one peer that is neither a cell nor a trusted proxy. For a further
/// one the longest idle one is ended; it is closed as it comes if none is idle.
pub const CONNECTIONS_MAX: usize = 16_384;
pub const PEER_CONNECTIONS_MAX: usize = 512;
/// Descriptors for everything but clients and the connections to cells that their requests need.
const DESCRIPTORS_RESERVE: usize = 64;

/// Client connections of one of `threads` workers in a process that may have so many descriptors: half of them, since a
/// request may need a connection to a cell.
pub fn connections_max(descriptors: usize, threads: usize) -> usize {
    (descriptors.saturating_sub(DESCRIPTORS_RESERVE) / 2 / threads).clamp(1, CONNECTIONS_MAX)
}

/// Idle connections kept per worker thread and cell instance.
pub const POOL_IDLE_MAX: usize = 256;
/// Below the cells' keep-alive timeout of 75 s, so that the router closes first.
pub const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Largest head of an answer from a cell, and most lines of it.
pub const ANSWER_HEAD_MAX_BYTES: usize = 64 * 1024;
pub const ANSWER_HEADERS_MAX: usize = 100;
/// Longest line between two chunks of a cell's answer.
pub const CHUNK_LINE_MAX_BYTES: usize = 4 * 1024;
/// What an idle connection to a cell keeps of the buffer that its requests are written from.
pub const LINK_OUTPUT_KEPT_BYTES: usize = 4 * 1024;

/// From the first byte of a request's head to its last.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Without a byte of a body that is still to come.
pub const BODY_STALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Without a byte of an answer that the cell does not finish. A client that keeps an answer waiting has to take
/// [`ANSWER_MIN_BYTES`] of it in each such time.
pub const ANSWER_STALL_TIMEOUT: Duration = Duration::from_secs(30);
pub const ANSWER_MIN_BYTES: u64 = 64 * 1024;
/// Between two requests of one connection.
pub const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(75);
/// How often a worker looks for connections that outstayed one of the four above.
pub const SWEEP_PERIOD: Duration = Duration::from_millis(250);

/// Sends of one request that may end in a broken connection: one more would carry a request that kills its handler to
/// every instance.
pub const BREAKS_MAX: u32 = 2;
/// A request that may be repeated is sent to another instance after this long without an answer, or after half of its
/// time if that is shorter.
pub const ATTEMPT_PATIENCE: Duration = Duration::from_secs(1);
/// An instance that requests wait for and that says nothing for this long is asked whether it lives, and this long it may
/// take to answer.
pub const SILENCE_MAX: Duration = Duration::from_millis(250);
pub const PROBE_TIMEOUT: Duration = Duration::from_millis(250);
/// Failed connects, or answers that say the request was not processed, in a row before an instance is ejected.
pub const EJECT_AFTER_CONNECT_FAILURES: u32 = 1;
pub const EJECT_AFTER_SHEDS: u32 = 5;
/// Answers 5xx, broken connections and answers later than [`ATTEMPT_PATIENCE`] in a row before an instance is ejected.
pub const EJECT_AFTER_FAILURES: u32 = 5;
/// At most one in so many of a cell's instances is ejected for such failures, and at least one is not.
pub const EJECTED_SHARE: usize = 2;
pub const EJECTION_MIN: Duration = Duration::from_millis(250);
pub const EJECTION_MAX: Duration = Duration::from_secs(5);
/// Points each instance of a cell gets on the ring.
pub const RING_POINTS: usize = 128;

/// How long the control plane may hold a long poll, and how much longer we wait for it.
pub const POLL_WAIT_S: u64 = 25;
pub const POLL_GRACE: Duration = Duration::from_secs(5);
pub const POLL_BACKOFF_MIN: Duration = Duration::from_millis(100);
pub const POLL_BACKOFF_MAX: Duration = Duration::from_secs(5);
/// Polls forced by wallets in motion come no faster than this.
pub const POLL_WAKE_SPACING: Duration = Duration::from_millis(100);
/// Other routers that one without a placement asks at once, how long each may take, and the time between two such rounds.
pub const PEERS_ASKED_MAX: usize = 3;
pub const PEER_TIMEOUT: Duration = Duration::from_millis(800);
pub const PEERS_PERIOD: Duration = Duration::from_millis(500);
/// Largest placement update: 65,536 runs and some 100,000 pins.
pub const PLACEMENT_MAX_BYTES: usize = 16 * 1024 * 1024;
/// How often the router looks whether the time of an avoided zone is over.
pub const ZONES_PERIOD: Duration = Duration::from_secs(1);
/// Deltas stored before they are folded into the snapshot.
pub const DELTAS_MAX: u64 = 64;

/// From the first signal to the exit, in flight requests finished or not.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(9);
/// How often a worker that drains looks whether its last request is over.
pub const DRAIN_PERIOD: Duration = Duration::from_millis(20);
/// One warning about failing requests per thread and this long.
pub const WARN_SPACING: Duration = Duration::from_secs(1);
pub const LISTEN_BACKLOG: i32 = 1_024;
/// Longest time to wait before accepting again when the process has no file descriptor left.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
pub const THREADS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_leave_descriptors_for_connections_to_cells() {
        for (descriptors, threads) in [(1_024, 1), (1_024, 2), (4_096, 8), (65_536, 2), (16, 4)] {
            let each = connections_max(descriptors, threads);
            let needed = 2 * each * threads;
            assert!(each == 1 || needed + DESCRIPTORS_RESERVE <= descriptors, "{each} of {descriptors}");
        }
        assert_eq!(connections_max(usize::MAX, 1), CONNECTIONS_MAX);
    }
}
