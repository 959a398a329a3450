//! Who may import whom: the directions of the architecture, read from manifests and sources.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const OWN: [&str; 8] =
    ["topology", "telemetry", "access", "ledger", "cell", "router", "control-plane", "local-dynamodb"];

/// What each crate may import of the others.
const ALLOWED: [(&str, &[&str]); 8] = [
    ("topology", &[]),
    ("telemetry", &[]),
    ("access", &["topology"]),
    ("ledger", &["topology", "telemetry"]),
    ("cell", &["topology", "telemetry", "access", "ledger"]),
    ("router", &["topology", "telemetry", "access"]),
    ("control-plane", &["topology", "telemetry", "access", "ledger"]),
    ("local-dynamodb", &[]),
];

/// The pure modules: no I/O, no clock, no serialization, no logging.
const PURE: [&str; 18] = [
    "ledger/src/money.rs",
    "ledger/src/time.rs",
    "ledger/src/block.rs",
    "ledger/src/state.rs",
    "ledger/src/canonical.rs",
    "ledger/src/chain.rs",
    "ledger/src/decide.rs",
    "ledger/src/rows.rs",
    "ledger/src/keys.rs",
    "ledger/src/snapshots.rs",
    "ledger/src/merkle.rs",
    "ledger/src/moving.rs",
    "cell/src/sequencer",
    "cell/src/admission/rate.rs",
    "cell/src/admission/concurrency.rs",
    "control-plane/src/deploys/state.rs",
    "control-plane/src/deploys/statistics.rs",
    "control-plane/src/deploys/judge.rs",
];
const IMPURE: [&str; 11] =
    ["tokio", "axum", "hyper", "reqwest", "aws_", "serde", "tracing", "telemetry", "metrics", "std::fs", "std::net"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace is above this crate").to_owned()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every Rust file at or below `path` that is shipped; of a module, its own file and those of its folder.
fn sources(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![path.to_owned()];
    found.extend(Some(path.with_extension("rs")).filter(|file| file.is_file()));
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            // Unit tests may use what they like.
            if path.file_stem().is_some_and(|name| name == "tests") {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                found.push(path);
            }
        }
    }
    found
}

/// The code of a file: without comments and without its unit tests.
fn code(path: &Path) -> String {
    let text = read(path);
    let shipped = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    shipped.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Whether `code` names the crate or module `name` in a path.
fn names(code: &str, name: &str) -> bool {
    code.match_indices(name).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let own_word = before.is_none_or(|c| !c.is_alphanumeric() && c != '_');
        let rest = &code[at + name.len()..];
        // `aws_` stands for every crate whose name starts so.
        own_word && (name.ends_with('_') || rest.starts_with("::") || rest.starts_with(';'))
    })
}

/// Names in the `[dependencies]` table of a manifest (not those of tests).
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let table = manifest.lines().skip_while(|line| line.trim() != "[dependencies]").skip(1);
    let entries = table.take_while(|line| !line.trim_start().starts_with('['));
    let name = |line: &str| line.split(['.', '=', ' ']).next().unwrap_or_default().trim().to_owned();
    entries.map(name).filter(|name| !name.is_empty() && !name.starts_with('#')).collect()
}

#[test]
fn crates_import_one_another_only_in_the_allowed_directions() {
    for (own, allowed) in ALLOWED {
        let folder = root().join(own);
        let dependencies = dependencies(&read(&folder.join("Cargo.toml")));
        assert!(!dependencies.is_empty(), "{own}: no dependencies read");
        // A crate's own tests may use any other as a tool; what is shipped may not.
        let shipped = |file: &PathBuf| !file.starts_with(folder.join("src/tests")) && !file.ends_with("src/tests.rs");
        let files: Vec<_> = sources(&folder.join("src")).into_iter().filter(shipped).collect();
        assert!(!files.is_empty(), "{own}: no sources read");
        for other in OWN.into_iter().filter(|other| *other != own && !allowed.contains(other)) {
            assert!(!dependencies.contains(other), "{own} depends on {other}");
            for file in &files {
                let imports = format!("use {}", other.replace('-', "_"));
                let found = code(file).lines().any(|line| {
                    let line = line.trim_start().trim_start_matches("pub ");
                    line.strip_prefix(&imports).is_some_and(|rest| rest.starts_with("::") || rest.starts_with(';'))
                });
                assert!(!found, "{} imports {other}", file.display());
            }
        }
    }
}

#[test]
fn pure_modules_do_no_io_and_know_no_framework() {
    for module in PURE {
        let path = root().join(module.trim_end_matches(".rs"));
        let files = sources(&path);
        assert!(!files.is_empty(), "{module} is gone: is it still pure where it is now?");
        for file in files {
            let code = code(&file);
            for name in IMPURE {
                assert!(!names(&code, name), "{} names {name}", file.display());
            }
            for word in ["async fn", ".await", "SystemTime::now", "Instant::now", "OffsetDateTime::now"] {
                assert!(!code.contains(word), "{} says {word}", file.display());
            }
        }
    }
}

#[test]
fn the_reader_of_directions_is_not_blind() {
    assert!(names("use tokio::time::Instant;", "tokio") && names("tracing::info!()", "tracing"));
    assert!(names("use aws_sdk_dynamodb::Client;", "aws_") && !names("let laws_ = 1;", "aws_"));
    assert!(!names("use crate::serde_like::X;", "serde") && !names("mytokio::x()", "tokio"));
    let manifest =
        "[package]\nname = 'x'\n[dependencies]\nledger.workspace = true\na = \"1\"\n\n[dev-dependencies]\nb = \"1\"\n";
    assert_eq!(dependencies(manifest), BTreeSet::from(["ledger".into(), "a".into()]));
}
