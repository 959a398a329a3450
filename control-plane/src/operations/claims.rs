//! Which buckets the operations under way are about to change: a bitmap for each. Pure.
//!
//! It must never be finer than a bucket: a wallet's move and its bucket's must not overlap either.

use control_api::{OperationId, Piece, Step};
use topology::{BUCKETS, Bucket};

pub const CLAIM_BYTES: usize = BUCKETS / 8;

/// The buckets of one operation: byte `b / 8`, mask `0x80 >> (b % 8)`.
#[derive(Clone, PartialEq, Eq)]
pub struct Claim(Box<[u8; CLAIM_BYTES]>);

impl Claim {
    pub fn of(steps: &[Step]) -> Self {
        let mut bits = Box::new([0_u8; CLAIM_BYTES]);
        for step in steps {
            let (first, last) = match step.piece {
                Piece::Buckets(range) => (range.first.0, range.last.0),
                Piece::Wallet { wallet } => (wallet.bucket().0, wallet.bucket().0),
            };
            for bucket in first..=last {
                bits[usize::from(bucket) / 8] |= 0x80 >> (bucket % 8);
            }
        }
        Self(bits)
    }

    /// `None`: not a bitmap of this size.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        Some(Self(Box::new(<[u8; CLAIM_BYTES]>::try_from(bytes).ok()?)))
    }

    pub fn bytes(&self) -> &[u8] {
        self.0.as_slice()
    }

    pub fn holds(&self, bucket: Bucket) -> bool {
        self.0[bucket.index() / 8] & (0x80 >> (bucket.0 % 8)) != 0
    }

    /// The first bucket that both claim.
    pub fn meets(&self, other: &Self) -> Option<Bucket> {
        let common = self.0.iter().zip(other.0.iter()).map(|(one, other)| one & other);
        let (byte, bits) = common.enumerate().find(|&(_, bits)| bits != 0)?;
        let bucket = byte * 8 + usize::try_from(bits.leading_zeros()).expect("at most 7");
        Some(Bucket(u16::try_from(bucket).expect("there are 65,536 buckets")))
    }
}

/// The first of the `active` operations that claims a bucket of `claim`.
pub fn overlap<'a>(
    claim: &Claim,
    mut active: impl Iterator<Item = (&'a u64, &'a Claim)>,
) -> Option<(OperationId, Bucket)> {
    active.find_map(|(&number, other)| Some((OperationId(number), claim.meets(other)?)))
}

#[cfg(test)]
mod tests {
    use topology::CellId;

    use super::*;
    use control_api::BucketRange;

    fn step(piece: Piece) -> Step {
        let cell = |name: &str| CellId::parse(name).expect("sound");
        Step { piece, from: cell("cell-1"), to: cell("cell-2") }
    }

    fn buckets(first: u16, last: u16) -> Step {
        step(Piece::Buckets(BucketRange { first: Bucket(first), last: Bucket(last) }))
    }

    #[test]
    fn claims_meet_in_a_bucket_or_in_a_wallet_of_it() {
        let wallet = "6a836b5a-367e-4abc-8347-a2aaf56afd1c".parse().expect("a UUID");
        let wallet = step(Piece::Wallet { wallet });
        let cases = [
            (vec![buckets(0, 63)], vec![buckets(64, 127)], None),
            (vec![buckets(0, 63)], vec![buckets(63, 63)], Some(63)),
            (vec![buckets(0xffff, 0xffff)], vec![buckets(0xff00, 0xffff)], Some(0xffff)),
            (vec![wallet.clone()], vec![buckets(0x6a80, 0x6abf)], Some(0x6a83)),
            (vec![wallet.clone()], vec![wallet], Some(0x6a83)),
            (vec![], vec![buckets(0, 0xffff)], None),
        ];
        for (one, other, expected) in cases {
            let (one, other) = (Claim::of(&one), Claim::of(&other));
            assert_eq!(one.meets(&other).map(|bucket| bucket.0), expected);
            assert_eq!(other.meets(&one), one.meets(&other));
            let first = expected.map(Bucket);
            assert!(first.is_none_or(|bucket| one.holds(bucket) && other.holds(bucket)));
            assert!(Claim::read(one.bytes()).is_some_and(|read| read == one));
        }
        assert!(Claim::read(&[0; 3]).is_none());
    }
}
