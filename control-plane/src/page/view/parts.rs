//! What several parts of the page are made of. Colour is never the only thing that tells.

use maud::{Markup, html};
use topology::{CellState, Problem};

use crate::because::{ACTOR_MAX_BYTES, REASON_MAX_BYTES};
use crate::page::actions::{Action, Field};
use crate::page::limits::ZONE_MINUTES_DEFAULT;
use crate::page::snapshot::Part;
use crate::page::visitor::Visitor;
use crate::zones::SECONDS_MAX;

/// How a state is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    Good,
    Busy,
    Waits,
    Bad,
    Over,
}

impl Mood {
    fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Busy => "busy",
            Self::Waits => "waits",
            Self::Bad => "bad",
            Self::Over => "over",
        }
    }

    fn sign(self) -> &'static str {
        match self {
            Self::Good => "✓",
            Self::Busy => "↻",
            Self::Waits => "‖",
            Self::Bad => "✕",
            Self::Over => "–",
        }
    }
}

pub fn badge(mood: Mood, text: &str) -> Markup {
    html! { span class={ "badge " (mood.class()) } { span aria-hidden="true" { (mood.sign()) } " " (text) } }
}

pub fn cell_state(state: CellState) -> (&'static str, Mood) {
    match state {
        CellState::Joining => ("joining", Mood::Waits),
        CellState::Active => ("active", Mood::Good),
        CellState::Draining => ("draining", Mood::Waits),
        CellState::Evacuating => ("evacuating", Mood::Busy),
        CellState::Empty => ("empty", Mood::Over),
        CellState::Removed => ("removed", Mood::Over),
    }
}

pub fn problem(problem: &Problem) -> Markup {
    html! {
        section.problem role="alert" aria-labelledby="problem-title" {
            h2 #problem-title { (problem.title) }
            @if !problem.detail.is_empty() { p { (problem.detail) } }
            p.quiet { "code " code { (problem.code) } ", status " (problem.status) }
        }
    }
}

/// What is known, or that it is not.
pub fn known<T>(part: &Part<T>, show: impl FnOnce(&T) -> Markup) -> Markup {
    match part {
        Ok(known) => show(known),
        Err(why) => html! { p.unknown { strong { "Not known now: " } (why) } },
    }
}

/// A date as it is stored, without the parts that no operator needs.
pub fn time(at: &str) -> Markup {
    let (date, rest) = at.split_once('T').unwrap_or((at, ""));
    let clock = rest.get(..8).unwrap_or(rest);
    html! { time datetime=(at) { span.date { (date) } " " (clock) } }
}

/// A bar for a part of a whole, with the figures beside it.
pub fn bar(label: &str, part: Option<f64>, whole: f64, text: &str) -> Markup {
    html! {
        div.bar {
            span.bar-label { (label) }
            span.bar-text { (text) }
            @if let Some(part) = part && whole > 0.0 {
                meter aria-label={ (label) ": " (text) } min="0" max="100" low="70" high="85" optimum="0"
                    value=(format!("{:.0}", (part * 100.0 / whole).clamp(0.0, 100.0))) {}
            }
        }
    }
}

pub fn progress(label: &str, done: u64, of: u64) -> Markup {
    html! { progress aria-label=(label) max=(of.max(1)) value=(done.min(of.max(1))) {} }
}

/// A count with a space between thousands: 1 250 000.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

pub fn bytes(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{} KB", bytes / 1_000),
        10_000_000..10_000_000_000 => format!("{} MB", bytes / 1_000_000),
        _ => format!("{} GB", bytes / 1_000_000_000),
    }
}

/// Those of the actions that the visitor may do, each with its command. Nothing where there are
/// none.
pub fn actions(visitor: &Visitor, all: &[Action], cells: &[String]) -> Markup {
    let offered: Vec<&Action> = all.iter().filter(|action| visitor.may(action)).collect();
    html! {
        @if !offered.is_empty() {
            div.actions { @for action in offered { (form(visitor, action, cells)) } }
        }
    }
}

fn form(visitor: &Visitor, action: &Action, cells: &[String]) -> Markup {
    let id = action.id();
    let of = if action.noun == "fleet" { String::new() } else { format!(" {}", action.name) };
    html! {
        details.action id=(id) {
            summary id={ (id) "-open" } { (action.label) span.sr { (of) } }
            form method="post" action=(action.form()) {
                p.hint { (action.means) }
                input type="hidden" name="seal" value=(visitor.seal);
                @match action.field {
                    Some(Field::Minutes) => p.field {
                        label for={ (id) "-minutes" } { "For how many minutes" }
                        input id={ (id) "-minutes" } name="minutes" type="number" min="1" max=(SECONDS_MAX / 60)
                            value=(ZONE_MINUTES_DEFAULT) required;
                    },
                    Some(Field::To) => p.field {
                        label for={ (id) "-to" } { "To which cell" }
                        select id={ (id) "-to" } name="to" required {
                            @for cell in cells { option value=(cell) { (cell) } }
                        }
                    },
                    None => {}
                }
                @if visitor.is_unauthenticated() {
                    p.field {
                        label for={ (id) "-actor" } { "Your name" }
                        input id={ (id) "-actor" } name="actor" required maxlength=(ACTOR_MAX_BYTES)
                            autocomplete="username";
                    }
                }
                p.field {
                    label for={ (id) "-reason" } { "Reason, for the audit" }
                    input id={ (id) "-reason" } name="reason" required maxlength=(REASON_MAX_BYTES) autocomplete="off";
                }
                @if action.confirm {
                    p.field {
                        label for={ (id) "-confirm" } { "Type " code { (action.name) } " to confirm" }
                        input id={ (id) "-confirm" } name="confirm" required autocomplete="off" autocapitalize="none"
                            spellcheck="false";
                    }
                }
                p { button id={ (id) "-go" } type="submit" { (action.label) (of) } }
                (command(&id, &format!("{} --reason '…'", action.command)))
            }
        }
    }
}

/// The same at the command line.
pub fn command(id: &str, command: &str) -> Markup {
    html! {
        p.command {
            span.sr { "The same with ctl: " }
            code id={ (id) "-command" } { (command) }
            button.copy.plain type="button" id={ (id) "-copy" } data-copies={ (id) "-command" } { "Copy" }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_written_to_be_read() {
        assert_eq!(count(1_250_000), "1\u{202f}250\u{202f}000");
        assert_eq!((count(0), count(999), count(1_000)), ("0".into(), "999".into(), "1\u{202f}000".into()));
        assert_eq!(
            (bytes(9_999), bytes(52_776), bytes(3_000_000_000)),
            ("9999 B".into(), "52 KB".into(), "3000 MB".into())
        );
        let at = time("2026-11-22T20:43:50.837Z").into_string();
        assert!(at.contains("20:43:50<") && at.contains(r#"datetime="2026-11-22T20:43:50.837Z""#), "{at}");
    }
}
