//! Which cell gets which bucket: exact shares by weight, with the fewest moves.

use crate::ids::{BUCKETS, Bucket, CellIndex};

/// One bucket to be moved; `from` is `None` while a placement is first built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BucketMove {
    pub bucket: Bucket,
    pub from: Option<CellIndex>,
    pub to: CellIndex,
}

/// How many buckets each cell should own: proportional to weight, by largest remainder, summing to [`BUCKETS`].
/// Where remainders tie, the cell that owns more today keeps the odd bucket, so that nothing moves for a tie.
///
/// # Panics
/// When all weights are zero: there would be nowhere to put a bucket.
pub fn fair_shares(weights: &[(CellIndex, u32)], owned: impl Fn(CellIndex) -> usize) -> Vec<(CellIndex, usize)> {
    fair_shares_of(BUCKETS, weights, owned)
}

/// [`fair_shares`] of only so many `buckets`: the others are not up for sharing.
///
/// # Panics
/// When all weights are zero: there would be nowhere to put a bucket.
pub fn fair_shares_of(
    buckets: usize,
    weights: &[(CellIndex, u32)],
    owned: impl Fn(CellIndex) -> usize,
) -> Vec<(CellIndex, usize)> {
    let total: u64 = weights.iter().map(|&(_, weight)| u64::from(weight)).sum();
    assert!(total > 0, "some cell must have a weight");
    let exact = |weight: u32| u64::from(weight) * buckets as u64;
    let mut shares: Vec<_> =
        weights.iter().map(|&(cell, weight)| (cell, (exact(weight) / total) as usize, exact(weight) % total)).collect();
    let missing = buckets - shares.iter().map(|share| share.1).sum::<usize>();
    let mut order: Vec<usize> = (0..shares.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(shares[i].2), std::cmp::Reverse(owned(shares[i].0)), shares[i].0));
    for &i in order.iter().take(missing) {
        shares[i].1 += 1;
    }
    shares.into_iter().map(|(cell, share, _)| (cell, share)).collect()
}

/// The fewest moves that bring `owners` to the fair shares of `weights`. Cells without a weight give up all they have.
pub fn moves_to_fair_shares(owners: &[CellIndex; BUCKETS], weights: &[(CellIndex, u32)]) -> Vec<BucketMove> {
    let owned = |cell| owners.iter().filter(|&&owner| owner == cell).count();
    moves_to_shares(owners, &fair_shares(weights, owned))
}

/// The fewest moves that bring `owners` to the given shares. Cells that are not listed give up all they have.
pub fn moves_to_shares(owners: &[CellIndex; BUCKETS], shares: &[(CellIndex, usize)]) -> Vec<BucketMove> {
    let share_of = |cell| shares.iter().find(|&&(index, _)| index == cell).map_or(0, |&(_, share)| share);

    let mut kept = std::collections::BTreeMap::<CellIndex, usize>::new();
    let mut surplus = Vec::new();
    for bucket in Bucket::all() {
        let owner = owners[bucket.index()];
        let count = kept.entry(owner).or_default();
        if owner != CellIndex::NONE && *count < share_of(owner) {
            *count += 1;
        } else {
            surplus.push((bucket, (owner != CellIndex::NONE).then_some(owner)));
        }
    }
    let mut surplus = surplus.into_iter();
    let mut moves = Vec::new();
    for &(to, share) in shares {
        let room = share - kept.get(&to).copied().unwrap_or(0).min(share);
        moves.extend(surplus.by_ref().take(room).map(|(bucket, from)| BucketMove { bucket, from, to }));
    }
    moves
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty() -> Box<[CellIndex; BUCKETS]> {
        Box::new([CellIndex::NONE; BUCKETS])
    }

    fn apply(owners: &mut [CellIndex; BUCKETS], moves: &[BucketMove]) {
        for step in moves {
            owners[step.bucket.index()] = step.to;
        }
    }

    #[test]
    fn shares_are_exact_to_one_bucket_and_moves_are_fewest() {
        let (a, b, c, d) = (CellIndex(0), CellIndex(1), CellIndex(2), CellIndex(3));
        let mut owners = empty();
        let first = moves_to_fair_shares(&owners, &[(a, 1), (b, 1), (c, 1)]);
        assert_eq!(first.len(), BUCKETS);
        apply(&mut owners, &first);
        assert!(moves_to_fair_shares(&owners, &[(a, 1), (b, 1), (c, 1)]).is_empty(), "a fair placement stays as it is");

        let added = moves_to_fair_shares(&owners, &[(a, 1), (b, 1), (c, 1), (d, 1)]);
        assert_eq!(added.len(), BUCKETS / 4, "only what the new cell takes is moved");
        assert!(added.iter().all(|step| step.to == d));
        apply(&mut owners, &added);

        let removed = moves_to_fair_shares(&owners, &[(a, 2), (b, 1), (c, 1)]);
        apply(&mut owners, &removed);
        let count = |cell| owners.iter().filter(|&&owner| owner == cell).count();
        assert_eq!((count(a), count(b), count(c), count(d)), (BUCKETS / 2, BUCKETS / 4, BUCKETS / 4, 0));
    }
}
