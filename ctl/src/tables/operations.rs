//! How plans, operations and the audit look to people.

use command_line::columns;
use control_api::{AuditEntry, Change, DeployAudit, OperationId, OperationView, Plan, Scope, Verified, Wanted};
use serde::Serialize;

/// Mismatches shown; `-o json` has all.
const MISMATCHES_SHOWN: usize = 20;

pub fn plan(plan: &Plan, explain: bool) -> String {
    if plan.steps.is_empty() {
        return format!("nothing to move at placement version {}\n", plan.placement_version);
    }
    let row = |moved: &control_api::MoveSummary| {
        vec![
            moved.from.to_string(),
            moved.to.to_string(),
            moved.buckets.to_string(),
            moved.wallets.to_string(),
            moved.why.clone(),
        ]
    };
    let rows: Vec<_> = plan.moves.iter().map(row).collect();
    let mut text = columns(&["FROM", "TO", "BUCKETS", "PINNED", "WHY"], &rows);
    let counted = plan.wallets.map_or_else(|| "not counted".to_owned(), |wallets| wallets.to_string());
    let (steps, version) = (plan.steps.len(), plan.placement_version);
    let bytes = plan.bytes.map_or_else(String::new, |bytes| format!(", about {bytes} bytes"));
    text.push_str(&format!("{steps} steps at placement version {version}; wallets: {counted}{bytes}\n"));
    for room in &plan.headroom {
        let number = |number: Option<i64>| number.map_or_else(|| "unknown".to_owned(), |number| number.to_string());
        let before = number(room.before.and_then(|before| i64::try_from(before).ok()));
        text.push_str(&format!("room in {}: {before} before, {} after\n", room.cell, number(room.after)));
    }
    if explain {
        text.extend(plan.steps.iter().map(|step| format!("{step}\n")));
    }
    text
}

fn what(wanted: &Wanted) -> String {
    match wanted {
        Wanted::Migrate { scope: Scope::Wallet(wallet), to } => format!("wallet {wallet} to {to}"),
        Wanted::Migrate { scope: Scope::User(user), to } => format!("user {user} to {to}"),
        Wanted::Migrate { scope: Scope::Buckets(range), to } => {
            format!("buckets {}..{} to {to}", range.first, range.last)
        }
        Wanted::Rebalance { max_moves: Some(most) } => format!("at most {most} buckets"),
        Wanted::Rebalance { max_moves: None } => "all cells".to_owned(),
        Wanted::Evacuate { cell, force } => format!("{cell}{}", if *force { ", forced" } else { "" }),
        Wanted::Reverse { operation } | Wanted::Forget { operation, .. } => operation.to_string(),
    }
}

pub fn list(operations: &[OperationView]) -> String {
    let row = |view: &OperationView| {
        vec![
            view.id.to_string(),
            view.wanted.kind().as_str().to_owned(),
            view.state.as_str().to_owned(),
            format!("{}/{}", view.progress.steps_done, view.steps),
            view.progress.wallets.to_string(),
            view.created_at.clone(),
            view.because.actor.clone(),
            what(&view.wanted),
        ]
    };
    let header = ["OPERATION", "KIND", "STATE", "STEPS", "WALLETS", "CREATED", "ACTOR", "WHAT"];
    columns(&header, &operations.iter().map(row).collect::<Vec<_>>())
}

pub fn one(view: &OperationView) -> String {
    let progress = &view.progress;
    let mut rows = vec![
        ("operation", view.id.to_string()),
        ("kind", format!("{}: {}", view.wanted.kind().as_str(), what(&view.wanted))),
        ("state", view.state.as_str().to_owned()),
        ("steps", format!("{} of {}", progress.steps_done, view.steps)),
        ("buckets", view.buckets.to_string()),
        ("wallets", progress.wallets.to_string()),
        ("moved", format!("{} blocks, {} bytes", progress.blocks, progress.bytes)),
        ("cutover", format!("{:.1} ms at most", progress.longest_cutover_micros as f64 / 1_000.0)),
        ("created", format!("{} by {}: {}", view.created_at, view.because.actor, view.because.reason)),
    ];
    rows.extend(view.finished_at.iter().map(|at| ("finished", at.clone())));
    rows.extend(view.last_error.iter().map(|error| ("error", error.clone())));
    rows.extend(view.forgotten_by.iter().map(|by| ("forgotten", format!("by {by}"))));
    rows.iter().map(|(name, value)| format!("{name:9} {value}\n")).collect()
}

pub fn verified(done: &Verified) -> String {
    let mut text = format!("{} wallets compared, {} mismatches\n", done.wallets, done.mismatches.len());
    let shown = done.mismatches.iter().take(MISMATCHES_SHOWN);
    text.extend(shown.map(|mismatch| format!("{}: {}\n", mismatch.wallet, mismatch.what)));
    text
}

/// One line of the audit: of an operation or of the placement.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    pub at: String,
    pub of: String,
    pub what: String,
    pub actor: String,
    pub reason: String,
}

/// Both kinds in one list, newest first: times of one form sort as texts.
pub fn merged(entries: Vec<AuditEntry>, changes: Vec<Change>, of: Option<OperationId>, limit: usize) -> Vec<Line> {
    let entries = entries.into_iter().map(|entry| Line {
        at: entry.at,
        of: entry.operation.to_string(),
        what: format!(
            "{}: {}{}",
            entry.what,
            entry.before.map_or_else(String::new, |before| format!("{} -> ", before.as_str())),
            entry.after.as_str()
        ),
        actor: entry.actor,
        reason: entry.reason,
    });
    // A change of the placement names its operation in its reason.
    let ours = |change: &Change| of.is_none_or(|of| change.reason.starts_with(&format!("{of}: ")));
    let changes = changes.into_iter().filter(ours).map(|change| Line {
        what: format!("{}: {} buckets, {} pins", change.kind, change.buckets, change.pins),
        at: change.at,
        of: format!("version {}", change.version),
        actor: change.actor,
        reason: change.reason,
    });
    newest(entries.chain(changes).collect(), limit)
}

impl From<DeployAudit> for Line {
    fn from(entry: DeployAudit) -> Self {
        let before = entry.before.map_or_else(String::new, |before| format!("{} -> ", before.as_str()));
        Self {
            at: entry.at,
            of: entry.deploy.to_string(),
            what: format!("{}: {before}{}", entry.what, entry.after.as_str()),
            actor: entry.actor,
            reason: entry.reason,
        }
    }
}

pub fn newest(mut lines: Vec<Line>, limit: usize) -> Vec<Line> {
    lines.sort_by_key(|line| std::cmp::Reverse(sortable(&line.at)));
    lines.truncate(limit);
    lines
}

/// A whole second is written without its fraction: `…05Z` comes before `…05.001Z`, but not as text.
fn sortable(at: &str) -> String {
    match at.strip_suffix('Z') {
        Some(text) if !text.contains('.') => format!("{text}.000"),
        Some(text) => text.to_owned(),
        None => at.to_owned(),
    }
}

pub fn audit(lines: &[Line]) -> String {
    let row = |line: &Line| {
        vec![line.at.clone(), line.of.clone(), line.what.clone(), line.actor.clone(), line.reason.clone()]
    };
    columns(&["AT", "OF", "WHAT", "ACTOR", "REASON"], &lines.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
pub mod tests {
    use topology::Bucket;

    use super::*;
    use control_api::{
        Because, BucketRange, Headroom, Limits, MoveSummary, OperationKind, OperationProgress, OperationState, Piece,
        Step,
    };

    fn cell(number: u16) -> topology::CellId {
        topology::CellId::parse(format!("cell-{number}")).expect("sound")
    }

    const RANGE: BucketRange = BucketRange { first: Bucket(0), last: Bucket(255) };

    pub fn view() -> OperationView {
        OperationView {
            id: OperationId(3),
            state: OperationState::Running,
            wanted: Wanted::Migrate { scope: Scope::Buckets(RANGE), to: cell(2) },
            because: Because { actor: "ann".into(), reason: "room".into() },
            limits: Limits::default(),
            created_at: "2026-01-02T03:04:05Z".into(),
            updated_at: "2026-01-02T03:04:06Z".into(),
            finished_at: None,
            placement_version: 7,
            steps: 4,
            buckets: 256,
            wallets_planned: Some(1_000),
            moves: vec![],
            progress: OperationProgress {
                steps_done: 1,
                wallets: 250,
                blocks: 900,
                bytes: 2_000_000,
                longest_cutover_micros: 4_200,
                strays: 0,
            },
            last_error: None,
            forgotten_by: None,
        }
    }

    #[test]
    fn a_plan_says_what_moves_and_why() {
        let summary = MoveSummary { from: cell(1), to: cell(2), buckets: 10, wallets: 0, why: "asked for".into() };
        let range = BucketRange { first: Bucket(0), last: Bucket(9) };
        let shown = Plan {
            placement_version: 7,
            hash: String::new(),
            steps: vec![Step { piece: Piece::Buckets(range), from: cell(1), to: cell(2) }],
            moves: vec![summary],
            wallets: Some(12),
            bytes: Some(3_000),
            headroom: vec![Headroom { cell: cell(2), before: Some(100), after: Some(88) }],
        };
        let golden = "\
FROM    TO      BUCKETS  PINNED  WHY
cell-1  cell-2  10       0       asked for
1 steps at placement version 7; wallets: 12, about 3000 bytes
room in cell-2: 100 before, 88 after
buckets 0000..0009 from cell-1 to cell-2
";
        assert_eq!(plan(&shown, true), golden);
        assert_eq!(plan(&Plan { steps: vec![], ..shown }, true), "nothing to move at placement version 7\n");
    }

    #[test]
    fn operations_are_a_table_and_one_is_a_list_of_facts() {
        let golden = "\
OPERATION  KIND     STATE    STEPS  WALLETS  CREATED               ACTOR  WHAT
op-3       migrate  running  1/4    250      2026-01-02T03:04:05Z  ann    buckets 0000..00ff to cell-2
";
        assert_eq!(list(&[view()]), golden);
        let golden = "\
operation op-3
kind      migrate: buckets 0000..00ff to cell-2
state     failed
steps     1 of 4
buckets   256
wallets   250
moved     900 blocks, 2000000 bytes
cutover   4.2 ms at most
created   2026-01-02T03:04:05Z by ann: room
error     wallet x: two chains
";
        let failed =
            OperationView { state: OperationState::Failed, last_error: Some("wallet x: two chains".into()), ..view() };
        assert_eq!(one(&failed), golden);
    }

    #[test]
    fn the_audit_has_operations_and_placement_in_one_order() {
        let entry = |at: &str, what: &str, before| AuditEntry {
            at: at.into(),
            operation: OperationId(3),
            kind: OperationKind::Migrate,
            what: what.into(),
            actor: "ann".into(),
            reason: "room".into(),
            before,
            after: OperationState::Running,
        };
        let change = |version, at: &str, reason: &str| Change {
            version,
            at: at.into(),
            kind: "wallets_moved".into(),
            actor: "ann".into(),
            reason: reason.into(),
            buckets: 64,
            pins: 0,
        };
        let entries = vec![
            entry("2026-01-02T03:04:06Z", "begin", Some(OperationState::Planned)),
            entry("2026-01-02T03:04:05Z", "create", None),
        ];
        let changes =
            vec![change(8, "2026-01-02T03:04:06.5Z", "op-3: room"), change(7, "2026-01-02T03:04:05.9Z", "other")];
        let all = merged(entries.clone(), changes.clone(), None, 10);
        let order: Vec<_> = all.iter().map(|line| line.of.as_str()).collect();
        assert_eq!(order, ["version 8", "op-3", "version 7", "op-3"]);
        assert_eq!(merged(entries, changes, Some(OperationId(3)), 2).len(), 2);
        let golden = "\
AT                      OF         WHAT                               ACTOR  REASON
2026-01-02T03:04:06.5Z  version 8  wallets_moved: 64 buckets, 0 pins  ann    op-3: room
";
        assert_eq!(audit(&all[..1]), golden);
    }
}
