//! Instances anywhere: a command of the operators' is run for each, with what is wanted in its environment. It is run again
//! after a crash of either side, so it has to be idempotent: to set a version is, to raise one is not.
//!
//! It must never be given through a shell, nor what a request says but for a checked version.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use control_api::Program;
use serde::Deserialize;
use tokio::process::Command;

use super::{Order, Replaced, Replacer, Trouble};

const TIMEOUT_DEFAULT_SECONDS: u64 = 600;
const TIMEOUT_MAX_SECONDS: u64 = 3_600;
/// Exit code of a command that could not be carried out now, and is to be run again: EX_TEMPFAIL of sysexits.
const TRY_AGAIN: i32 = 75;
/// Of what the command says, the end is kept.
const SAID_MAX_CHARS: usize = 400;

/// `{"argv": ["/usr/local/bin/set-version"], "timeoutSeconds": 600}` in this file, which is read for each run.
pub struct Configured(pub PathBuf);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Settings {
    argv: Vec<String>,
    #[serde(default = "usual")]
    timeout_seconds: u64,
}

fn usual() -> u64 {
    TIMEOUT_DEFAULT_SECONDS
}

impl Configured {
    fn settings(&self) -> Result<Settings, String> {
        let text = std::fs::read(&self.0).map_err(|error| format!("cannot read {}: {error}", self.0.display()))?;
        let settings: Settings =
            serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", self.0.display()))?;
        if settings.argv.is_empty() || !(1..=TIMEOUT_MAX_SECONDS).contains(&settings.timeout_seconds) {
            return Err(format!(
                "{}: argv names a program, timeoutSeconds is 1 to {TIMEOUT_MAX_SECONDS}",
                self.0.display()
            ));
        }
        Ok(settings)
    }
}

impl Replacer for Configured {
    fn replace<'a>(&'a self, order: &'a Order) -> Replaced<'a> {
        Box::pin(async move {
            let settings = self.settings().map_err(Trouble::Later)?;
            let mut command = Command::new(&settings.argv[0]);
            command.args(&settings.argv[1..]).stdin(Stdio::null()).kill_on_drop(true);
            let cell = if order.of == Program::Cells { &order.part.0 } else { "" };
            command.env("DEPLOY", &order.deploy).env("OF", order.of.as_str()).env("CELL", cell);
            command.env("ZONE", order.zone.as_ref().map_or("", |zone| zone.as_str()));
            command.env("ROLE", order.role.name());
            command.env("INSTANCE", order.instance.to_string()).env("VERSION", order.version.as_str());
            command.env("ORDER", order.number.to_string());
            let bound = Duration::from_secs(settings.timeout_seconds);
            let output = match tokio::time::timeout(bound, command.output()).await {
                Err(_) => return Err(Trouble::Fatal(format!("{} took longer than {bound:?}", settings.argv[0]))),
                Ok(Err(error)) => return Err(Trouble::Later(format!("cannot run {}: {error}", settings.argv[0]))),
                Ok(Ok(output)) => output,
            };
            let said: String = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            let skipped = said.chars().count().saturating_sub(SAID_MAX_CHARS);
            let why =
                format!("{} {}: {}", settings.argv[0], output.status, said.chars().skip(skipped).collect::<String>());
            match output.status.code() {
                Some(0) => Ok(()),
                Some(TRY_AGAIN) => Err(Trouble::Later(why)),
                _ => Err(Trouble::Fatal(why)),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use control_api::PartId;
    use topology::{InstanceId, Role, Version, ZoneId};

    use super::*;

    #[tokio::test]
    async fn a_command_is_told_what_is_wanted_and_its_exit_code_decides() {
        let folder = std::env::temp_dir().join(format!("wallet-replacer-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a directory");
        let (file, log) = (folder.join("command.json"), folder.join("log"));
        let order = Order {
            deploy: "deploy-3".into(),
            of: Program::Cells,
            part: PartId("cell-1".into()),
            instance: InstanceId("cell-1-a".into()),
            zone: Some(ZoneId::parse("z1").expect("sound")),
            role: Role::Accounts,
            version: Version::parse("v2").expect("sound"),
            number: 7,
        };
        let run = async |script: String, timeout: u64| {
            let settings = serde_json::json!({ "argv": ["/bin/sh", "-c", script], "timeoutSeconds": timeout });
            std::fs::write(&file, settings.to_string()).expect("written");
            Configured(file.clone()).replace(&order).await
        };
        let echo = format!("echo $DEPLOY $OF $CELL $ZONE $ROLE $INSTANCE $VERSION $ORDER > {}", log.display());
        assert_eq!(run(echo, 5).await, Ok(()));
        assert_eq!(
            std::fs::read_to_string(&log).expect("written"),
            "deploy-3 cells cell-1 z1 accounts cell-1-a v2 7\n"
        );
        let failed = run("echo no such image >&2; exit 1".into(), 5).await;
        assert!(matches!(&failed, Err(Trouble::Fatal(why)) if why.ends_with("no such image")), "{failed:?}");
        assert!(matches!(run("exit 75".into(), 5).await, Err(Trouble::Later(_))));
        assert!(matches!(run("sleep 30".into(), 1).await, Err(Trouble::Fatal(_))));
        std::fs::write(&file, "{}").expect("written");
        assert!(matches!(Configured(file.clone()).replace(&order).await, Err(Trouble::Later(_))));
        let _ = std::fs::remove_dir_all(folder);
    }
}
