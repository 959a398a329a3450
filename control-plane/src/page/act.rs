//! A form of the page becomes a request of the HTTP API, in this process, behind the same authentication.
//!
//! It must never call what does the work itself: then two authentications would have to agree.

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Extension, Path, State};
use axum::http::{Request, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use control_api::Refusal;
use serde_json::{Value, json};
use topology::Problem;
use tower_service::Service;

use super::actions::{self, Action, Field};
use super::limits::ANSWER_MAX_BYTES;
use super::paths::HOME;
use super::session::field;
use super::visitor::Visitor;
use super::{Shared, html, view};
use crate::api::problem;
use crate::error::{Result, refused};

/// The actor without authentication, if the form names none.
const ACTOR_UNAUTHENTICATED: &str = "page";

/// `POST /page/do/{noun}/{name}/{verb}`.
pub async fn act(
    State(page): Shared,
    Extension(visitor): Extension<Visitor>,
    Path((noun, name, verb)): Path<(String, String, String)>,
    form: Bytes,
) -> Response {
    if field(&form, "seal").as_deref() != Some(visitor.seal.as_str()) {
        return refusal(&Refusal::FormExpired.detail("reload the page and press the button again").into());
    }
    let Some(action) = actions::action(&noun, &name, &verb) else {
        return refusal(&Refusal::UnknownAction.detail("no such action on this page").into());
    };
    let asked = match request(&visitor, &action, &form) {
        Ok(asked) => asked,
        Err(error) => return refusal(&problem::of(error)),
    };
    let answer = page.api.clone().call(asked).await.unwrap_or_else(|never| match never {});
    let status = answer.status();
    if status.is_success() {
        return Redirect::to(&format!("{HOME}?did={verb}&of={name}#{}", anchor(&action))).into_response();
    }
    let body = to_bytes(answer.into_body(), ANSWER_MAX_BYTES).await.unwrap_or_default();
    refusal(&serde_json::from_slice(&body).unwrap_or_else(|_| {
        Refusal::UnreadableAnswer.detail("look at the page, and at `ctl audit`").status(status.as_u16()).into()
    }))
}

fn refusal(problem: &Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    html(status, view::refusal(problem))
}

/// Where the page shows what became of it.
fn anchor(action: &Action) -> &'static str {
    match (action.noun, action.verb) {
        ("cell", "evacuate") => "evacuations",
        ("cell", _) => "fleet",
        ("deploy", _) => "deploys",
        ("zone", _) => "zones",
        _ => "moves",
    }
}

fn request(visitor: &Visitor, action: &Action, form: &[u8]) -> Result<Request<Body>> {
    if action.confirm && field(form, "confirm").as_deref() != Some(action.name.as_str()) {
        let detail = format!("to do this, type {} into the field that asks for it", action.name);
        return Err(refused(Refusal::NotConfirmed, detail));
    }
    let mut body = action.body.clone();
    match action.field {
        Some(Field::Minutes) => {
            let seconds = actions::seconds(field(form, "minutes").as_deref())
                .ok_or_else(|| refused(Refusal::BadMinutes, "1 to 1440"))?;
            body.insert("seconds".to_owned(), json!(seconds));
        }
        Some(Field::To) => {
            body.insert("to".to_owned(), json!(field(form, "to").unwrap_or_default()));
        }
        None => {}
    }
    let reason = field(form, "reason").filter(|reason| !reason.is_empty());
    let reason =
        reason.ok_or_else(|| refused(Refusal::ReasonNeeded, "write it for the operator reading the audit log"))?;
    // With authentication the token names the actor, whatever the form says.
    let actor =
        field(form, "actor").filter(|actor| !actor.is_empty()).unwrap_or_else(|| ACTOR_UNAUTHENTICATED.to_owned());
    body.insert("actor".to_owned(), json!(actor));
    body.insert("reason".to_owned(), json!(reason));
    let mut request = Request::post(&action.path).header(header::CONTENT_TYPE, "application/json");
    if let Some(line) = visitor.authorization() {
        request = request.header(header::AUTHORIZATION, line);
    }
    let request = request.body(Body::from(Value::Object(body).to_string()));
    request.map_err(|error| refused(Refusal::BadId, error.to_string()))
}
