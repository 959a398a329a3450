//! Every action of the page: one table, by which forms are made, carried out, and shown as `ctl`
//! commands.
//!
//! It must never hold an action that the HTTP API does not have.

use control_api::{DeployId, OperationId};
use serde_json::{Map, Value, json};
use topology::{CellId, WalletId, ZoneId};

use super::limits::ZONE_MINUTES_DEFAULT;

/// What a form asks for beside the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// `seconds`, asked for in minutes.
    Minutes,
    /// `to`: a cell.
    To,
}

/// One thing that can be done to one thing.
#[derive(Debug, Clone, PartialEq)]
pub struct Action {
    /// In the path of its form.
    pub noun: &'static str,
    pub name: String,
    pub verb: &'static str,
    /// On its button.
    pub label: &'static str,
    /// What will happen, for an operator in doubt.
    pub means: &'static str,
    /// As the policy knows it, and as it is asked for.
    pub route: &'static str,
    pub path: String,
    /// Of the request, without actor and reason.
    pub body: Map<String, Value>,
    /// It leaves out a safeguard.
    pub force: bool,
    /// The name has to be typed.
    pub confirm: bool,
    pub field: Option<Field>,
    /// The same at the command line, without the reason.
    pub command: String,
}

impl Action {
    /// Of its elements on the page, and of its form's path.
    pub fn id(&self) -> String {
        format!("do-{}-{}-{}", self.noun, self.name, self.verb)
    }

    pub fn form(&self) -> String {
        format!("/page/do/{}/{}/{}", self.noun, self.name, self.verb)
    }
}

struct Row {
    noun: &'static str,
    verb: &'static str,
    label: &'static str,
    means: &'static str,
    route: &'static str,
    force: bool,
    confirm: bool,
    field: Option<Field>,
    /// `{}` is the name.
    command: &'static str,
}

const OPERATION: &str = "/v1/operations";

#[rustfmt::skip]
const TABLE: [Row; 16] = [
    row("operation", "pause", "Pause", "The step in progress is finished, then nothing more is moved.", "/v1/operations/{id}/pause", "ctl migrate pause {}"),
    row("operation", "resume", "Resume", "It goes on where it stopped; a failed step is tried again.", "/v1/operations/{id}/resume", "ctl migrate resume {} --detach"),
    row("operation", "abort", "Abort", "Steps done stay done, those in progress are taken back.", "/v1/operations/{id}/abort", "ctl migrate abort {}"),
    row("operation", "reverse", "Move back", "What it has moved is moved back, as an operation of its own.", OPERATION, "ctl migrate reverse {} --yes --detach"),
    Row { confirm: true, ..row("cell", "evacuate", "Evacuate", "All its customers are moved to the other cells, while they are served.", OPERATION, "ctl cell evacuate {} --yes --detach") },
    row("cell", "drain", "Drain", "It takes no new customers; those that are there stay.", "/v1/cells/{id}/drain", "ctl cell drain {}"),
    row("cell", "undrain", "Take customers", "It takes new customers: again, or for the first time.", "/v1/cells/{id}/undrain", "ctl cell undrain {}"),
    row("fleet", "rebalance", "Rebalance", "Each cell gets its share of buckets by weight, with the fewest moves.", OPERATION, "ctl rebalance --yes --detach"),
    Row { field: Some(Field::To), ..row("wallet", "move", "Move this customer", "The wallet is moved to the cell that you choose and pinned there.", OPERATION, "ctl migrate --wallet {} --to CELL --yes --detach") },
    row("deploy", "pause", "Pause", "No further instance is replaced.", "/v1/deploys/{id}/pause", "ctl deploy pause {}"),
    row("deploy", "resume", "Resume", "It goes on; one that was undecided is watched again.", "/v1/deploys/{id}/resume", "ctl deploy resume {} --detach"),
    Row { force: true, confirm: true, ..row("deploy", "promote", "Promote", "On to the next wave, whatever the figures say.", "/v1/deploys/{id}/promote", "ctl deploy promote {} --detach") },
    row("deploy", "rollback", "Roll back", "What ran before is put back.", "/v1/deploys/{id}/rollback", "ctl deploy rollback {} --detach"),
    Row { field: Some(Field::Minutes), ..row("zone", "evacuate", "Leave the zone", "Requests and DNS answers avoid the zone for so long.", "/v1/zones/{zone}/evacuate", "ctl zone evacuate {} --for 1h") },
    row("zone", "restore", "Use the zone again", "Requests and DNS use it like the others.", "/v1/zones/{zone}/restore", "ctl zone restore {}"),
    Row { field: Some(Field::Minutes), force: true, confirm: true, ..row("zone", "leave", "Leave it all the same", "As above, also if too little would stay.", "/v1/zones/{zone}/evacuate", "ctl zone evacuate {} --for 1h --force") },
];

const fn row(
    noun: &'static str,
    verb: &'static str,
    label: &'static str,
    means: &'static str,
    route: &'static str,
    command: &'static str,
) -> Row {
    Row { noun, verb, label, means, route, force: false, confirm: false, field: None, command }
}

/// `None`: there is no such thing to do.
pub fn action(noun: &str, name: &str, verb: &str) -> Option<Action> {
    let row = TABLE.iter().find(|row| row.noun == noun && row.verb == verb)?;
    if !is_name(row.noun, name) {
        return None;
    }
    let body = match (row.noun, row.verb) {
        ("operation", "reverse") => json!({ "kind": "reverse", "operation": name }),
        ("cell", "evacuate") => json!({ "kind": "evacuate", "cell": name }),
        ("fleet", _) => json!({ "kind": "rebalance" }),
        ("wallet", _) => json!({ "kind": "migrate", "scope": { "wallet": name } }),
        ("zone", "leave") => json!({ "force": true }),
        _ => json!({}),
    };
    let Value::Object(body) = body else { return None };
    Some(Action {
        noun: row.noun,
        name: name.to_owned(),
        verb: row.verb,
        label: row.label,
        means: row.means,
        route: row.route,
        path: row.route.replace("{id}", name).replace("{zone}", name),
        body,
        force: row.force,
        confirm: row.confirm,
        field: row.field,
        command: row.command.replace("{}", name),
    })
}

/// Those of these verbs that there are, in this order.
pub fn of(noun: &str, name: &str, verbs: &[&str]) -> Vec<Action> {
    verbs.iter().filter_map(|verb| action(noun, name, verb)).collect()
}

fn is_name(noun: &str, name: &str) -> bool {
    match noun {
        "operation" => name.parse::<OperationId>().is_ok(),
        "deploy" => name.parse::<DeployId>().is_ok(),
        "cell" => CellId::parse(name).is_ok(),
        "zone" => ZoneId::parse(name).is_ok(),
        "wallet" => name.parse::<WalletId>().is_ok(),
        "fleet" => name == "all",
        _ => false,
    }
}

/// What is said after something was done; nothing of what is no action of ours.
pub fn done(verb: &str, name: &str) -> Option<String> {
    let row = TABLE.iter().find(|row| row.verb == verb && is_name(row.noun, name))?;
    let of = if row.noun == "fleet" { "" } else { name };
    Some(format!("Done: {} {of}", row.label.to_lowercase()).trim_end().to_owned())
}

/// `seconds` of the minutes of a form.
pub fn seconds(minutes: Option<&str>) -> Option<u32> {
    let minutes = minutes.map_or(Some(ZONE_MINUTES_DEFAULT), |text| text.parse().ok());
    minutes.filter(|minutes| *minutes > 0)?.checked_mul(60)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use ctl::flags::Flags;

    const WALLET: &str = "df37fb4b-6633-5f4a-8daa-254b84952041";

    fn name(noun: &str) -> &'static str {
        match noun {
            "operation" => "op-7",
            "deploy" => "deploy-7",
            "cell" => "cell-7",
            "zone" => "az-7",
            "wallet" => WALLET,
            _ => "all",
        }
    }

    #[test]
    fn every_command_is_one_that_ctl_takes() {
        for row in &TABLE {
            let action = action(row.noun, name(row.noun), row.verb).expect("in the table");
            let words = action.command.replace("CELL", "cell-1");
            let words = words.split(' ').chain(["--reason", "it burns"]);
            if let Err(error) = Flags::try_parse_from(words) {
                panic!("{}: {error}", action.command);
            }
        }
    }

    #[test]
    fn a_name_that_is_none_asks_for_nothing() {
        for (noun, name, verb) in [
            ("operation", "7", "pause"),
            ("operation", "op-7/../../cells", "pause"),
            ("operation", "op-7", "forget"),
            ("cell", "", "evacuate"),
            ("cell", "cell-1/remove?", "drain"),
            ("zone", "a b", "evacuate"),
            ("wallet", "ann", "move"),
            ("fleet", "some", "rebalance"),
            ("keys", "all", "steal"),
        ] {
            assert_eq!(action(noun, name, verb), None, "{noun} {name} {verb}");
        }
        assert_eq!(done("pause", "<b>"), None);
        assert_eq!(done("pause", "op-7").as_deref(), Some("Done: pause op-7"));
        assert_eq!(done("rebalance", "all").as_deref(), Some("Done: rebalance"));
    }

    #[test]
    fn what_leaves_out_a_safeguard_is_told_to_the_policy() {
        let forced: Vec<_> = TABLE.iter().filter(|row| row.force).map(|row| (row.noun, row.verb)).collect();
        assert_eq!(forced, [("deploy", "promote"), ("zone", "leave")]);
        assert_eq!((seconds(Some("90")), seconds(None)), (Some(5_400), Some(3_600)));
        assert_eq!((seconds(Some("0")), seconds(Some("-1")), seconds(Some("4294967295"))), (None, None, None));
    }
}
