//! Zones: in use or left, until when, and whether DNS knows.

use control_api::zones::{Dns, ZoneView};
use maud::{Markup, html};

use super::parts::{Mood, actions, badge, known, time};
use crate::page::actions::of;
use crate::page::snapshot::Snapshot;
use crate::page::visitor::Visitor;

pub fn zones(snapshot: &Snapshot, visitor: &Visitor) -> Markup {
    html! {
        section #zones aria-labelledby="zones-title" {
            h2 #zones-title { "Zones" }
            (known(&snapshot.zones, |all| html! {
                @if all.is_empty() { p.quiet { "No zones are named in the configuration." } }
                ul.rows { @for one in all { (item(one, visitor)) } }
            }))
        }
    }
}

fn item(one: &ZoneView, visitor: &Visitor) -> Markup {
    let zone = one.zone.as_str();
    let (state, mood, verbs): (_, _, &[&str]) = match one.left_until {
        Some(_) => ("left", Mood::Waits, &["restore", "evacuate", "leave"]),
        None => ("in use", Mood::Good, &["evacuate", "leave"]),
    };
    html! {
        li.row id={ "zone-" (zone) } {
            div.head {
                h3 { (zone) }
                span data-said={ "zone " (zone) " is " (state) } { (badge(mood, state)) }
            }
            @if let Some(until) = &one.left_until { p { "Requests go elsewhere until " (time(until)) "." } }
            @if let Some(dns) = &one.dns { p { "DNS: " (dns_text(dns)) } }
            @if !one.cells.is_empty() {
                p.facts {
                    @for (at, there) in one.cells.iter().enumerate() {
                        @if at > 0 { " · " }
                        (there.cell) ": " (there.ready) " of " (there.instances) " ready"
                    }
                }
            }
            (actions(visitor, &of("zone", zone, verbs), &[]))
        }
    }
}

fn dns_text(dns: &Dns) -> Markup {
    match dns {
        Dns::Unknown => badge(Mood::Waits, "not asked yet"),
        Dns::Answers => badge(Mood::Good, "answers with its routers"),
        Dns::Left => badge(Mood::Waits, "answers without its routers"),
        Dns::Failing { why } => html! { (badge(Mood::Bad, "not known to be as it should")) " " (why) },
    }
}
