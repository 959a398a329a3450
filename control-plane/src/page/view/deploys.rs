//! Deploys: waves, what their figures say, and what can be decided.

use control_api::{DeployState, DeployView, Says, Tally, Verdict, WaveView};
use maud::{Markup, html};

use super::parts::{Mood, actions, badge, count, known, progress, time};
use crate::page::actions::{Action, of};
use crate::page::snapshot::Snapshot;
use crate::page::visitor::Visitor;

pub fn deploys(snapshot: &Snapshot, visitor: &Visitor) -> Markup {
    html! {
        section #deploys aria-labelledby="deploys-title" {
            h2 #deploys-title { "Deploys" }
            (known(&snapshot.deploys, |all| html! {
                @if all.iter().all(|one| one.state.is_over()) { p.quiet { "No version is being deployed." } }
                ul.rows { @for (at, one) in all.iter().enumerate() { (item(one, is_newest(one, &all[..at]), visitor)) } }
            }))
        }
    }
}

fn mood(state: DeployState) -> Mood {
    match state {
        DeployState::Planned | DeployState::Observing | DeployState::Rolling | DeployState::Baking => Mood::Busy,
        DeployState::RollingBack => Mood::Busy,
        DeployState::Held | DeployState::Paused | DeployState::Undecided => Mood::Waits,
        DeployState::Failed => Mood::Bad,
        DeployState::Done => Mood::Good,
        DeployState::RolledBack => Mood::Over,
    }
}

/// Of its program, `newer` being all that came after it.
fn is_newest(one: &DeployView, newer: &[DeployView]) -> bool {
    newer.iter().all(|other| other.of != one.of)
}

/// What can be asked of it now, as the deploys' own table has it. Only the newest is taken back.
fn offered(one: &DeployView, is_newest: bool) -> Vec<Action> {
    let verbs: &[&str] = match one.state {
        DeployState::Planned | DeployState::Observing | DeployState::Rolling => &["pause", "rollback"],
        DeployState::Baking => &["pause", "promote", "rollback"],
        DeployState::Undecided => &["resume", "promote", "rollback"],
        DeployState::Held | DeployState::Paused => &["resume", "rollback"],
        DeployState::Done | DeployState::Failed if is_newest => &["rollback"],
        DeployState::Done | DeployState::Failed | DeployState::RollingBack | DeployState::RolledBack => &[],
    };
    of("deploy", &one.id.to_string(), verbs)
}

fn item(one: &DeployView, is_newest: bool, visitor: &Visitor) -> Markup {
    let state = one.state.as_str().replace('_', " ");
    html! {
        li.row id=(one.id) {
            div.head {
                h3 { (one.id) span.what { " version " (one.version) " of " (one.of) } }
                span data-said={ (one.id) " is " (state) } { (badge(mood(one.state), &state)) }
            }
            @if let Some(why) = &one.why { p { "Why: " (why) } }
            ol.waves {
                @for (number, wave) in (1..).zip(&one.waves) { (wave_item(one, number, wave)) }
            }
            @if let Some(touched) = &one.touched {
                p.facts {
                    "It answered " (count(touched.requests)) " requests and failed " (count(touched.errors))
                    @if let (Some(some), Some(all)) = (touched.customers, touched.of_customers) {
                        "; " (count(some)) " of " (count(all)) " customers could have met it"
                    }
                }
            }
            p.quiet {
                "by " (one.because.actor) ": “" (one.because.reason) "”, began " (time(&one.created_at))
                @if let Some(finished) = &one.finished_at { ", ended " (time(finished)) }
            }
            (actions(visitor, &offered(one, is_newest), &[]))
        }
    }
}

fn wave_item(one: &DeployView, number: u64, wave: &WaveView) -> Markup {
    let parts: Vec<&str> = wave.parts.iter().map(|part| part.0.as_str()).collect();
    let is_now = one.wave + 1 == number && !one.state.is_over();
    html! {
        li aria-current=[is_now.then_some("step")] {
            p.head {
                span { "Wave " (number) ": " (parts.join(", ")) }
                @if is_now { " " strong { "now" } }
            }
            (progress(&format!("wave {number}: {} of {} instances", wave.replaced, wave.instances), wave.replaced, wave.instances))
            p.facts {
                (wave.replaced) " of " (wave.instances) " instances"
                @if let Some(at) = &wave.replaced_at { " · replaced " (time(at)) }
                @if let Some(at) = &wave.ended_at { " · ended " (time(at)) }
            }
            @if let Some(verdict) = &wave.verdict { (figures(number, verdict)) }
        }
    }
}

fn figures(number: u64, verdict: &Verdict) -> Markup {
    let mood = match verdict.says {
        Says::Sound => Mood::Good,
        Says::TooFew => Mood::Waits,
        Says::Worse => Mood::Bad,
    };
    html! {
        p {
            (badge(mood, verdict.says.as_str())) " "
            @if verdict.needs_of_each.is_some() { (verdict.wanting()) }
            @else { (count(verdict.has)) " requests of " (count(verdict.needs)) " that are needed" }
        }
        table {
            caption.sr { "Figures of wave " (number) }
            thead { tr { th scope="col" { "Version" } th scope="col" { "Requests" } th scope="col" { "Errors" } th scope="col" { "Mean" } } }
            tbody {
                (tally("new, here", &verdict.wave))
                (tally("old, elsewhere", &verdict.others))
                (tally("old, before", &verdict.before))
            }
        }
        @if !verdict.findings.is_empty() { ul.plain-list { @for finding in &verdict.findings { li { (finding) } } } }
    }
}

fn tally(of: &str, tally: &Tally) -> Markup {
    html! {
        tr {
            th scope="row" { (of) }
            td { (count(tally.requests)) }
            td { (count(tally.errors)) }
            td { (format!("{:.1}", tally.mean_ms)) " ms" }
        }
    }
}
