//! The API's description, for people at `/docs/` and for tools at `/openapi.yaml`. All of it is in the binary.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Response, StatusCode};
use swagger_ui_redist::SwaggerUi;

use crate::failure::Failure;

pub const OPENAPI: &str = include_str!("../../openapi.yaml");

pub fn openapi() -> Response<Bytes> {
    document(HeaderValue::from_static("application/yaml"), Bytes::from_static(OPENAPI.as_bytes()))
}

/// The file of the Swagger UI at `path` below `/docs/`; the page itself is at the empty path.
pub fn page(path: &str) -> Result<Response<Bytes>, Failure> {
    if path.is_empty() {
        let mut ui = SwaggerUi::new();
        ui.title("Wallet API").config().urls(["/openapi.yaml"]);
        let html = ui.serve().map_err(|_| Failure::NotFound)?;
        return Ok(document(HeaderValue::from_static("text/html; charset=utf-8"), Bytes::from(html)));
    }
    let (file, bytes) =
        SwaggerUi::static_files().iter().find(|(file, _)| file.file_name() == path).ok_or(Failure::NotFound)?;
    Ok(document(HeaderValue::from_static(kind_of(file.file_name())), Bytes::from_static(bytes)))
}

fn kind_of(name: &str) -> &'static str {
    match name.rsplit_once('.') {
        Some((_, "js")) => "text/javascript; charset=utf-8",
        Some((_, "css")) => "text/css; charset=utf-8",
        _ => "image/png",
    }
}

/// Relative links of the page need the slash at its end.
pub fn to_directory() -> Response<Bytes> {
    let mut answer = Response::new(Bytes::new());
    *answer.status_mut() = StatusCode::PERMANENT_REDIRECT;
    answer.headers_mut().insert(LOCATION, HeaderValue::from_static("/docs/"));
    answer
}

fn document(kind: HeaderValue, bytes: Bytes) -> Response<Bytes> {
    let mut answer = Response::new(bytes);
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("max-age=3600"));
    answer
}
