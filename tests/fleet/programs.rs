//! The binaries under test: those beside this test's own, built by `cargo build --workspace --bins`.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

/// `target/<profile>/<name>`; this program is in a folder beside it, such as `deps`.
pub fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a running program has a path");
    let folder = own
        .parent()
        .and_then(|deps| deps.parent())
        .expect("cargo puts tests and examples one folder below the binaries");
    let path = folder.join(name);
    assert!(path.is_file(), "{} is missing: run scripts/test, or `cargo build --workspace --bins`", path.display());
    path
}

/// The child is asked to stop when the thread that starts it ends, so that not even a killed test leaves a fleet.
///
/// `pre_exec` is unsafe because it runs between fork and exec: this is one plain system call, without allocation.
#[allow(unsafe_code)]
pub fn die_with_this_thread(command: &mut Command) {
    unsafe {
        command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGTERM)?));
    }
}
