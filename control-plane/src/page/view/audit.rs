//! What was changed, when, by whom and why: of the placement, and of operations and deploys.

use maud::{Markup, html};

use super::parts::{known, time};
use crate::page::snapshot::Snapshot;

pub fn changes(snapshot: &Snapshot) -> Markup {
    html! {
        section #changes aria-labelledby="changes-title" {
            h2 #changes-title { "Placement changes" }
            (known(&snapshot.changes, |all| html! {
                ol.log {
                    @for one in all {
                        li {
                            p { strong { "version " (one.version) } " " (one.kind.replace('_', " "))
                                @if one.buckets > 0 { ", " (one.buckets) @if one.buckets == 1 { " bucket" } @else { " buckets" } }
                                @if one.pins > 0 { ", " (one.pins) @if one.pins == 1 { " pin" } @else { " pins" } } }
                            p.quiet { (time(&one.at)) " by " (one.actor) ": “" (one.reason) "”" }
                        }
                    }
                }
            }))
        }
    }
}

pub fn audit(snapshot: &Snapshot) -> Markup {
    html! {
        section #audit aria-labelledby="audit-title" {
            h2 #audit-title { "Audit" }
            (known(&snapshot.audit, |all| html! {
                @if all.is_empty() { p.quiet { "No operation or deploy has been asked for yet." } }
                ol.log {
                    @for line in all {
                        li {
                            p { strong { (line.of) } " " (line.what) ", then " (line.after.replace('_', " ")) }
                            p.quiet { (time(&line.at)) " by " (line.actor) ": “" (line.reason) "”" }
                        }
                    }
                }
            }))
        }
    }
}
