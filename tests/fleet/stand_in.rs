//! A program that replaces a service of AWS during a test: started on a port, stopped when the test
//! ends.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{ports, programs, until};

/// What the scripts that start stand-ins exit with when something that they need is not to be had here.
pub const NOT_AVAILABLE: i32 = 77;
/// A first download takes its time.
const DOWNLOAD_PATIENCE_S: u64 = 300;

/// A process that this test started, and stops.
pub struct StandIn(Child);

impl StandIn {
    pub fn start(mut command: Command) -> Self {
        programs::die_with_this_thread(&mut command);
        Self(command.stdin(Stdio::null()).spawn().expect("the program can be run"))
    }

    /// Waits until the port is listened on. The exit code, if the process ends instead.
    pub async fn listens(&mut self, port: u16) -> Result<(), Option<i32>> {
        let mut ended = None;
        until(DOWNLOAD_PATIENCE_S, "the stand-in listens", async || {
            ended = self.0.try_wait().expect("a child of this process");
            ended.is_some() || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()
        })
        .await;
        ended.map_or(Ok(()), |status| Err(status.code()))
    }
}

/// An emulator of AWS, and where it listens. `None`, and it is said, where it cannot be had.
pub async fn aws(wanted: &str) -> Option<(StandIn, String)> {
    let port = ports::free_port();
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/fetch/aws-emulator");
    let mut command = Command::new(script);
    command.arg(port.to_string()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut process = StandIn::start(command);
    if let Err(code) = process.listens(port).await {
        assert_eq!(code, Some(NOT_AVAILABLE), "the emulator failed");
        eprintln!("SKIPPED: {wanted}, of which there is no emulator here");
        return None;
    }
    Some((process, format!("http://127.0.0.1:{port}")))
}

impl Drop for StandIn {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(i32::try_from(self.0.id()).expect("a process id")), Signal::SIGTERM);
        let deadline = Instant::now() + Duration::from_secs(5);
        while matches!(self.0.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ = self.0.kill();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
