//! The one place where an error becomes an answer: `application/problem+json` with a stable code.

use access::origin::Foreign;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use control_api::Refusal;
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
        Error::Refused(refused) => refused.into(),
        Error::Relayed(problem) => *problem,
        Error::Foreign(foreign) => {
            Problem::new(Foreign::STATUS.as_u16(), foreign.code(), foreign.title()).detail(foreign.to_string())
        }
        Error::Storage { what, code, message } => {
            tracing::warn!(what, code, message, "storage failed");
            let code = code.unwrap_or_else(|| "no answer".to_owned());
            Refusal::StorageUnavailable.detail(format!("{what}: {code}")).into()
        }
        Error::Unsound(what) => {
            tracing::error!(what, "stored data is unsound");
            Refusal::UnsoundData.detail(what).into()
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
