//! Keeps processes running: one task owns each, starts it again when it dies, and stops it on
//! request.
//!
//! It must never restart what an operator has stopped, nor restart in a tight loop.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use tokio::process::Child;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use topology::Version;

use crate::child;
use crate::layout::{Kind, STOP_ORDER, Spec};

const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// Having run this long, a process counts as healthy and its next restart is quick again.
const HEALTHY_AFTER: Duration = Duration::from_secs(10);
/// SIGTERM first; SIGKILL after this long.
const STOP_PATIENCE: Duration = Duration::from_secs(12);
const COMMANDS_MAX: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Running,
    /// Died; will be started again shortly.
    Waiting,
    Stopped,
}

/// How a process is doing, as `ctl local status` shows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct View {
    pub name: String,
    pub state: State,
    pub pid: Option<u32>,
    /// Times that it ended without having been stopped.
    pub deaths: u32,
    pub address: String,
    /// Where there it says that it is ready.
    #[serde(default)]
    pub ready_path: String,
    /// Whether it is asked over TLS.
    #[serde(default)]
    pub tls: bool,
    #[serde(default)]
    pub ready: bool,
    /// Of the build that runs, where it is not the one beside this program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
}

#[derive(Debug, Clone)]
pub enum Command {
    Stop,
    Start,
    Kill {
        keep_down: bool,
    },
    /// SIGSTOP: it is suspended until it is resumed, or stopped for good.
    Pause,
    Resume,
    /// Stops gracefully and goes on as another build of the same process.
    Become(Arc<Spec>),
}

struct Handle {
    kind: Kind,
    commands: mpsc::Sender<Command>,
    view: watch::Receiver<View>,
}

pub struct Supervisor {
    restart: bool,
    handles: Mutex<BTreeMap<String, Handle>>,
}

impl Supervisor {
    pub fn new(restart: bool) -> Self {
        Self { restart, handles: Mutex::default() }
    }

    /// Starts the process and keeps it running; nothing if it is supervised already.
    pub fn add(&self, spec: Spec) {
        let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        if handles.contains_key(&spec.name) {
            return;
        }
        let (commands, orders) = mpsc::channel(COMMANDS_MAX);
        let first = View {
            name: spec.name.clone(),
            state: State::Waiting,
            pid: None,
            deaths: 0,
            address: spec.health.clone(),
            ready_path: spec.ready_path.to_owned(),
            tls: spec.tls,
            ready: false,
            version: None,
        };
        let (publish, view) = watch::channel(first);
        handles.insert(spec.name.clone(), Handle { kind: spec.kind, commands, view });
        tokio::spawn(Keeper { spec, restart: self.restart, orders, view: publish }.keep());
    }

    pub fn views(&self) -> Vec<View> {
        let handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        handles.values().map(|handle| handle.view.borrow().clone()).collect()
    }

    pub fn watch(&self, name: &str) -> Option<watch::Receiver<View>> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner).get(name).map(|handle| handle.view.clone())
    }

    /// Gives the order and waits until it is carried out; `None`: no such process.
    pub async fn order(&self, name: &str, command: Command) -> Option<View> {
        let (commands, mut view) = {
            let handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
            let handle = handles.get(name)?;
            (handle.commands.clone(), handle.view.clone())
        };
        let before = view.borrow().pid;
        commands.send(command.clone()).await.ok()?;
        let carried_out = |now: &View| match &command {
            Command::Stop | Command::Kill { keep_down: true } => now.state == State::Stopped,
            Command::Start => now.state == State::Running,
            // What is stopped already cannot be killed.
            Command::Kill { keep_down: false } => now.pid != before || now.state == State::Stopped,
            // Signals are not answered; what is down cannot stand still.
            Command::Pause | Command::Resume => true,
            Command::Become(spec) => now.version == spec.version && now.pid != before && now.state == State::Running,
        };
        let patience = STOP_PATIENCE + BACKOFF_MAX;
        timeout(patience, view.wait_for(carried_out)).await.ok()?.ok()?;
        Some(view.borrow().clone())
    }

    /// Stops everything, what depends on others before the others.
    pub async fn stop_all(&self) {
        for kind in STOP_ORDER {
            let of_kind: Vec<(mpsc::Sender<Command>, watch::Receiver<View>)> = {
                let handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
                let alike = handles.values().filter(|handle| handle.kind == kind);
                alike.map(|handle| (handle.commands.clone(), handle.view.clone())).collect()
            };
            for (commands, _) in &of_kind {
                let _ = commands.send(Command::Stop).await;
            }
            for (_, mut view) in of_kind {
                let _ = view.wait_for(|now| now.state == State::Stopped).await;
            }
        }
    }
}

struct Keeper {
    spec: Spec,
    restart: bool,
    orders: mpsc::Receiver<Command>,
    view: watch::Sender<View>,
}

impl Keeper {
    async fn keep(mut self) {
        let mut backoff = BACKOFF_FIRST;
        let mut wanted = true;
        loop {
            if !wanted {
                self.show(State::Stopped, None);
                match self.orders.recv().await {
                    None => return,
                    Some(Command::Start) => (wanted, backoff) = (true, BACKOFF_FIRST),
                    Some(Command::Become(spec)) => {
                        (self.spec, wanted, backoff) = (Spec::clone(&spec), true, BACKOFF_FIRST);
                    }
                    Some(Command::Stop | Command::Kill { .. } | Command::Pause | Command::Resume) => {}
                }
                continue;
            }
            let began = Instant::now();
            match child::spawn(&self.spec.program, &self.spec.args, &self.spec.environment, &self.spec.log) {
                Ok(child) => {
                    self.show(State::Running, child.id());
                    match self.until_end(child).await {
                        End::Stopped => wanted = false,
                        End::Died => {}
                        End::Replaced(spec) => {
                            (self.spec, backoff) = (Spec::clone(&spec), BACKOFF_FIRST);
                            self.view.send_modify(|view| view.deaths = 0);
                            continue;
                        }
                    }
                }
                Err(error) => tracing::error!(name = self.spec.name, %error, "cannot be started"),
            }
            if !wanted {
                continue;
            }
            self.view.send_modify(|view| view.deaths += 1);
            if !self.restart {
                wanted = false;
                continue;
            }
            self.show(State::Waiting, None);
            backoff = if began.elapsed() > HEALTHY_AFTER { BACKOFF_FIRST } else { backoff };
            tokio::select! {
                () = sleep(backoff) => {}
                order = self.orders.recv() => match order {
                    Some(Command::Stop | Command::Kill { keep_down: true }) | None => wanted = false,
                    Some(Command::Become(spec)) => {
                        (self.spec, backoff) = (Spec::clone(&spec), BACKOFF_FIRST);
                        self.view.send_modify(|view| view.deaths = 0);
                        continue;
                    }
                    Some(Command::Start | Command::Kill { keep_down: false } | Command::Pause | Command::Resume) => {}
                },
            }
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// Waits for the end of the process, or brings it about.
    async fn until_end(&mut self, mut child: Child) -> End {
        loop {
            let order = tokio::select! {
                ended = child.wait() => {
                    tracing::warn!(name = self.spec.name, ?ended, log = %self.spec.log.display(), "died");
                    return End::Died;
                }
                order = self.orders.recv() => order,
            };
            match order {
                Some(Command::Start) => {}
                Some(Command::Pause) => send(&child, Signal::SIGSTOP),
                Some(Command::Resume) => send(&child, Signal::SIGCONT),
                Some(Command::Kill { keep_down }) => {
                    let _ = child.kill().await;
                    return if keep_down { End::Stopped } else { End::Died };
                }
                Some(Command::Stop) | None => {
                    stop(&mut child, &self.spec.name).await;
                    return End::Stopped;
                }
                Some(Command::Become(spec)) => {
                    stop(&mut child, &self.spec.name).await;
                    return End::Replaced(spec);
                }
            }
        }
    }

    fn show(&self, state: State, pid: Option<u32>) {
        self.view.send_modify(|view| (view.state, view.pid, view.version) = (state, pid, self.spec.version.clone()));
    }
}

/// How a process came to its end.
enum End {
    /// Unasked; it is wanted.
    Died,
    /// It is to stay down.
    Stopped,
    /// It goes on as this.
    Replaced(Arc<Spec>),
}

/// To a process that has not been waited for: its number cannot be that of another process.
fn send(child: &Child, signal: Signal) {
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

async fn stop(child: &mut Child, name: &str) {
    send(child, Signal::SIGTERM);
    // One that was paused would not notice.
    send(child, Signal::SIGCONT);
    if timeout(STOP_PATIENCE, child.wait()).await.is_err() {
        tracing::warn!(name, "did not stop when asked to; killed");
        let _ = child.kill().await;
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn sleeper(name: &str, folder: &Path, script: &str) -> Spec {
        Spec {
            name: name.to_owned(),
            kind: Kind::Cell,
            program: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            health: "127.0.0.1:1".into(),
            ready_path: "/readyz",
            tls: false,
            listens: vec![],
            environment: vec![],
            version: None,
            log: folder.join(format!("{name}.log")),
        }
    }

    fn alive(pid: Option<u32>) -> bool {
        pid.is_some_and(|pid| kill(Pid::from_raw(i32::try_from(pid).expect("a pid")), None).is_ok())
    }

    #[tokio::test]
    async fn what_dies_is_started_again_unless_it_was_told_to_stay_down() {
        let supervisor = Supervisor::new(true);
        let folder = std::env::temp_dir();
        supervisor.add(sleeper("supervised", &folder, "exec sleep 60"));
        let started = supervisor.order("supervised", Command::Start).await.expect("started");
        assert!(alive(started.pid));
        supervisor.order("supervised", Command::Kill { keep_down: false }).await.expect("killed");
        let again = supervisor.order("supervised", Command::Start).await.expect("started again");
        assert!(again.pid != started.pid && alive(again.pid) && !alive(started.pid));
        assert_eq!(again.deaths, 1);

        let down = supervisor.order("supervised", Command::Kill { keep_down: true }).await.expect("killed");
        assert_eq!((down.state, down.pid), (State::Stopped, None));
        let last = supervisor.order("supervised", Command::Start).await.expect("started by hand");
        assert!(alive(last.pid));
        assert!(supervisor.order("unknown", Command::Stop).await.is_none());
        supervisor.stop_all().await;
        assert!(!alive(last.pid));
    }

    #[tokio::test]
    async fn what_is_replaced_goes_on_as_the_other_build_and_stays_it() {
        let supervisor = Supervisor::new(true);
        let folder = std::env::temp_dir();
        let old = sleeper("replaced", &folder, "exec sleep 60");
        supervisor.add(old.clone());
        let first = supervisor.order("replaced", Command::Start).await.expect("started");
        let version = Some(Version::parse("v2").expect("sound"));
        let new = Arc::new(Spec { args: vec!["-c".into(), "exec sleep 61".into()], version: version.clone(), ..old });
        let second = supervisor.order("replaced", Command::Become(Arc::clone(&new))).await.expect("replaced");
        assert!(second.version == version && alive(second.pid) && !alive(first.pid));
        supervisor.order("replaced", Command::Kill { keep_down: false }).await.expect("killed");
        let third = supervisor.order("replaced", Command::Start).await.expect("started again");
        assert!(third.version == version && alive(third.pid), "as what it was");
        supervisor.order("replaced", Command::Stop).await.expect("stopped");
        let fourth = supervisor.order("replaced", Command::Become(new)).await.expect("started as the other build");
        assert!(alive(fourth.pid));
        supervisor.stop_all().await;
    }

    #[tokio::test]
    async fn what_dies_at_once_is_not_started_in_a_tight_loop() {
        let supervisor = Supervisor::new(true);
        let began = Instant::now();
        supervisor.add(sleeper("hopeless", &std::env::temp_dir(), "exit 1"));
        let mut view = supervisor.watch("hopeless").expect("added");
        view.wait_for(|now| now.deaths == 3).await.expect("supervised");
        assert!(began.elapsed() >= BACKOFF_FIRST * 3, "100 ms, then 200 ms");
        supervisor.stop_all().await;
    }
}
