//! The look-up of a customer's place.

use control_api::{Change, Where};
use maud::{Markup, html};
use topology::{CellId, Problem};

use super::layout;
use super::parts::{actions, command, problem, time};
use crate::page::actions::of;
use crate::page::limits::CHANGES_SEARCHED;
use crate::page::paths::LOOK_UP;
use crate::page::visitor::Visitor;

/// Longest id that is worth sending; longer ones are refused as unsound.
const ID_MAX_CHARS: usize = 256;

/// A customer's cell, and the changes of the placement that touched the customer, newest first.
pub struct Found {
    pub place: Where,
    pub changes: Vec<Touched>,
    /// Cells that the customer could be moved to.
    pub others: Vec<CellId>,
}

pub struct Touched {
    pub change: Change,
    /// The cell that the change gave the customer to.
    pub to: String,
}

/// The form, on its own page and among the others.
pub fn look_up(id: &str) -> Markup {
    html! {
        section #look-up aria-labelledby="look-up-title" {
            h2 #look-up-title { "Where is a customer?" }
            form.search method="get" action=(LOOK_UP) role="search" {
                p.field {
                    label for="where-id" { "Wallet or user id" }
                    input #where-id name="id" value=(id) required maxlength=(ID_MAX_CHARS) autocomplete="off"
                        autocapitalize="none" spellcheck="false";
                }
                p { button #where-go type="submit" { "Look up" } }
            }
        }
    }
}

/// `/page/where`.
pub fn place(visitor: &Visitor, id: &str, found: Result<&Found, &Problem>) -> Markup {
    let body = html! {
        (look_up(id))
        @match found {
            Ok(found) => (answer(visitor, id, found)),
            Err(why) => (problem(why)),
        }
    };
    layout("Look up", Some(visitor), None, &body)
}

fn answer(visitor: &Visitor, id: &str, found: &Found) -> Markup {
    let place = &found.place;
    let others: Vec<String> = found.others.iter().map(ToString::to_string).collect();
    let moves = if others.is_empty() { vec![] } else { of("wallet", &place.wallet_id.to_string(), &["move"]) };
    html! {
        section #found aria-labelledby="found-title" {
            h2 #found-title { "In " (place.cell) }
            dl.facts-list.sheet {
                @if let Some(user) = &place.user_id { div { dt { "User" } dd { (user) } } }
                div { dt { "Wallet" } dd { code { (place.wallet_id) } } }
                div { dt { "Bucket" } dd { code { (place.bucket) } } }
                div { dt { "Cell" } dd { strong { (place.cell) } } }
                div { dt { "Pinned" } dd { @if place.pinned { "yes: it does not follow its bucket" } @else { "no: it follows its bucket" } } }
                div { dt { "Placement version" } dd { (place.placement_version) } }
                div { dt { "Instances" } dd { @for one in &place.instances { (one.id) " " } } }
            }
            p.quiet { "This is where the wallet would be; whether there is one, its cell knows." }
            (command("where", &format!("ctl where {}", words(place, id))))
            (actions(visitor, &moves, &others))
            h3 { "How it came there" }
            @if found.changes.is_empty() {
                p.quiet { "None of the last " (CHANGES_SEARCHED) " changes of the placement touched it." }
            }
            ol.log {
                @for one in &found.changes {
                    li {
                        p { strong { "version " (one.change.version) } " " (one.change.kind.replace('_', " ")) ": to " (one.to) }
                        p.quiet { (time(&one.change.at)) " by " (one.change.actor) ": “" (one.change.reason) "”" }
                    }
                }
            }
        }
    }
}

/// What was found by a UUID is named for what it is.
fn words(place: &Where, id: &str) -> String {
    match (&place.user_id, id.parse::<topology::WalletId>()) {
        (None, _) => format!("--wallet {}", place.wallet_id),
        (Some(_), Ok(_)) => format!("--user {}", quoted(id)),
        (Some(_), Err(_)) => quoted(id),
    }
}

/// For a shell: what a visitor typed is copied from here into a terminal.
fn quoted(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'@' | b':');
    match !text.is_empty() && !text.starts_with('-') && text.bytes().all(is_plain) {
        true => text.to_owned(),
        false => format!("-- '{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_copied_into_a_shell_is_one_word() {
        for (text, word) in [
            ("ann", "ann"),
            ("ann@example.com", "ann@example.com"),
            ("a b", "-- 'a b'"),
            ("--help", "-- '--help'"),
            ("it's; rm", r"-- 'it'\''s; rm'"),
        ] {
            assert_eq!(quoted(text), word);
        }
    }
}
