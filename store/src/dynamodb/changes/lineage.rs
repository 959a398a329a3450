//! Which shards of a stream may be read, given how far a reader is. A shard ends after some hours, or when its partition
//! is split, and others follow it. What is in a shard comes after what is in its parent: a shard is read only once its
//! parent has been read to its end.
//!
//! A position names the shards that are being read, and no other: what is before them has been read. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::changes::{Position, Taken};

/// A shard as the stream's description lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    pub id: String,
    /// It may have expired, and is not listed then.
    pub parent: Option<String>,
    /// The number of its first record, where there is one.
    pub first: Option<String>,
}

/// Moves a position on to all shards that may be read now. `true`: something between the position and what is kept has
/// expired unread.
pub fn advance(position: &mut Position, listed: &[Shard]) -> bool {
    let is_start = position.shards.is_empty();
    let known: BTreeMap<&str, &Shard> = listed.iter().map(|shard| (shard.id.as_str(), shard)).collect();
    let mut lost = trimmed(position, &known);
    let mut read = ancestors(position, &known);
    for (id, taken) in &position.shards {
        let is_listed = known.contains_key(id.as_str());
        lost |= !is_listed && *taken != Taken::All;
        if !is_listed || *taken == Taken::All {
            read.insert(id.clone());
        }
    }
    position.shards.retain(|id, _| known.contains_key(id.as_str()));
    for shard in listed {
        if position.shards.contains_key(&shard.id) || read.contains(&shard.id) {
            continue;
        }
        match &shard.parent {
            None => {}
            Some(parent) if read.contains(parent) => {}
            Some(parent) if known.contains_key(parent.as_str()) => continue,
            Some(_) => lost |= !is_start,
        }
        position.shards.insert(shard.id.clone(), Taken::Nothing);
    }
    let followed = parents(listed.iter().filter(|shard| position.shards.contains_key(&shard.id)));
    position.shards.retain(|id, taken| *taken != Taken::All || !followed.contains(id.as_str()));
    lost
}

/// Whether this listing is enough to go on from the position: it has the position's shards, and what follows those that
/// have ended.
pub fn is_enough(position: &Position, listed: &[Shard]) -> bool {
    let followed = parents(listed.iter());
    let ids: BTreeSet<&str> = listed.iter().map(|shard| shard.id.as_str()).collect();
    let is_known = |(id, taken): (&String, &Taken)| {
        ids.contains(id.as_str()) && (*taken != Taken::All || followed.contains(id.as_str()))
    };
    !ids.is_empty() && position.shards.iter().all(is_known)
}

/// The shards that nothing follows yet, from their beginning.
pub fn newest(stream: &str, listed: &[Shard]) -> Position {
    let followed = parents(listed.iter());
    let newest = listed.iter().filter(|shard| !followed.contains(shard.id.as_str()));
    let shards = newest.map(|shard| (shard.id.clone(), Taken::Nothing)).collect();
    Position { stream: Some(stream.to_owned()), shards }
}

/// Whether others follow a shard: then it has ended, and is read to its end without a pause.
pub fn is_followed(id: &str, listed: &[Shard]) -> bool {
    listed.iter().any(|shard| shard.parent.as_deref() == Some(id))
}

fn parents<'a>(shards: impl Iterator<Item = &'a Shard>) -> BTreeSet<&'a str> {
    shards.filter_map(|shard| shard.parent.as_deref()).collect()
}

/// All that comes before the shards of a position.
fn ancestors(position: &Position, known: &BTreeMap<&str, &Shard>) -> BTreeSet<String> {
    let mut ancestors = BTreeSet::new();
    for id in position.shards.keys() {
        let mut shard = known.get(id.as_str());
        // It ends: each step adds one of finitely many shards.
        while let Some(parent) = shard.and_then(|shard| shard.parent.as_ref()) {
            if !ancestors.insert(parent.clone()) {
                break;
            }
            shard = known.get(parent.as_str());
        }
    }
    ancestors
}

/// Makes a shard begin again where its records up to the position's have gone, and perhaps some after them.
fn trimmed(position: &mut Position, known: &BTreeMap<&str, &Shard>) -> bool {
    let mut lost = false;
    for (id, taken) in &mut position.shards {
        let first = known.get(id.as_str()).and_then(|shard| shard.first.as_deref());
        if let (Taken::Upto(upto), Some(first)) = (&*taken, first)
            && is_before(upto, first)
        {
            (*taken, lost) = (Taken::Nothing, true);
        }
    }
    lost
}

/// Numbers of records are too long for an integer of the machine.
fn is_before(number: &str, other: &str) -> bool {
    (number.len(), number) < (other.len(), other)
}

#[cfg(test)]
mod tests;
