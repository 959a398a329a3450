//! Starts a child process that cannot outlive this one, with its output in a log file.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::Stdio;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::getppid;
use tokio::process::{Child, Command};

/// Starts `program` in a process group of its own, so that Ctrl-C in the terminal reaches only the supervisor.
///
/// The kernel kills the child when the thread that calls this ends: call it on the main thread.
pub fn spawn(program: &Path, args: &[String], environment: &[(String, String)], log: &Path) -> std::io::Result<Child> {
    let output = OpenOptions::new().create(true).append(true).open(log)?;
    let mut command = Command::new(program);
    command
        .args(args)
        .envs(environment.iter().cloned())
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .process_group(0);
    die_with_parent(&mut command);
    command.spawn()
}

/// `pre_exec` is unsafe because it runs between fork and exec, where only what is safe in a signal handler may be
/// called: these are two plain system calls, and no memory is allocated.
#[allow(unsafe_code)]
fn die_with_parent(command: &mut Command) {
    let parent = nix::unistd::getpid();
    unsafe {
        command.pre_exec(move || {
            set_pdeathsig(Signal::SIGKILL)?;
            // The parent may have died before the line above took hold.
            if getppid() == parent { Ok(()) } else { Err(std::io::ErrorKind::NotFound.into()) }
        });
    }
}
