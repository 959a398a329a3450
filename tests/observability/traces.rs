//! A transfer to another cell, of a client that traces it, at a collector as OpenTelemetry
//! describes one: one trace, in which each span is the child of what caused it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message;

use crate::fleet::{Call, Fleet, Shape, until, wallet_of, within};

const TRACE: u128 = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;
const CLIENT_SPAN: u64 = 0x00f0_67aa_0ba9_02b7;

#[derive(Debug, Clone)]
struct Seen {
    service: String,
    cell: String,
    trace: Vec<u8>,
    id: Vec<u8>,
    parent: Vec<u8>,
    name: String,
    kind: i32,
    took_ns: u64,
}

type Received = Arc<Mutex<Vec<Seen>>>;

fn text(attributes: &[KeyValue], key: &str) -> String {
    let value = attributes.iter().find(|pair| pair.key == key).and_then(|pair| pair.value.clone()?.value);
    match value {
        Some(any_value::Value::StringValue(text)) => text,
        _ => String::new(),
    }
}

/// Takes what is sent as a real collector would: protobuf that is none is refused.
async fn take(State(received): State<Received>, headers: HeaderMap, body: Bytes) -> StatusCode {
    if headers.get("content-type").is_none_or(|kind| kind != "application/x-protobuf") {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE;
    }
    let Ok(request) = ExportTraceServiceRequest::decode(body) else { return StatusCode::BAD_REQUEST };
    let mut received = received.lock().expect("nothing panics while it is held");
    for of_resource in request.resource_spans {
        let attributes = of_resource.resource.unwrap_or_default().attributes;
        for span in of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            received.push(Seen {
                service: text(&attributes, "service.name"),
                cell: text(&attributes, "cell"),
                trace: span.trace_id,
                id: span.span_id,
                parent: span.parent_span_id,
                name: span.name,
                kind: span.kind,
                took_ns: span
                    .end_time_unix_nano
                    .checked_sub(span.start_time_unix_nano)
                    .expect("it ends after it began"),
            });
        }
    }
    StatusCode::OK
}

async fn collector() -> (String, Received) {
    let received = Received::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let app = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&received));
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, received)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_across_cells_is_one_trace() {
    within(120, "the test", async {
        let (url, received) = collector().await;
        let environment = vec![("WALLET_OTLP_ENDPOINT".into(), url)];
        let fleet = Fleet::of(Shape { cells: 2, environment, ..Shape::default() }).await;
        let client = fleet.client();
        let users = [fleet.users_in(1, 1).await.remove(0), fleet.users_in(2, 1).await.remove(0)];
        for user in &users {
            client.create(user).await;
        }
        let (from, to) = (wallet_of(&users[0]), wallet_of(&users[1]));
        client.send(&Call::deposit(from, "10")).await.expect(200);
        assert!(received.lock().expect("sound").is_empty(), "nothing is traced unasked");

        let parent = format!("00-{TRACE:032x}-{CLIENT_SPAN:016x}-01");
        client.send(&Call::transfer(from, to, "4").header("traceparent", parent)).await.expect(200);
        let spans = || received.lock().expect("sound").clone();
        let of = |service: &str, cell: &str, name: &str, parent: &[u8]| {
            let is_it = |span: &&Seen| {
                span.service == service && span.cell == cell && span.name == name && span.parent == parent
            };
            spans().iter().find(is_it).cloned()
        };
        // router → paying cell → its store; paying cell → router (internal) → receiving cell → its store.
        let chain = || {
            let router = of("router", "", "/api/v1/wallets/transfer", &CLIENT_SPAN.to_be_bytes())?;
            let payer = of("cell", "cell-1", "/api/v1/wallets/transfer", &router.id)?;
            let payer_store = of("cell", "cell-1", "PutItem", &payer.id)?;
            let internal = of("router", "", "/internal/v1/wallets/{id}/credits", &payer.id)?;
            let payee = of("cell", "cell-2", "/internal/v1/wallets/{id}/credits", &internal.id)?;
            let payee_store = of("cell", "cell-2", "PutItem", &payee.id)?;
            Some([router, payer, payer_store, internal, payee, payee_store])
        };
        until(30, "the whole trace has arrived", async || chain().is_some()).await;
        let chain = chain().expect("it was there");
        for (span, kind) in chain.iter().zip([
            SpanKind::Server,
            SpanKind::Server,
            SpanKind::Client,
            SpanKind::Server,
            SpanKind::Server,
            SpanKind::Client,
        ]) {
            assert_eq!(span.kind, kind as i32, "{span:?}");
        }
        let [router, payer, payer_store, ..] = &chain;
        assert!(router.took_ns >= payer.took_ns && payer.took_ns >= payer_store.took_ns, "{chain:?}");
        let all = spans();
        assert!(all.iter().all(|span| span.trace == TRACE.to_be_bytes()), "another trace: {all:?}");
        let by_id: HashMap<_, _> = all.iter().map(|span| (span.id.clone(), span)).collect();
        assert_eq!(by_id.len(), all.len(), "a span twice");
        let is_child = |span: &&Seen| span.parent == CLIENT_SPAN.to_be_bytes() || by_id.contains_key(&span.parent);
        until(10, "no span is an orphan", async || spans().len() == all.len()).await;
        assert!(all.iter().all(|span| is_child(&span)), "an orphan: {all:?}");
        eprintln!("{} spans of one trace", all.len());
    })
    .await;
}
