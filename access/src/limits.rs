//! Every bound of access control, by name. Units stand last in the name or in the type.

use std::time::Duration;

/// Longest bearer token; a larger one is refused unread.
pub const TOKEN_MAX_BYTES: usize = 4 * 1024;
/// How far the clocks of the issuer and of this process may differ.
pub const LEEWAY_S: u64 = 30;
/// Verified tokens remembered by one thread.
pub const TOKENS_REMEMBERED_MAX: usize = 16 * 1024;
/// Decisions of the policy remembered by one thread.
pub const DECISIONS_REMEMBERED_MAX: usize = 4 * 1024;
/// Longest list of scopes in a token.
pub const SCOPES_MAX: usize = 32;
/// Longest name of a service or an operator.
pub const NAME_MAX_BYTES: usize = 64;

/// Keys taken from one key set.
pub const KEYS_MAX: usize = 64;
pub const KEY_SET_MAX_BYTES: usize = 256 * 1024;
/// A key set that is fetched is fetched again after this long.
pub const KEYS_REFRESH: Duration = Duration::from_secs(300);
/// Tokens that name an unknown key bring about a fetch, but none sooner than this after the one before.
pub const KEYS_REFRESH_SPACING: Duration = Duration::from_secs(5);
pub const KEYS_FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// How often files are looked at for a change.
pub const WATCH_PERIOD: Duration = Duration::from_secs(1);
/// Largest policy, all its files together.
pub const POLICY_MAX_BYTES: u64 = 1024 * 1024;

pub const HOUR_S: i64 = 3_600;
pub const DAY_S: i64 = 24 * HOUR_S;
/// A certificate that ends within this time is warned of.
pub const CERTIFICATE_WARN_S: i64 = 21 * DAY_S;

/// Descriptors that a process keeps for what it asks others, and for files.
pub const DESCRIPTORS_RESERVE: usize = 256;
/// From an accepted connection to the end of its TLS handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Handshakes of one listener at once, and those of one peer; for one more, the oldest is given up: a sound one takes
/// milliseconds.
pub const HANDSHAKES_MAX: usize = 256;
pub const PEER_HANDSHAKES_MAX: usize = 64;
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// From the first byte of a request's head to its last; also how long an idle connection is kept. Above the routers' own
/// idle timeout, so that a router, which knows what it sends, is the one that closes.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// Largest head, all headers together.
pub const HEAD_MAX_BYTES: usize = 32 * 1024;
/// A client that keeps bytes waiting has to take so many of them in each such time.
pub const WRITE_STALL_TIMEOUT: Duration = Duration::from_secs(30);
pub const WRITE_MIN_BYTES: usize = 64 * 1024;
/// What the system holds of an answer beyond what is on its way.
pub const UNSENT_MAX_BYTES: u32 = 32 * 1024;
/// A client that still sends an unread body gets its answer first; this much more is thrown away meanwhile.
pub const LINGER_MAX_BYTES: usize = 16 * 1024 * 1024;
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause after the system refused a connection for want of descriptors.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Below the keep-alive of everything that is called.
pub const POOL_IDLE: Duration = Duration::from_secs(20);
/// Largest answer that is read whole, unless the caller says otherwise.
pub const ANSWER_MAX_BYTES: usize = 64 * 1024 * 1024;
/// One warning of one kind in this time.
pub const WARN_SPACING: Duration = Duration::from_secs(1);
