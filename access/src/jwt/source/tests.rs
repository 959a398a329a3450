//! Keys that are fetched: from an issuer that comes, goes, and changes its mind.

use std::sync::Mutex;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;
use crate::jwt::sign::{SigningKey, key_set};

/// Serves a text over HTTP, one connection a question.
struct Issuer {
    url: String,
    text: Arc<Mutex<String>>,
    asked: Arc<Mutex<u32>>,
    task: JoinHandle<()>,
}

impl Issuer {
    async fn start(first: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/jwks.json", listener.local_addr().expect("bound"));
        let (text, asked) = (Arc::new(Mutex::new(first)), Arc::new(Mutex::new(0)));
        let (served, counted) = (Arc::clone(&text), Arc::clone(&asked));
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = [0; 1024];
                // One small head arrives in one piece.
                let _ = stream.read(&mut head).await;
                *counted.lock().expect("sound") += 1;
                let body = served.lock().expect("sound").clone();
                let length = body.len();
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self { url, text, asked, task }
    }

    fn asked(&self) -> u32 {
        *self.asked.lock().expect("sound")
    }

    fn say(&self, text: String) {
        *self.text.lock().expect("sound") = text;
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + 3 * KEYS_REFRESH_SPACING;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn an_unknown_key_is_fetched_and_known_ones_need_no_issuer() {
    let (old, new) = (SigningKey::generate(), SigningKey::generate());
    let issuer = Issuer::start(key_set(&[&old])).await;
    let source = Source::Url { url: issuer.url.clone(), http: Box::new(Http::plain()) };
    let keys = Keys::start(source, Algorithm::EdDSA).await.expect("keys");
    let knows = |key: &SigningKey| keys.current.load().find(Some(&key.kid)).is_some();
    assert!(knows(&old) && !knows(&new) && issuer.asked() == 1);
    issuer.say(key_set(&[&old, &new]));
    // Many requests for it cause one question, and not at once.
    let wanted = Instant::now();
    (0..100).for_each(|_| keys.want_newer());
    until("the new key is known", || knows(&new)).await;
    assert!(wanted.elapsed() + Duration::from_millis(500) > KEYS_REFRESH_SPACING, "{:?}", wanted.elapsed());
    assert!(knows(&old) && issuer.asked() == 2);
    // Nonsense, then no answer.
    issuer.say("<html>".into());
    keys.want_newer();
    until("nonsense was fetched", || issuer.asked() == 3).await;
    assert!(knows(&old) && knows(&new));
    issuer.task.abort();
    keys.want_newer();
    sleep_until(Instant::now() + KEYS_REFRESH_SPACING).await;
    assert!(knows(&old) && knows(&new));
}

#[tokio::test]
async fn a_late_issuer_is_waited_for_and_a_missing_file_is_not() {
    let key = SigningKey::generate();
    let reserved = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = reserved.local_addr().expect("bound");
    drop(reserved);
    let source = Source::Url { url: format!("http://{address}/"), http: Box::new(Http::plain()) };
    let keys = Keys::start(source, Algorithm::EdDSA).await.expect("it starts without keys");
    assert!(keys.current.load().is_empty());
    let listener = TcpListener::bind(address).await.expect("still free");
    let body = key_set(&[&key]);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 1024]).await;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
        }
    });
    until("the keys came", || !keys.current.load().is_empty()).await;
    assert!(Keys::start(Source::File("/nowhere/jwks.json".into()), Algorithm::EdDSA).await.is_err());
}
