//! File descriptors: every connection needs one, and a process that has none left must not blame the other side for it.

use std::io;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the limit of this process to what the system allows it; the limit that holds then.
pub fn raise() -> usize {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return usize::MAX };
    let limit = match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(error) => {
            tracing::warn!(%error, soft, hard, "the limit of file descriptors cannot be raised");
            soft
        }
    };
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// Whether a connection failed for want of something on this side: descriptors, ports, memory.
pub fn is_exhausted(error: &io::Error) -> bool {
    let Some(code) = error.raw_os_error() else { return false };
    use Errno::{EADDRNOTAVAIL, EMFILE, ENFILE, ENOBUFS, ENOMEM};
    matches!(Errno::from_raw(code), EMFILE | ENFILE | ENOBUFS | ENOMEM | EADDRNOTAVAIL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_here_counts_as_exhausted() {
        for (code, expected) in [(Errno::EMFILE, true), (Errno::ENFILE, true), (Errno::ECONNREFUSED, false)] {
            assert_eq!(is_exhausted(&io::Error::from_raw_os_error(code as i32)), expected, "{code}");
        }
        assert!(!is_exhausted(&io::ErrorKind::TimedOut.into()));
    }

    #[test]
    fn the_limit_is_the_highest_allowed() {
        let limit = raise();
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("known to the system");
        assert_eq!((soft, usize::try_from(soft).ok()), (hard, Some(limit)));
    }
}
