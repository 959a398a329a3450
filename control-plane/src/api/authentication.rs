//! Admits callers: operators by token, routers and monitors by certificate. It also decides the
//! actor that a change is recorded under: where tokens are required, the actor comes from the token
//! and not from the request.
//!
//! It must never let through what the policy did not allow.

use std::sync::{Arc, Mutex, PoisonError};

use access::guard::Caller;
use access::listener::Peer;
use access::policy::{Asker, Question, Side};
use access::{Denied, Gate, Guard, Role};
use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::HeaderValue;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use control_api::capacity::SetCapacity;
use control_api::regions::Failover;
use control_api::restore::{BeginRestore, FinishRestore, FromArchive};
use control_api::zones::EvacuateZone;
use control_api::{
    AbortOperation, AddCell, Because, Bootstrap, Onboard, PromoteDeploy, RemoveCell, SetAddresses, StartDeploy,
    StartOperation, Wanted, logs::SetLog,
};

use super::problem::denied;
use crate::because::check_because;
use crate::clock::now_s;
use crate::error::{Error, Result};

/// Shared by all requests; what it does takes microseconds.
#[derive(Clone)]
pub struct Authenticator(Arc<Mutex<Guard>>);

impl Authenticator {
    pub fn new(gate: Gate) -> Self {
        Self(Arc::new(Mutex::new(Guard::new(gate))))
    }

    /// Whether the request may go on, and by whom it is.
    fn admit(&self, request: &Request, role: Option<Role>) -> std::result::Result<Option<Arc<Caller>>, Denied> {
        let path = request.extensions().get::<MatchedPath>().ok_or(Denied::Forbidden)?.as_str().to_owned();
        let question = question(request.method().as_str(), path, false);
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lines = request.headers().get_all(AUTHORIZATION).iter().peekable();
        if let (Some(role), None) = (role, lines.peek()) {
            return guard.authorize(Asker::Process(role), question).map(|()| None);
        }
        let caller = guard.authenticate(lines, now_s())?;
        guard.authorize(Asker::Identity(&caller.identity), question)?;
        Ok(Some(caller))
    }

    /// The caller behind one `Authorization` line.
    pub fn caller(&self, line: &HeaderValue) -> std::result::Result<Arc<Caller>, Denied> {
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        guard.authenticate(std::iter::once(line), now_s())
    }

    /// Whether the policy allows it; nothing is done.
    pub fn may(&self, caller: &Caller, method: &str, route: &str, force: bool) -> bool {
        let question = question(method, route.to_owned(), force);
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        guard.authorize(Asker::Identity(&caller.identity), question).is_ok()
    }
}

fn question(method: &str, path: String, force: bool) -> Question {
    Question { side: Side::Control, method: method.to_owned().into(), route: path.into(), own: false, force }
}

/// Runs before every route where there is a gate.
pub async fn admit(State(authenticator): State<Authenticator>, mut request: Request, next: Next) -> Response {
    let role = request.extensions().get::<Peer>().and_then(|peer| peer.role);
    match authenticator.admit(&request, role) {
        Ok(caller) => {
            let (method, path) = (request.method().to_string(), request.extensions().get::<MatchedPath>().cloned());
            let path = path.map(|path| path.as_str().to_owned()).unwrap_or_default();
            request.extensions_mut().insert(By(Some(Known { caller, authenticator, method, path })));
            next.run(request).await
        }
        Err(reason) => {
            reason.count();
            tracing::warn!(code = reason.code(), method = %request.method(), path = request.uri().path(), "turned away");
            denied(reason)
        }
    }
}

/// The caller of a request. Empty without authentication.
#[derive(Clone, Default)]
pub struct By(Option<Known>);

#[derive(Clone)]
struct Known {
    caller: Option<Arc<Caller>>,
    authenticator: Authenticator,
    method: String,
    path: String,
}

impl<S: Sync> FromRequestParts<S> for By {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> std::result::Result<Self, Self::Rejection> {
        Ok(parts.extensions.get::<By>().cloned().unwrap_or_default())
    }
}

impl By {
    /// Reads a requested change, puts the caller's name into it, and has it judged again if it
    /// leaves out a safeguard.
    pub fn read<T: Asked + serde::de::DeserializeOwned + serde::Serialize>(&self, body: &[u8]) -> Result<T> {
        let mut asked: T = super::body::parse_shown(body)?;
        check_because(asked.because())?;
        let Some(known) = &self.0 else { return Ok(asked) };
        let caller = known.caller.as_ref().ok_or(Error::Denied(Denied::Forbidden))?;
        asked.because().actor = caller.identity.actor();
        if asked.is_forced() {
            let question = question(&known.method, known.path.clone(), true);
            let mut guard = known.authenticator.0.lock().unwrap_or_else(PoisonError::into_inner);
            let allowed = guard.authorize(Asker::Identity(&caller.identity), question);
            allowed.inspect_err(|reason| reason.count()).map_err(Error::Denied)?;
        }
        Ok(asked)
    }
}

/// A change as its request's body asks for it.
pub trait Asked {
    fn because(&mut self) -> &mut Because;

    /// Whether it leaves out a safeguard.
    fn is_forced(&self) -> bool {
        false
    }
}

impl Asked for Because {
    fn because(&mut self) -> &mut Because {
        self
    }
}

macro_rules! asked {
    ($($name:ty),* $(,)?) => {
        $(impl Asked for $name {
            fn because(&mut self) -> &mut Because {
                &mut self.because
            }
        })*
    };
}

asked!(
    AddCell,
    SetAddresses,
    SetCapacity,
    Bootstrap,
    Onboard,
    BeginRestore,
    FinishRestore,
    FromArchive,
    Failover,
    SetLog,
    StartDeploy
);

impl Asked for StartOperation {
    fn because(&mut self) -> &mut Because {
        &mut self.because
    }

    fn is_forced(&self) -> bool {
        match &self.wanted {
            Wanted::Evacuate { force, .. } => *force,
            Wanted::Migrate { .. } | Wanted::Rebalance { .. } | Wanted::Reverse { .. } | Wanted::Forget { .. } => false,
        }
    }
}

impl Asked for AbortOperation {
    fn because(&mut self) -> &mut Because {
        &mut self.because
    }

    fn is_forced(&self) -> bool {
        self.force
    }
}

impl Asked for EvacuateZone {
    fn because(&mut self) -> &mut Because {
        &mut self.because
    }

    fn is_forced(&self) -> bool {
        self.force
    }
}

/// What the figures do not say is said against them.
impl Asked for PromoteDeploy {
    fn because(&mut self) -> &mut Because {
        &mut self.because
    }

    fn is_forced(&self) -> bool {
        true
    }
}

impl Asked for RemoveCell {
    fn because(&mut self) -> &mut Because {
        &mut self.because
    }

    fn is_forced(&self) -> bool {
        self.force
    }
}
