//! The page as HTML. `maud` escapes everything in it, whatever its source.
//!
//! It must never ask anything: what it shows is given to it, so the same state always makes the same text.

mod audit;
mod deploys;
mod fleet;
mod moves;
mod parts;
mod place;
mod zones;

use maud::{DOCTYPE, Markup, html};
use topology::Problem;

use super::fragment::{Fragment, digest};
use super::paths::{HOME, LOGIN, LOGOUT};
use super::snapshot::Snapshot;
use super::visitor::Visitor;
pub use place::{Found, Touched, place};

/// Those that follow the fleet, in the order of the page.
pub fn fragments(snapshot: &Snapshot, visitor: &Visitor) -> Vec<Fragment> {
    let of = |id, markup: Markup| Fragment { id, html: markup.into_string() };
    vec![
        of("summary", fleet::summary(snapshot)),
        of("fleet", fleet::fleet(snapshot, visitor)),
        of("moves", moves::moves(snapshot, visitor)),
        of("evacuations", moves::evacuations(snapshot, visitor)),
        of("deploys", deploys::deploys(snapshot, visitor)),
        of("zones", zones::zones(snapshot, visitor)),
        of("changes", audit::changes(snapshot)),
        of("audit", audit::audit(snapshot)),
    ]
}

/// `/page/`; `done` says what was just carried out.
pub fn home(visitor: &Visitor, fragments: &[Fragment], done: Option<&str>) -> Markup {
    let raw = |id: &str| {
        let found = fragments.iter().find(|fragment| fragment.id == id);
        html! { @if let Some(found) = found { (maud::PreEscaped(&found.html)) } }
    };
    let body = html! {
        @if let Some(done) = done { p.done role="status" { span aria-hidden="true" { "✓ " } (done) } }
        (raw("summary"))
        (raw("fleet"))
        (raw("moves"))
        (place::look_up(""))
        (raw("evacuations"))
        (raw("deploys"))
        (raw("zones"))
        (raw("changes"))
        (raw("audit"))
    };
    layout("Fleet", Some(visitor), Some(&digest(fragments)), &body)
}

/// What was refused, by its code.
pub fn refusal(problem: &Problem) -> Markup {
    let body = html! {
        (parts::problem(problem))
        p { a.button href=(HOME) { "Back to the fleet" } }
    };
    layout("Refused", None, None, &body)
}

/// `/page/login`.
pub fn login(problem: Option<&Problem>) -> Markup {
    let body = html! {
        @if let Some(problem) = problem { (parts::problem(problem)) }
        section.sheet aria-labelledby="login-title" {
            h2 #login-title { "Sign in" }
            form method="post" action=(LOGIN) {
                p.field {
                    label for="token" { "Your operator's token" }
                    input #token name="token" type="password" required autocomplete="off" spellcheck="false"
                        aria-describedby="token-hint";
                }
                p.hint #token-hint {
                    "The token that " code { "ctl" } " and the API take. On a local fleet: "
                    code { "ctl token --operator you --role operator" } "."
                }
                p { button type="submit" { "Sign in" } }
            }
        }
    };
    layout("Sign in", None, None, &body)
}

fn layout(title: &str, visitor: Option<&Visitor>, seen: Option<&str>, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · wallet operations" }
                link rel="icon" href="/page/icon.svg" type="image/svg+xml";
                link rel="stylesheet" href="/page/page.css";
                script src="/page/page.js" defer {}
            }
            body data-seen=[seen] {
                a.skip href="#main" { "Skip to the content" }
                header.top {
                    h1 { a href=(HOME) { "Wallet operations" } }
                    @if let Some(visitor) = visitor { (who(visitor)) }
                    @if seen.is_some() {
                        p.link #link { "not live: reload to see what has changed" }
                    }
                }
                @if visitor.is_some_and(Visitor::is_unauthenticated) {
                    p.banner {
                        strong { "Open fleet: " }
                        "every program on this machine that reaches this address may do everything here. Start it with "
                        code { "ctl up --secure" } " to require authentication."
                    }
                }
                @if seen.is_some() { (contents()) }
                main #main tabindex="-1" { (body) }
                p.news #news role="status" aria-live="polite" {}
                footer { p { "All times are UTC. What is done here is done through the HTTP API, as "
                    code { "ctl" } " does it, and written down in the audit." } }
            }
        }
    }
}

fn who(visitor: &Visitor) -> Markup {
    html! {
        @if let Some((actor, role)) = visitor.name() {
            form.who method="post" action=(LOGOUT) {
                span { (actor) " (" (role) ")" }
                button.plain type="submit" { "Sign out" }
            }
        }
    }
}

fn contents() -> Markup {
    let parts = [
        ("fleet", "Fleet"),
        ("moves", "Moves"),
        ("look-up", "Look up"),
        ("evacuations", "Evacuations"),
        ("deploys", "Deploys"),
        ("zones", "Zones"),
        ("changes", "Placement"),
        ("audit", "Audit"),
    ];
    html! {
        nav aria-label="Parts of the page" {
            ul { @for (id, title) in parts { li { a href={ "#" (id) } { (title) } } } }
        }
    }
}

#[cfg(test)]
mod tests;
