//! When checkpoints were signed, when that was due, and what they cover.

use std::collections::HashMap;

use ledger::Timestamp;
use store::dynamodb::DynamoStore;
use store::log::Log;
use topology::WalletId;

use super::deposits::Paid;
use super::events::Seen;
use super::figures::Spread;
use super::site::{CHECKPOINT_SECONDS, Site};

/// A checkpoint: when it was signed, and the newest block of each wallet that it adds.
pub struct Signed {
    at: Timestamp,
    added: HashMap<WalletId, u64>,
}

/// Those with greater numbers.
pub async fn after(store: &DynamoStore, number: u64) -> Vec<Signed> {
    let log = Log::new(store.clone(), Site::cell());
    let mut signed = Vec::new();
    for number in number + 1.. {
        let Some(entry) = log.entry(number).await.expect("it answers") else { break };
        let leaves = log.leaves(&entry).await.expect("sound");
        let added = leaves.into_iter().map(|leaf| (leaf.wallet, leaf.block)).collect();
        signed.push(Signed { at: entry.signed.checkpoint.at, added });
    }
    signed
}

pub struct Figures {
    /// Seconds from when it was due to when it was signed; of each round.
    pub late: Spread,
    /// And to when all that follows from it was recorded, so that proofs show it.
    pub recorded: Spread,
    /// How long before it was due the oldest deposit was confirmed that it does not cover.
    pub uncovered: Spread,
    pub leaves: Spread,
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    (to.micros() - from.micros()) as f64 / 1e6
}

/// `completed`: when each round ended.
pub fn figures(completed: &[Timestamp], signed: &[Signed], paid: &[Paid], seen: &HashMap<String, Seen>) -> Figures {
    let period = i64::try_from(CHECKPOINT_SECONDS * 1_000_000).expect("small");
    let (mut late, mut recorded, mut uncovered, mut leaves) = (vec![], vec![], vec![], vec![]);
    for pair in completed.windows(2) {
        let (due, ended) = (pair[0].plus_micros(period), pair[1]);
        let round: Vec<&Signed> = signed.iter().filter(|one| pair[0] < one.at && one.at <= ended).collect();
        let Some(last) = round.last() else { continue };
        late.push(seconds(due, last.at));
        recorded.push(seconds(due, ended));
        leaves.push(round.iter().map(|one| one.added.len()).sum::<usize>() as f64);
        let covers = |paid: &Paid| {
            let block = seen[&paid.transaction].block;
            let until = signed.iter().take_while(|one| one.at <= last.at);
            until.filter_map(|one| one.added.get(&paid.wallet)).any(|newest| *newest >= block)
        };
        let missing = paid.iter().filter(|paid| paid.answered < due && !covers(paid));
        uncovered.push(missing.map(|paid| seconds(paid.answered, due)).fold(0.0, f64::max));
    }
    let [late, recorded, uncovered, leaves] = [late, recorded, uncovered, leaves].map(Spread::of);
    Figures { late, recorded, uncovered, leaves }
}
