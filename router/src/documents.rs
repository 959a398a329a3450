//! The API's description, for people at `/docs/` and for tools at `/openapi.yaml`. All of it is in the binary.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Response, StatusCode};

use crate::failure::Failure;
use crate::proxy::body::AnswerBody;

pub const OPENAPI: &str = include_str!("../../openapi.yaml");

pub fn openapi() -> Response<AnswerBody> {
    document(HeaderValue::from_static("application/yaml"), Bytes::from_static(OPENAPI.as_bytes()))
}

/// The file of the Swagger UI at `path` below `/docs/`; the directory without its slash is sent there.
pub fn page(path: &str) -> Result<Response<AnswerBody>, Failure> {
    let config = Arc::new(utoipa_swagger_ui::Config::from("/openapi.yaml"));
    let file = utoipa_swagger_ui::serve(path, config).ok().flatten().ok_or(Failure::NotFound)?;
    let kind = HeaderValue::from_str(&file.content_type).map_err(|_| Failure::NotFound)?;
    Ok(document(kind, Bytes::from(file.bytes.into_owned())))
}

/// Relative links of the page need the slash at its end.
pub fn to_directory() -> Response<AnswerBody> {
    let mut answer = Response::new(AnswerBody::full(Bytes::new()));
    *answer.status_mut() = StatusCode::PERMANENT_REDIRECT;
    answer.headers_mut().insert(LOCATION, HeaderValue::from_static("/docs/"));
    answer
}

fn document(kind: HeaderValue, bytes: Bytes) -> Response<AnswerBody> {
    let mut answer = Response::new(AnswerBody::full(bytes));
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("max-age=3600"));
    answer
}
