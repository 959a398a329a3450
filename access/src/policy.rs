//! The policy: Rego, evaluated in this process. Compiled once and shared; each thread evaluates on
//! a copy of its own and remembers what was decided, which it may because two callers of one class
//! differ in nothing that the policy gets.
//!
//! What fails to evaluate is refused.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use regorus::{Engine, Value};
use serde_json::json;
use tokio::time::sleep;

use crate::identity::Identity;
use crate::limits::{DECISIONS_REMEMBERED_MAX, POLICY_MAX_BYTES, WATCH_PERIOD};
use crate::role::Role;
use crate::watch::Watched;

/// What is in force where no directory is named.
const SHIPPED: [(&str, &str); 2] = [
    ("public.rego", include_str!("../../policy/public.rego")),
    ("control.rego", include_str!("../../policy/control.rego")),
];

#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    #[error("{path}: {error}")]
    File { path: PathBuf, error: std::io::Error },
    #[error("{0}: no .rego file in it")]
    Empty(PathBuf),
    #[error("more than {POLICY_MAX_BYTES} bytes")]
    TooLarge,
    #[error("{0}")]
    Rego(String),
}

/// The API that a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    Public,
    Control,
}

impl Side {
    fn rule(self) -> &'static str {
        match self {
            Self::Public => "data.wallet.public.allow",
            Self::Control => "data.wallet.control.allow",
        }
    }
}

/// The caller, as far as the policy sees it.
#[derive(Debug, Clone, Copy)]
pub enum Asker<'a> {
    Identity(&'a Identity),
    /// By certificate.
    Process(Role),
}

/// What is asked.
#[derive(Debug, Clone)]
pub struct Question {
    pub side: Side,
    pub method: Cow<'static, str>,
    pub route: Cow<'static, str>,
    pub own: bool,
    pub force: bool,
}

/// Compiled rules.
#[derive(Clone)]
pub struct Policy(Engine);

impl Policy {
    /// All `.rego` files of a directory.
    pub fn read(folder: &Path) -> Result<Self, PolicyError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error| PolicyError::File { path, error }
        };
        let mut files = Vec::new();
        let mut bytes: u64 = 0;
        for entry in std::fs::read_dir(folder).map_err(failed(folder))? {
            let path = entry.map_err(failed(folder))?.path();
            if path.extension().is_some_and(|ending| ending == "rego") {
                bytes = bytes.saturating_add(std::fs::metadata(&path).map_err(failed(&path))?.len());
                if bytes > POLICY_MAX_BYTES {
                    return Err(PolicyError::TooLarge);
                }
                files.push((path.display().to_string(), std::fs::read_to_string(&path).map_err(failed(&path))?));
            }
        }
        files.sort();
        if files.is_empty() {
            return Err(PolicyError::Empty(folder.to_owned()));
        }
        Self::compile(files)
    }

    pub fn shipped() -> Self {
        Self::compile(SHIPPED.map(|(name, text)| (name.to_owned(), text.to_owned()))).expect("tests compile it")
    }

    fn compile(files: impl IntoIterator<Item = (String, String)>) -> Result<Self, PolicyError> {
        let mut engine = Engine::new();
        for (name, text) in files {
            engine.add_policy(name, text).map_err(|error| PolicyError::Rego(error.to_string()))?;
        }
        // Both doors have to have their rule; evaluating prepares the rules for all copies too.
        for side in [Side::Public, Side::Control] {
            engine.set_input(Value::new_object());
            let allowed = engine.eval_rule(side.rule().to_owned());
            let allowed = allowed.map_err(|error| PolicyError::Rego(error.to_string()))?;
            if allowed != Value::from(false) {
                let rule = side.rule();
                return Err(PolicyError::Rego(format!("{rule} has to be false where nothing is known")));
            }
        }
        Ok(Self(engine))
    }

    fn allows(&mut self, asker: Asker<'_>, question: &Question) -> bool {
        let actor = match asker {
            Asker::Identity(identity) => {
                json!({ "kind": identity.kind.name(), "scopes": identity.scopes, "role": identity.role })
            }
            Asker::Process(role) => json!({ "kind": process_kind(role), "scopes": [], "role": null }),
        };
        let Question { side, method, route, own, force } = question;
        let input = json!({ "actor": actor, "method": method, "route": route, "own": own, "force": force });
        if self.0.set_input_json(&input.to_string()).is_err() {
            return false;
        }
        self.0.eval_rule(side.rule().to_owned()).is_ok_and(|allowed| allowed == Value::from(true))
    }
}

fn process_kind(role: Role) -> &'static str {
    match role {
        Role::Router => "router",
        Role::ControlPlane => "control-plane",
        Role::Cell => "cell",
        Role::Monitor => "monitor",
    }
}

/// What all threads share.
pub type SharedPolicy = Arc<ArcSwap<Policy>>;

/// The policy of a directory, read again when it changes; the shipped one where none is named. Called inside a runtime.
pub fn start(folder: Option<&Path>) -> Result<SharedPolicy, PolicyError> {
    let Some(folder) = folder else { return Ok(Arc::new(ArcSwap::from_pointee(Policy::shipped()))) };
    let watched = Watched::new([folder.to_owned()]);
    let shared = Arc::new(ArcSwap::from_pointee(Policy::read(folder)?));
    tokio::spawn(keep(folder.to_owned(), watched, Arc::clone(&shared)));
    Ok(shared)
}

async fn keep(folder: PathBuf, mut watched: Watched, shared: SharedPolicy) {
    let mut failures: u32 = 0;
    loop {
        sleep(WATCH_PERIOD).await;
        if !watched.changed() {
            continue;
        }
        match Policy::read(&folder) {
            Ok(policy) => {
                failures = 0;
                shared.store(Arc::new(policy));
                metrics::counter!("access_reloads_total", "what" => "policy", "outcome" => "done").increment(1);
                tracing::info!(folder = %folder.display(), "new policy");
            }
            Err(error) => {
                failures = failures.saturating_add(1);
                watched.again();
                metrics::counter!("access_reloads_total", "what" => "policy", "outcome" => "failed").increment(1);
                // The first may be a look between two files of one change.
                if failures == 2 {
                    tracing::warn!(%error, "the new policy cannot be used; the old one stays in force");
                }
            }
        }
    }
}

/// One thread's copy, with its memory.
pub struct Decider {
    shared: SharedPolicy,
    current: Arc<Policy>,
    policy: Policy,
    decided: HashMap<Key, bool>,
}

type Key = (Arc<str>, Side, Cow<'static, str>, Cow<'static, str>, bool, bool);

impl Decider {
    pub fn new(shared: SharedPolicy) -> Self {
        let current = shared.load_full();
        Self { policy: Policy::clone(&current), current, shared, decided: HashMap::new() }
    }

    pub fn allows(&mut self, asker: Asker<'_>, question: Question) -> bool {
        if !Arc::ptr_eq(&self.shared.load(), &self.current) {
            *self = Self::new(Arc::clone(&self.shared));
        }
        let Asker::Identity(identity) = asker else { return self.policy.allows(asker, &question) };
        let Question { side, method, route, own, force } = question.clone();
        let key = (Arc::clone(&identity.class), side, method, route, own, force);
        if let Some(allowed) = self.decided.get(&key) {
            return *allowed;
        }
        let allowed = self.policy.allows(asker, &question);
        if self.decided.len() >= DECISIONS_REMEMBERED_MAX {
            self.decided.clear();
        }
        self.decided.insert(key, allowed);
        allowed
    }
}

#[cfg(test)]
mod tests;
