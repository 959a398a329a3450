//! The one place where an error becomes an answer: `application/problem+json` with a stable code.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use topology::Problem;
use topology::problem::PROBLEM_JSON;

use crate::error::Error;

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let problem = match self {
            Self::Refused(problem) => *problem,
            Self::Storage { what, code, message } => {
                tracing::warn!(what, code, message, "storage failed");
                let code = code.unwrap_or_else(|| "no answer".to_owned());
                Problem::new(503, "storage_unavailable", "The tables did not answer").detail(format!("{what}: {code}"))
            }
            Self::Unsound(what) => {
                tracing::error!(what, "stored data is unsound");
                Problem::new(500, "unsound_data", "Stored data is unsound").detail(what)
            }
        };
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, problem.to_json()).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        response
    }
}
