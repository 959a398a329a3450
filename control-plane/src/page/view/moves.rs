//! Operations: what moves customers now, and what did.

use control_api::{OperationKind, OperationState, OperationView, Scope, Wanted};
use maud::{Markup, html};

use super::parts::{Mood, actions, badge, bytes, count, known, progress, time};
use crate::page::actions::{Action, of};
use crate::page::snapshot::Snapshot;
use crate::page::visitor::Visitor;

/// Of those that are over, so many are shown open; the others wait below.
const OVER_SHOWN: usize = 3;

pub fn moves(snapshot: &Snapshot, visitor: &Visitor) -> Markup {
    let is_shown = |one: &&OperationView| one.wanted.kind() != OperationKind::Evacuate;
    section(snapshot, visitor, "moves", "Migrations and other moves", "No wallet is being moved.", is_shown)
}

pub fn evacuations(snapshot: &Snapshot, visitor: &Visitor) -> Markup {
    let is_shown = |one: &&OperationView| one.wanted.kind() == OperationKind::Evacuate;
    section(snapshot, visitor, "evacuations", "Evacuations", "No cell is being evacuated.", is_shown)
}

fn section(
    snapshot: &Snapshot,
    visitor: &Visitor,
    id: &str,
    title: &str,
    none: &str,
    is_shown: impl Fn(&&OperationView) -> bool,
) -> Markup {
    html! {
        section id=(id) aria-labelledby={ (id) "-title" } {
            h2 id={ (id) "-title" } { (title) }
            (known(&snapshot.operations, |all| {
                let (over, open): (Vec<&OperationView>, Vec<_>) =
                    all.iter().filter(&is_shown).partition(|one| one.state.is_over());
                let (recent, older) = over.split_at(over.len().min(OVER_SHOWN));
                html! {
                    @if open.is_empty() { p.quiet { (none) } }
                    ul.rows {
                        @for one in open { (item(one, visitor)) }
                        @for one in recent { (item(one, visitor)) }
                    }
                    @if !older.is_empty() {
                        details.more id={ (id) "-older" } {
                            summary { (older.len()) " older" }
                            ul.rows { @for one in older { (item(one, visitor)) } }
                        }
                    }
                }
            }))
        }
    }
}

fn mood(state: OperationState) -> Mood {
    match state {
        OperationState::Planned | OperationState::Running | OperationState::Pausing | OperationState::Aborting => {
            Mood::Busy
        }
        OperationState::Paused => Mood::Waits,
        OperationState::Failed => Mood::Bad,
        OperationState::Done => Mood::Good,
        OperationState::Aborted => Mood::Over,
    }
}

/// What it does, in words.
pub fn title(one: &OperationView) -> String {
    match &one.wanted {
        Wanted::Migrate { scope: Scope::Wallet(wallet), to } => format!("wallet {wallet} to {to}"),
        Wanted::Migrate { scope: Scope::User(user), to } => format!("user {user} to {to}"),
        Wanted::Migrate { scope: Scope::Buckets(range), to } if range.first == range.last => {
            format!("bucket {} to {to}", range.first)
        }
        Wanted::Migrate { scope: Scope::Buckets(range), to } => {
            format!("buckets {}..{} to {to}", range.first, range.last)
        }
        Wanted::Rebalance { .. } => "rebalance all cells".to_owned(),
        Wanted::Evacuate { cell, .. } => format!("evacuate {cell}"),
        Wanted::Reverse { operation } => format!("move back what {operation} moved"),
        Wanted::Forget { operation, .. } => format!("forget what {operation} moved away"),
    }
}

/// What can be asked of it now, as the operations' own table has it.
fn offered(one: &OperationView) -> Vec<Action> {
    let id = one.id.to_string();
    let verbs: &[&str] = match one.state {
        OperationState::Planned | OperationState::Running => &["pause", "abort"],
        OperationState::Pausing | OperationState::Paused | OperationState::Failed => &["resume", "abort"],
        OperationState::Done | OperationState::Aborted if can_be_reversed(one) => &["reverse"],
        OperationState::Aborting | OperationState::Done | OperationState::Aborted => &[],
    };
    of("operation", &id, verbs)
}

fn can_be_reversed(one: &OperationView) -> bool {
    one.wanted.kind() != OperationKind::Forget && one.forgotten_by.is_none() && one.progress.steps_done > 0
}

fn item(one: &OperationView, visitor: &Visitor) -> Markup {
    let (state, done) = (one.state.as_str(), &one.progress);
    let steps = format!("{} of {} steps", count(done.steps_done), count(one.steps));
    html! {
        li.row id=(one.id) {
            div.head {
                h3 { (one.id) span.what { " " (title(one)) } }
                span data-said={ (one.id) " is " (state) } { (badge(mood(one.state), state)) }
            }
            @if !one.state.is_over() { (progress(&format!("{}: {steps}", one.id), done.steps_done, one.steps)) }
            p.facts {
                (steps) " · " (count(done.wallets)) @if done.wallets == 1 { " wallet" } @else { " wallets" }
                @if let Some(planned) = one.wallets_planned { " of about " (count(planned)) }
                " · " (bytes(done.bytes)) " copied"
                @if done.longest_cutover_micros > 0 {
                    " · cutover " (format!("{:.1}", done.longest_cutover_micros as f64 / 1_000.0)) " ms at most"
                }
            }
            p.quiet {
                "by " (one.because.actor) ": “" (one.because.reason) "”, began " (time(&one.created_at))
                @if let Some(finished) = &one.finished_at { ", ended " (time(finished)) }
            }
            @if let Some(error) = &one.last_error { p.unknown { strong { "Last error: " } (error) } }
            (actions(visitor, &offered(one), &[]))
        }
    }
}
