//! What `scripts/bench-router` puts behind the proxies it compares: a cell that answers everything at once, and a
//! control plane that gives it all buckets. `bench_backend <cell address> <control plane address>`.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

const WALLET: &str = r#"{"walletId":"6a836b5a-367e-4abc-8347-a2aaf56afd1c","userId":"ann","balance":12.34,"createdAt":"2026-01-01T00:00:00Z","updatedAt":"2026-01-01T00:00:00Z"}"#;

fn main() -> anyhow::Result<()> {
    let address =
        |number| -> anyhow::Result<SocketAddr> { Ok(std::env::args().nth(number).unwrap_or_default().parse()?) };
    let (cell, control_plane) = (address(1)?, address(2)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let placement = format!(
            r#"{{"version":1,"intended":true,"cells":[{{"index":0,"id":"cell-1","state":"active","weight":1,"instances":[{{"id":"cell-1-a","address":"{cell}"}}]}}],"buckets":[{{"first":0,"last":65535,"cell":0}}]}}"#
        );
        tokio::try_join!(
            serve(cell, Bytes::from_static(WALLET.as_bytes())),
            serve(control_plane, Bytes::from(placement))
        )?;
        Ok(())
    })
}

async fn serve(address: SocketAddr, body: Bytes) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let body = body.clone();
        tokio::spawn(async move {
            let answer = service_fn(move |request| answer(request, body.clone()));
            // A connection that ends badly is the load generator's business.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

async fn answer(request: Request<Incoming>, body: Bytes) -> Result<Response<Full<Bytes>>, Infallible> {
    // A long poll that already has the only version waits as long as it asked for.
    if request.uri().path() == "/v1/placement" && request.uri().query().is_some_and(|query| query.contains("since=1")) {
        tokio::time::sleep(std::time::Duration::from_secs(25)).await;
        let mut none = Response::new(Full::default());
        *none.status_mut() = http::StatusCode::NOT_MODIFIED;
        return Ok(none);
    }
    let _ = request.into_body().collect().await;
    let mut answer = Response::new(Full::new(body));
    answer.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    Ok(answer)
}
