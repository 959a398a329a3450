//! Which crate may import which: the directions of the architecture, read from manifests and
//! sources.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What each crate may import of the others. `simulation` and `tests` may import all.
const ALLOWED: [(&str, &[&str]); 20] = [
    ("topology", &[]),
    ("telemetry", &[]),
    ("access", &["topology"]),
    ("ledger", &["topology"]),
    ("archive", &["topology", "ledger"]),
    ("store", &["topology", "telemetry", "ledger", "archive"]),
    ("mover", &["topology", "ledger", "store"]),
    ("cell", &["topology", "telemetry", "access", "ledger", "store", "archive"]),
    ("router", &["topology", "telemetry", "access"]),
    ("command-line", &[]),
    ("control-api", &["topology", "access", "ledger", "command-line"]),
    ("restoration", &["topology", "ledger", "store", "archive", "mover", "control-api"]),
    ("deploy-analysis", &["topology", "control-api"]),
    ("reconciliation", &["topology", "ledger", "control-api"]),
    ("local-fleet", &["topology", "access", "ledger", "control-api", "command-line"]),
    ("load-generator", &["topology", "access", "ledger", "control-api", "reconciliation", "command-line"]),
    (
        "drills",
        &[
            "topology",
            "ledger",
            "store",
            "reconciliation",
            "control-api",
            "command-line",
            "local-fleet",
            "load-generator",
        ],
    ),
    (
        "ctl",
        &[
            "topology",
            "access",
            "ledger",
            "archive",
            "control-api",
            "reconciliation",
            "command-line",
            "local-fleet",
            "load-generator",
            "drills",
        ],
    ),
    (
        "control-plane",
        &[
            "topology",
            "telemetry",
            "access",
            "ledger",
            "store",
            "archive",
            "mover",
            "restoration",
            "deploy-analysis",
            "reconciliation",
            "control-api",
            "command-line",
            "local-fleet",
        ],
    ),
    ("local-dynamodb", &[]),
];

/// Pure code: no I/O, no clock, no serialization, no logging. Of `ledger`, the manifest says the same.
const PURE: [&str; 9] = [
    "ledger/src",
    "archive/src/chains.rs",
    "cell/src/sequencer",
    "cell/src/admission/rate.rs",
    "cell/src/admission/concurrency.rs",
    "cell/src/feed/open_wallets.rs",
    "control-plane/src/deploys/state.rs",
    "deploy-analysis/src/statistics.rs",
    "deploy-analysis/src/judge.rs",
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
        // `aws_` means every crate with a name that starts so.
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

/// What a manifest does not name, no source of the crate can import: the compiler sees to that.
#[test]
fn crates_depend_on_one_another_only_as_allowed() {
    let own: Vec<_> = ALLOWED.iter().map(|(name, _)| *name).collect();
    for (name, allowed) in ALLOWED {
        let dependencies = dependencies(&read(&root().join(name).join("Cargo.toml")));
        assert!(!dependencies.is_empty() || name == "topology", "{name}: no dependencies read");
        for other in own.iter().filter(|other| **other != name && dependencies.contains(**other)) {
            assert!(allowed.contains(other), "{name} depends on {other}");
        }
    }
}

#[test]
fn every_crate_has_its_row() {
    let manifest = read(&root().join("Cargo.toml"));
    let members = manifest.split("members = [").nth(1).and_then(|rest| rest.split(']').next()).unwrap_or_default();
    let members: BTreeSet<_> = members.split('"').skip(1).step_by(2).collect();
    let rows = ALLOWED.iter().map(|(name, _)| *name).chain(["simulation", "tests"]);
    assert_eq!(rows.collect::<BTreeSet<_>>(), members);
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
fn jobs_know_no_kind_of_job_and_the_kinds_not_each_other() {
    for (module, unknown) in
        [("jobs", "operations"), ("jobs", "deploys"), ("deploys", "operations"), ("operations", "deploys")]
    {
        for file in sources(&root().join("control-plane/src").join(module)) {
            let name = format!("crate::{unknown}");
            assert!(!names(&code(&file), &name), "{} names {name}", file.display());
        }
    }
}

/// `a/{b,c}.rs` as `a/b.rs` and `a/c.rs`.
fn expanded(path: &str) -> Vec<String> {
    let Some((before, rest)) = path.split_once('{') else { return vec![path.to_owned()] };
    let (names, after) = rest.split_once('}').unwrap_or((rest, ""));
    names.split(',').flat_map(|name| expanded(&format!("{before}{name}{after}"))).collect()
}

#[test]
fn every_path_on_the_map_exists() {
    let map = read(&root().join("ARCHITECTURE.md"));
    let mut checked = 0;
    for line in map.lines() {
        // A path is whole, or goes on from a folder that an earlier one on its line is in.
        let mut folders = vec![root()];
        for word in line.split('`').skip(1).step_by(2) {
            let is_path = word.contains('/') && !word.starts_with('/') && !word.contains([' ', '*', ':']);
            for path in expanded(word).iter().filter(|_| is_path) {
                let found = folders.iter().map(|folder| folder.join(path)).find(|path| path.exists());
                let found = found.unwrap_or_else(|| panic!("{path} is not there: {line}"));
                folders.extend(found.ancestors().take_while(|folder| *folder != root()).map(Path::to_owned));
                checked += 1;
            }
        }
    }
    assert!(checked > 100, "{checked} paths read");
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
