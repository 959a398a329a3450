//! The fleet: what is the matter, in a line; then one card for each cell.

use control_api::capacity::CellCapacity;
use control_api::{CellStatus, DeployState, InstanceHealth, OperationState, OperationView, Status};
use maud::{Markup, html};
use topology::{CellState, Role};

use super::parts::{Mood, actions, badge, bar, bytes, cell_state, count, known};
use crate::page::actions::of;
use crate::page::snapshot::{Snapshot, Versions};
use crate::page::visitor::Visitor;

/// The answer to "is anything the matter?".
pub fn summary(snapshot: &Snapshot) -> Markup {
    let troubles = troubles(snapshot);
    html! {
        section #summary aria-labelledby="summary-title" {
            h2.sr #summary-title { "In short" }
            @if troubles.is_empty() {
                p.calm data-said="nothing is the matter" { (badge(Mood::Good, "Nothing needs you")) }
            } @else {
                ul.troubles { @for (mood, text) in &troubles { li data-said=(text) { (badge(*mood, text)) } } }
            }
            p.facts { (facts(snapshot)) }
        }
    }
}

fn facts(snapshot: &Snapshot) -> String {
    let mut facts = Vec::new();
    if let Ok(status) = &snapshot.status {
        let cells = status.cells.iter().filter(|one| one.cell.state != CellState::Removed);
        facts.push(plural(cells.count(), "cell"));
    }
    if let Ok(status) = &snapshot.status {
        // One that was not counted makes the sum unknown.
        let counted: Option<u64> = status.cells.iter().map(|one| one.cell.customers).sum();
        facts.push(match counted {
            Some(customers) => plural_text(&count(customers), customers == 1, "customer"),
            None => "customers not counted yet".to_owned(),
        });
    }
    let writes: f64 = snapshot.loads.values().map(|load| load.writes_per_second).sum();
    if !snapshot.loads.is_empty() {
        facts.push(format!("{writes:.0} writes/s"));
    }
    if let Ok(operations) = &snapshot.operations {
        let under_way = operations.iter().filter(|one| !one.state.is_at_rest()).count();
        facts.push(format!("{} under way", plural(under_way, "move")));
    }
    if let Ok(status) = &snapshot.status {
        facts.push(format!("placement version {}", status.placement_version));
    }
    facts.join(" · ")
}

fn plural(number: usize, noun: &str) -> String {
    plural_text(&number.to_string(), number == 1, noun)
}

fn plural_text(number: &str, is_one: bool, noun: &str) -> String {
    format!("{number} {noun}{}", if is_one { "" } else { "s" })
}

/// What an operator should look at, worst first.
fn troubles(snapshot: &Snapshot) -> Vec<(Mood, String)> {
    let mut troubles = Vec::new();
    let empty = vec![];
    if snapshot.status.is_err() {
        troubles.push((Mood::Bad, "the state of the cells is not known".to_owned()));
    }
    let cells = snapshot.status.as_ref().map_or(&empty, |status| &status.cells);
    for one in cells.iter().filter(|one| matters(one)) {
        let down = one.health.iter().filter(|health| !health.ready).count();
        match down {
            0 => {}
            all if all == one.health.len() => {
                troubles.push((Mood::Bad, format!("{}: no instance is ready", one.cell.id)))
            }
            some => troubles
                .push((Mood::Waits, format!("{}: {some} of {} instances not ready", one.cell.id, one.health.len()))),
        }
    }
    for operation in snapshot.operations.iter().flatten() {
        match operation.state {
            OperationState::Failed => troubles.push((Mood::Bad, format!("{} has failed", operation.id))),
            OperationState::Paused => troubles.push((Mood::Waits, format!("{} is paused", operation.id))),
            _ => {}
        }
    }
    for deploy in snapshot.deploys.iter().flatten() {
        match deploy.state {
            DeployState::Failed => troubles.push((Mood::Bad, format!("{} has failed", deploy.id))),
            DeployState::Undecided => troubles.push((Mood::Waits, format!("{} waits for a decision", deploy.id))),
            DeployState::Held | DeployState::Paused => troubles.push((Mood::Waits, format!("{} is paused", deploy.id))),
            _ => {}
        }
    }
    for zone in snapshot.zones.iter().flatten().filter(|zone| zone.left_until.is_some()) {
        troubles.push((Mood::Waits, format!("zone {} is left", zone.zone)));
    }
    if let Ok(capacity) = snapshot.capacity.as_ref() {
        troubles.extend(capacity.advice.iter().map(|advice| (Mood::Waits, advice.clone())));
    }
    troubles.sort_by_key(|(mood, _)| *mood != Mood::Bad);
    troubles
}

/// A failure in a cell that owns nothing affects no customer.
fn matters(one: &CellStatus) -> bool {
    !matches!(one.cell.state, CellState::Removed | CellState::Empty) && one.cell.buckets + one.cell.pins > 0
}

pub fn fleet(snapshot: &Snapshot, visitor: &Visitor) -> Markup {
    html! {
        section #fleet aria-labelledby="fleet-title" {
            h2 #fleet-title { "Fleet" }
            (known(&snapshot.status, |status| grid(snapshot, status, visitor)))
            (actions(visitor, &of("fleet", "all", &["rebalance"]), &[]))
        }
    }
}

fn grid(snapshot: &Snapshot, status: &Status, visitor: &Visitor) -> Markup {
    let shown: Vec<&CellStatus> = status.cells.iter().filter(|one| one.cell.state != CellState::Removed).collect();
    html! {
        @if shown.is_empty() {
            p.quiet { "No placement has been published yet." }
        }
        ul.cards { @for one in shown { (card(snapshot, one, visitor)) } }
        @if !status.not_registered.is_empty() {
            p.quiet { "In the configuration, but not registered: "
                @for id in &status.not_registered { code { (id) } " " } }
        }
        @if !status.drift.is_empty() {
            p.quiet { (plural(status.drift.len(), "difference")) " between cells.toml and the registry: "
                code { "ctl cell drift" } }
        }
    }
}

fn card(snapshot: &Snapshot, one: &CellStatus, visitor: &Visitor) -> Markup {
    let (cell, id) = (&one.cell, one.cell.id.as_str());
    let (state, mood) = cell_state(cell.state);
    let capacity = snapshot.capacity.as_ref().as_ref().ok();
    let capacity = capacity.and_then(|all| all.cells.iter().find(|one| one.cell == cell.id));
    html! {
        li.card id={ "cell-" (id) } {
            div.head {
                h3 { (id) }
                span data-said={ (id) " is " (state) } { (badge(mood, state)) }
            }
            @if let Some(operation) = evacuation_of(snapshot, id) {
                p.quiet { a href="#evacuations" { (operation.id) } " moves its customers away" }
            }
            (load(snapshot, one))
            (customers(one))
            dl.facts-list {
                div { dt { "Share of buckets" } dd { (format!("{:.1} %", one.share_percent)) } }
                @if cell.pins > 0 { div { dt { "Pinned wallets" } dd { (count(cell.pins as u64)) } } }
                @if let Some(wave) = snapshot.waves.get(&cell.id) { div { dt { "Deploy wave" } dd { (wave) } } }
                @if let Some(stored) = capacity.and_then(|capacity| capacity.bytes) {
                    div { dt { "Stored" } dd { (bytes(stored)) } }
                }
            }
            (instances(one, &snapshot.versions))
            (hot(capacity))
            (actions(visitor, &of("cell", id, verbs(cell.state)), &[]))
        }
    }
}

fn evacuation_of<'a>(snapshot: &'a Snapshot, id: &str) -> Option<&'a OperationView> {
    let evacuates =
        |one: &&OperationView| matches!(&one.wanted, control_api::Wanted::Evacuate { cell, .. } if cell.as_str() == id);
    snapshot.operations.iter().flatten().filter(evacuates).find(|one| !one.state.is_over())
}

fn verbs(state: CellState) -> &'static [&'static str] {
    match state {
        CellState::Active => &["evacuate", "drain"],
        CellState::Draining => &["evacuate", "undrain"],
        CellState::Joining | CellState::Empty => &["undrain"],
        CellState::Evacuating | CellState::Removed => &[],
    }
}

fn load(snapshot: &Snapshot, one: &CellStatus) -> Markup {
    let load = snapshot.loads.get(&one.cell.id);
    let most = u64::from(one.cell.max_tps);
    let text = match (load, most) {
        (None, _) => "not known now".to_owned(),
        (Some(load), 0) => format!("{:.0} writes/s, no limit", load.writes_per_second),
        (Some(load), _) => format!("{:.0} of {} writes/s", load.writes_per_second, count(most)),
    };
    bar("Load", load.map(|load| load.writes_per_second), most as f64, &text)
}

fn customers(one: &CellStatus) -> Markup {
    let most = one.cell.max_customers;
    let text = match one.cell.customers {
        None => format!("not counted yet; room for {}", count(most)),
        Some(customers) => {
            let room = most.saturating_sub(customers);
            format!("{}; room for {} more", count(customers), count(room))
        }
    };
    bar("Customers", one.cell.customers.map(|customers| customers as f64), most as f64, &text)
}

fn instances(one: &CellStatus, versions: &Versions) -> Markup {
    html! {
        ul.instances {
            @for (instance, health) in one.cell.instances.iter().zip(&one.health) {
                li {
                    span.name { (instance.id) }
                    (ready(health))
                    span.quiet {
                        @if let Some(version) = versions.get(&health.id) { (version) } @else { "version not known" }
                        @if let Some(zone) = &instance.zone { ", zone " (zone) }
                        @if instance.role != Role::All { ", " (instance.role) }
                    }
                }
            }
        }
    }
}

fn ready(health: &InstanceHealth) -> Markup {
    match &health.why {
        None => html! { span data-said={ (health.id) " is ready" } { (badge(Mood::Good, "ready")) } },
        Some(why) => html! { span data-said={ (health.id) " is not ready" } { (badge(Mood::Bad, why)) } },
    }
}

fn hot(capacity: Option<&CellCapacity>) -> Markup {
    let hot = capacity.map(|capacity| capacity.hot.as_slice()).unwrap_or_default();
    let hot: Vec<_> = hot.iter().filter(|hot| hot.writes_per_second >= 1.0).collect();
    html! {
        @if !hot.is_empty() {
            details.more id={ "hot-" (capacity.map(|one| one.cell.as_str()).unwrap_or_default()) } {
                summary { "Hottest wallets" }
                ul.plain-list {
                    @for one in hot { li { code { (one.wallet) } " " (format!("{:.0}", one.writes_per_second)) " writes/s" } }
                }
            }
        }
    }
}
