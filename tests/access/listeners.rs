//! What the programs refuse to do without keys of their own: to start with another process's, and
//! to listen where others than this machine can reach them.

use std::process::Stdio;

use local_fleet::secrets::{ROUTER, Secrets};
use topology::CellId;

use crate::fleet::{programs, within};

async fn refusal(program: &str, args: &[&str]) -> String {
    let mut command = tokio::process::Command::new(programs::program(program));
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    let output = within(30, program, command.output()).await.expect("it can be run");
    assert!(!output.status.success(), "{program} {args:?} runs");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const NAMESPACE: &str = "6f1a0c52-9f35-4d0e-8a3d-3c1c6a6b1f10";

#[tokio::test]
async fn no_process_starts_with_the_certificate_of_another() {
    let folder = std::env::temp_dir().join(format!("wallet-names-{}", std::process::id()));
    let secrets = Secrets::of(&folder);
    secrets.prepare(&[CellId::parse("cell-1").expect("sound")]).expect("issued");
    let data = folder.join("data").to_string_lossy().into_owned();
    let cell = ["serve", "--id", "cell-2", "--namespace", NAMESPACE];
    let router = ["--namespace", NAMESPACE, "--data-dir", &data];
    for (program, words, shown, missing) in [
        ("cell", &cell[..], "cell-1", "cell-2.cell.wallet.internal"),
        ("cell", &cell[..], ROUTER, "cell.wallet.internal"),
        ("router", &router[..], "cell-1", "router.wallet.internal"),
    ] {
        let files = secrets.mesh(shown).paths().map(|path| path.to_string_lossy().into_owned());
        let [authority, certificate, key] = &files;
        let mesh = ["--mesh-ca", authority, "--mesh-cert", certificate, "--mesh-key", key];
        let said = refusal(program, &[words, &mesh[..]].concat()).await;
        assert!(said.contains(&format!("needs a certificate for {missing}")), "{program} with {shown}: {said}");
    }
    let _ = std::fs::remove_dir_all(folder);
}

#[tokio::test]
async fn nothing_listens_for_other_machines_without_keys() {
    let data = std::env::temp_dir().join(format!("wallet-door-{}", std::process::id()));
    let data = data.to_string_lossy().into_owned();
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/../cells.toml");
    let local = "127.0.0.1:0";
    let router = |listens: [&str; 3]| {
        let [public, internal, admin] = listens.map(str::to_owned);
        let words = ["--listen", &public, "--internal-listen", &internal, "--admin-listen", &admin];
        let rest = ["--namespace", NAMESPACE, "--data-dir", &data];
        [&words[..], &rest[..]].concat().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    for (listens, flags) in [
        (["0.0.0.0:0", local, local], ["--listen", "--tls-cert"]),
        ([local, "0.0.0.0:0", local], ["--internal-listen", "--mesh-cert"]),
        ([local, local, "[::]:0"], ["--admin-listen", "--mesh-cert"]),
    ] {
        let args = router(listens);
        let said = refusal("router", &args.iter().map(String::as_str).collect::<Vec<_>>()).await;
        assert!(flags.iter().all(|flag| said.contains(flag)), "{said}");
    }
    let said = refusal("cell", &["serve", "--id", "cell-1", "--namespace", NAMESPACE, "--listen", "0.0.0.0:0"]).await;
    assert!(said.contains("--listen") && said.contains("--mesh-cert"), "{said}");
    let said = refusal("control-plane", &["--config", config, "--listen", "0.0.0.0:0"]).await;
    assert!(said.contains("--listen") && said.contains("--auth-jwks"), "{said}");
    let said = refusal("ctl", &["--data", &data, "token", "--customer", "ann"]).await;
    assert!(said.contains("no development key"), "{said}");
    let _ = std::fs::remove_dir_all(data);
}
