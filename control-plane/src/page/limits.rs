//! Every bound of the page, by name.

use std::time::Duration;

/// Browsers that follow at once; a further one has to try again later.
pub const FOLLOWERS_MAX: usize = 64;
/// Between two looks of one follower.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);
/// One follower's stream; the browser reconnects by itself, and is authenticated again.
pub const FOLLOW_MAX: Duration = Duration::from_secs(600);
/// A line that says nothing, so that a proxy in between does not take a quiet stream for dead.
pub const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// What is shown is never older than this; requests at the same time share one look.
pub const SNAPSHOT_AGE_MAX: Duration = Duration::from_millis(900);
/// What every instance runs is asked for no more often than this.
pub const VERSIONS_AGE_MAX: Duration = Duration::from_secs(5);
/// Hot wallets and sizes of tables, which cost more.
pub const CAPACITY_AGE_MAX: Duration = Duration::from_secs(30);
/// One part of the page; what is later is shown as not known.
pub const PART_TIMEOUT: Duration = Duration::from_secs(3);
pub const OPERATIONS_SHOWN: i32 = 30;
pub const DEPLOYS_SHOWN: i32 = 5;
pub const AUDIT_SHOWN: usize = 20;
pub const CHANGES_SHOWN: usize = 6;
/// Changes of the placement that are searched for one wallet's.
pub const CHANGES_SEARCHED: i32 = 200;
/// A browser keeps about 4 KB of one cookie, its name and attributes included.
pub const SESSION_MAX_BYTES: usize = 3_800;
/// All cookies of a request that are looked at.
pub const COOKIES_MAX_BYTES: usize = 16 * 1024;
pub const FORM_MAX_BYTES: usize = 16 * 1024;
/// Fields of a form that are read.
pub const FIELDS_MAX: usize = 16;
/// An answer of the API that an action shows.
pub const ANSWER_MAX_BYTES: usize = 256 * 1024;
pub const ZONE_MINUTES_DEFAULT: u32 = 60;
