//! The one place where an error becomes an answer: `application/problem+json` with a stable code.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use topology::Problem;
use topology::problem::PROBLEM_JSON;

use crate::error::Error;

/// The answer to a caller that is refused.
pub fn denied(reason: access::Denied) -> Response {
    Error::Denied(reason).into_response()
}

/// What an error says: in the API as JSON, on the page in words.
pub fn of(error: Error) -> Problem {
    match error {
        Error::Denied(reason) => {
            Problem::new(reason.status(), reason.code(), reason.title()).detail(reason.to_string())
        }
        Error::Refused(problem) => *problem,
        Error::Storage { what, code, message } => {
            tracing::warn!(what, code, message, "storage failed");
            let code = code.unwrap_or_else(|| "no answer".to_owned());
            Problem::new(503, "storage_unavailable", "The tables did not answer").detail(format!("{what}: {code}"))
        }
        Error::Unsound(what) => {
            tracing::error!(what, "stored data is unsound");
            Problem::new(500, "unsound_data", "Stored data is unsound").detail(what)
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let challenge = match &self {
            Self::Denied(reason) => reason.challenge(),
            _ => None,
        };
        let problem = of(self);
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, problem.to_json()).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(challenge) = challenge {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }
}
