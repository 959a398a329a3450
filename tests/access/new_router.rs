//! Routers that start while no control plane answers, with the placement of another, over mutual TLS.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use access::http::Http;
use local_fleet::secrets::{AUDIENCE, CONTROL_PLANE, ISSUER, MONITOR, PUBLIC, ROUTER};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use super::support::{Secure, ask};
use crate::fleet::ports::free_block;
use crate::fleet::{NAMESPACE, programs, until, wallet_of};

struct Router {
    child: Child,
    data: PathBuf,
    public: String,
    admin: String,
}

impl Router {
    /// Its admin pages are open to other machines, so they are behind mutual TLS.
    fn start(secure: &Secure, peers: Option<&str>) -> Self {
        let ports = free_block(0);
        let [public, internal, admin] = [ports.router(), ports.router_internal(), ports.router_admin()];
        let listen = |url: &str, host| url.trim_start_matches("http://").replace("127.0.0.1", host);
        let data = std::env::temp_dir().join(format!("wallet-router-{}-{}", std::process::id(), ports.first()));
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let secrets = &secure.secrets;
        let [authority, certificate, key] = secrets.mesh(ROUTER).paths().map(|path| text(&path));
        let mut command = Command::new(programs::program("router"));
        command.args(["--listen", &listen(&public, "127.0.0.1"), "--internal-listen", &listen(&internal, "127.0.0.1")]);
        command.args(["--admin-listen", &listen(&admin, "0.0.0.0"), "--control-plane", &secure.control_plane()]);
        command.args(["--namespace", &NAMESPACE.to_string(), "--data-dir", &text(&data)]);
        command.args(["--mesh-ca", &authority, "--mesh-cert", &certificate, "--mesh-key", &key]);
        command.args(["--tls-cert", &text(&secrets.certificate(PUBLIC)), "--tls-key", &text(&secrets.key(PUBLIC))]);
        command.args(["--auth-jwks", &text(&secrets.key_set()), "--auth-issuer", ISSUER, "--auth-audience", AUDIENCE]);
        if let Some(peers) = peers {
            command.args(["--peers", peers]);
        }
        programs::die_with_this_thread(&mut command);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let [public, admin] = [public, admin].map(|url| super::support::secure(&url));
        Self { child: child.expect("the router's program can be run"), data, public, admin }
    }

    async fn until_ready(&self, monitor: &Http) {
        let url = format!("{}/readyz", self.admin);
        until(20, "it is ready", async || {
            ask(monitor, &[], "GET", &url, "").await.is_ok_and(|answer| answer.status == 200)
        })
        .await;
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

#[tokio::test]
async fn new_routers_serve_while_no_control_plane_answers() {
    let secure = Secure::start(2).await;
    let monitor = secure.process(&secure.secrets.mesh(MONITOR), "router.wallet.internal");
    let token = secure.service("wallets:create deposit");
    let body = json!({ "userId": "ann" }).to_string();
    let created = secure.ask(&token, "POST", &format!("{}/api/v1/wallets", secure.router()), &body).await;
    assert_eq!(created.status, 201, "{}", created.text);
    let first = Router::start(&secure, None);
    first.until_ready(&monitor).await;

    let away = Pid::from_raw(secure.fleet.pid(CONTROL_PLANE).await);
    kill(away, Signal::SIGSTOP).expect("it runs");
    // It asks the first one; the next asks the second, which had its placement from the first.
    let mut others = vec![first];
    for _ in 0..2 {
        let began = Instant::now();
        let router = Router::start(&secure, Some(&others.last().expect("one at least").admin));
        router.until_ready(&monitor).await;
        let deposit = format!("{}/api/v1/wallets/{}/deposit", router.public, wallet_of("ann"));
        let answer = secure.fresh().ask(&token, "POST", &deposit, &json!({ "amount": 1 }).to_string()).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        println!("a new router served {:?} after its start", began.elapsed());
        others.push(router);
    }
    // What a router gives another, it gives no cell.
    let cell = secure.process(&secure.secrets.mesh("cell-1"), "router.wallet.internal");
    let in_use = format!("{}/v1/placement/in-use", others[0].admin);
    let refused = ask(&cell, &[], "GET", &in_use, "").await;
    assert!(!refused.is_ok_and(|answer| answer.status == 200));
    // Without another, a new one waits.
    let lonely = Router::start(&secure, None);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let answer = ask(&monitor, &[], "GET", &format!("{}/readyz", lonely.admin), "").await.expect("it lives");
    assert_eq!(answer.status, 503, "{}", answer.text);
    kill(away, Signal::SIGCONT).expect("it runs");
    lonely.until_ready(&monitor).await;
}
