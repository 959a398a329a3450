//! How a wallet moves from one cell to another: what comes next, seen from what both cells hold.
//! The chain is the lock: a block with the new cell as its `home` is appended to the old cell's
//! chain, and from then on nothing can be appended there; the same block, appended to the copy,
//! makes the new cell serve.
//!
//! Pure, and the one description of the protocol: the migrator, the cells, the simulator and the model all run this.

use topology::CellId;

use crate::block::{Block, Entry, EntryKind, Hash, Head, Trace, TransactionId};
use crate::chain::{self, ChainFault};
use crate::limits::{COPY_BLOCKS, COPY_BYTES};
use crate::money::Money;
use crate::time::Timestamp;

/// What the target holds of a wallet: the unbroken beginning of the chain, and perhaps a tombstone further on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Copy {
    /// The last block of the unbroken beginning.
    pub prefix: Option<Head>,
    /// The target's newest block says that the wallet moved away from there: what is below it may have been
    /// forgotten, or may be about to be.
    pub tombstone: Option<Head>,
}

impl Copy {
    /// From the target's [`NEWEST_BLOCKS`] newest blocks, newest first.
    pub fn of(target: &CellId, newest: &[Block]) -> Copy {
        let Some(head) = newest.first() else { return Copy::default() };
        Copy { prefix: unbroken(newest).map(Block::head), tombstone: is_tombstone(target, head).then(|| head.head()) }
    }

    /// The same of a target that need not hold what is up to `packed`, since that is in packs. `newest` are its newest blocks,
    /// as before: of a copy that begins above the packs, block 0 is among them for as long as it may have a hole.
    pub fn above(self, packed: &Head, newest: &[Block]) -> Copy {
        match self.prefix {
            Some(prefix) if prefix.number > packed.number => Copy { prefix: Some(prefix), ..self },
            _ => {
                let mut last = packed.clone();
                for block in newest.iter().rev().filter(|block| block.number > packed.number) {
                    if !follows((last.number, last.hash), block) {
                        break;
                    }
                    last = block.head();
                }
                Copy { prefix: Some(last), ..self }
            }
        }
    }

    fn newest(&self) -> Option<&Head> {
        self.tombstone.as_ref().or(self.prefix.as_ref())
    }
}

/// So many of the newest blocks tell where the unbroken beginning of a copy ends: what is being written may be written in
/// any order, and everything below it is there. Above it there may be a tombstone: a restored cell gets it after the copy
/// was interrupted.
pub const NEWEST_BLOCKS: usize = COPY_BLOCKS.saturating_add(2);

/// The last block of a chain's unbroken beginning, from its [`NEWEST_BLOCKS`] newest blocks, newest first, or all of them.
pub fn unbroken(newest: &[Block]) -> Option<&Block> {
    let lowest = newest.last()?;
    if lowest.number > 0 && newest.len() < NEWEST_BLOCKS {
        return None;
    }
    let mut last = lowest;
    for next in newest.iter().rev().skip(1) {
        if !follows((last.number, last.hash), next) {
            break;
        }
        last = next;
    }
    Some(last)
}

fn follows((number, hash): (u64, Hash), next: &Block) -> bool {
    number.checked_add(1) == Some(next.number) && next.previous == hash
}

/// Whether this block, the last one in `cell`, says that the wallet left from there. An unfinished copy ends otherwise.
pub fn is_tombstone(cell: &CellId, block: &Block) -> bool {
    matches!(block.entries.last().map(|entry| &entry.kind), Some(EntryKind::Moved { from, .. }) if from == cell)
}

/// What a migrator does next for one wallet. Every step may be repeated, by any number of migrators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Copy these blocks, both inclusive, from the source to the target, in order.
    Copy { first: u64, last: u64 },
    /// The target has everything up to the source's head: append [`moved_block`] after it at the source.
    CutOver { after: Head },
    /// The target has the `Moved` block: it serves, or has served.
    Done,
    /// The source's chain says that a third cell has the wallet.
    Elsewhere { home: CellId },
    /// The source has no chain.
    Absent,
    /// The two chains differ at this block. Nothing may be done before a human has looked.
    Diverged { number: u64 },
}

/// The next step of moving a wallet `from` a cell `to` another, where the source's head and the target's copy were
/// seen to be these, however long ago: each step carries its own condition.
pub fn next(from: &CellId, to: &CellId, source: Option<&Head>, copy: &Copy) -> Step {
    let Some(source) = source else { return Step::Absent };
    let has_left = source.home == *to;
    if !has_left && source.home != *from {
        return Step::Elsewhere { home: source.home.clone() };
    }
    if let Some(newest) = copy.newest() {
        let differs = newest.number == source.number && newest.hash != source.hash;
        // A copy may be ahead only of a source that the wallet has left.
        if differs || (newest.number > source.number && !has_left) {
            return Step::Diverged { number: newest.number };
        }
        // Also where the wallet has since left the target too, and was forgotten there.
        if newest.number >= source.number && has_left {
            return Step::Done;
        }
    }
    match &copy.prefix {
        Some(prefix) if prefix.number >= source.number => Step::CutOver { after: source.clone() },
        prefix => {
            let first = prefix.as_ref().map_or(0, |prefix| prefix.number.saturating_add(1));
            // The tombstone itself is there already: what was forgotten ends below it.
            let hole_end = copy.tombstone.as_ref().filter(|stone| first < stone.number);
            let last = hole_end.map_or(source.number, |stone| stone.number.saturating_sub(1).min(source.number));
            Step::Copy { first, last }
        }
    }
}

/// Whether the target could serve a part of this page as a head: it holds blocks of an earlier stay there, and no
/// tombstone above them. So it is in a cell that was restored. The block by which the wallet left has to be written
/// before them.
pub fn lacks_tombstone(to: &CellId, source: &Head, copy: &Copy, page: &[Block]) -> bool {
    let stone = copy.tombstone.as_ref().map(|stone| stone.number);
    // By its last block the wallet arrives there now.
    let earlier = |block: &&Block| block.home == *to && block.number < source.number;
    page.iter().filter(earlier).any(|block| stone.is_none_or(|stone| stone < block.number))
}

/// The block that ends `head`'s time in its cell: one `Moved` entry and nothing else. It has no personal part, since it
/// travels with requests: who moved the wallet is in the record of the operation.
pub fn moved_block(head: &Head, to: &CellId, epoch: u64, id: TransactionId, trace: Trace, now: Timestamp) -> Block {
    let kind = EntryKind::Moved { from: head.home.clone(), to: to.clone(), epoch };
    let entry = Entry { trace, ..Entry::new(id, kind, Money::ZERO, head.state.balance) };
    chain::next(head, head.state.clone(), vec![entry], now)
}

/// Whether `cell`, which holds a copy up to `head`, may append this `Moved` block by itself: it was appended to the
/// chain that was copied, names this cell, and follows the copy, so the copy is complete.
pub fn adopts(cell: &CellId, head: &Head, moved: &Block) -> bool {
    let is_move = matches!(&moved.entries[..], [Entry { kind: EntryKind::Moved { to, .. }, .. }] if to == cell);
    is_move && head.home != *cell && moved.wallet == head.wallet && chain::verify(Some(head), moved).is_ok()
}

/// Checks that `blocks` continue the copy, one by one.
pub fn check_links(prefix: Option<&Head>, blocks: &[Block]) -> Result<(), ChainFault> {
    let mut before = prefix.cloned();
    for block in blocks {
        chain::verify(before.as_ref(), block)?;
        before = Some(block.head());
    }
    Ok(())
}

/// How many of `blocks` (consecutive, of one wallet) may be written at once, in any order, to a target without a
/// tombstone. The block by which the wallet arrives there makes the target serve: it comes alone, after all others.
pub fn at_once(to: &CellId, blocks: &[Block]) -> usize {
    let arrival = blocks.iter().position(|block| block.home == *to);
    chunk(blocks).min(arrival.map_or(usize::MAX, |position| position.max(1)))
}

/// How many of `blocks` (consecutive, of one wallet) fit into one guarded append. At least one.
pub fn chunk(blocks: &[Block]) -> usize {
    let mut bytes = 0_usize;
    for (taken, block) in blocks.iter().enumerate() {
        bytes = bytes.saturating_add(crate::canonical::size(block));
        if taken > 0 && (taken >= COPY_BLOCKS || bytes > COPY_BYTES) {
            return taken;
        }
    }
    blocks.len()
}

/// Whether the source's block of the copy's last number is that very block.
pub fn agrees(copy: &Head, source: &Block) -> bool {
    copy.number == source.number && copy.hash == source.hash && copy.hash != Hash::ZERO
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::WalletState;
    use topology::WalletId;
    use uuid::Uuid;

    fn cell(name: &str) -> CellId {
        CellId::parse(name).expect("sound")
    }

    fn opened(home: &str) -> Block {
        let wallet = WalletId::from_uuid(Uuid::from_u128(9));
        let entry = Entry::new(Uuid::from_u128(1), EntryKind::Opened, Money::ZERO, Money::ZERO);
        chain::open(wallet, cell(home), Timestamp::from_micros(1), entry, None)
    }

    fn deposit(head: &Head, minor: u64) -> Block {
        let balance = Money::from_minor(head.state.balance.minor() + minor);
        let entry = Entry::new(
            Uuid::from_u128(u128::from(head.number) + 10),
            EntryKind::Deposit,
            Money::from_minor(minor),
            balance,
        );
        chain::next(head, WalletState { balance, ..head.state.clone() }, vec![entry], head.at)
    }

    fn moved(head: &Head, to: &str) -> Block {
        moved_block(head, &cell(to), 1, Uuid::from_u128(99), Trace::default(), head.at)
    }

    fn copy_of(target: &str, blocks: &[&Block]) -> Copy {
        let newest: Vec<Block> = blocks.iter().rev().map(|block| (*block).clone()).collect();
        Copy::of(&cell(target), &newest)
    }

    #[test]
    fn the_next_step_follows_from_what_both_hold() {
        let zero = opened("a");
        let one = deposit(&zero.head(), 5);
        let other = deposit(&zero.head(), 6);
        let left = moved(&one.head(), "b");
        let back = moved(&left.head(), "a");
        let third = moved(&one.head(), "c");
        let after = |block: &Block| Step::CutOver { after: block.head() };
        let table = [
            (None, copy_of("b", &[]), Step::Absent),
            (Some(&one), copy_of("b", &[]), Step::Copy { first: 0, last: 1 }),
            (Some(&one), copy_of("b", &[&zero]), Step::Copy { first: 1, last: 1 }),
            (Some(&one), copy_of("b", &[&zero, &one]), after(&one)),
            (Some(&one), copy_of("b", &[&zero, &other]), Step::Diverged { number: 1 }),
            (Some(&zero), copy_of("b", &[&zero, &one]), Step::Diverged { number: 1 }),
            (Some(&left), copy_of("b", &[&zero, &one]), Step::Copy { first: 2, last: 2 }),
            (Some(&left), copy_of("b", &[&zero, &one, &left]), Step::Done),
            (Some(&left), copy_of("b", &[&zero, &one, &left, &back]), Step::Done),
            (Some(&left), copy_of("b", &[&back]), Step::Done),
            (Some(&third), copy_of("b", &[&zero]), Step::Elsewhere { home: cell("c") }),
        ];
        for (source, copy, expected) in table {
            assert_eq!(next(&cell("a"), &cell("b"), source.map(Block::head).as_ref(), &copy), expected);
        }
    }

    #[test]
    fn what_was_forgotten_is_copied_again_from_the_break() {
        let zero = opened("a");
        let one = deposit(&zero.head(), 5);
        let left = moved(&one.head(), "b");
        let two = deposit(&left.head(), 1);
        let step = |held: &[&Block]| next(&cell("b"), &cell("a"), Some(&two.head()), &copy_of("a", held));
        assert_eq!(step(&[&left]), Step::Copy { first: 0, last: 1 });
        assert_eq!(step(&[&zero, &left]), Step::Copy { first: 1, last: 1 });
        assert_eq!(step(&[&one, &left]), Step::Copy { first: 0, last: 1 }, "block 0 is gone");
        assert_eq!(step(&[&zero, &one, &left]), Step::Copy { first: 3, last: 3 });
        assert!(copy_of("a", &[&zero, &one, &left]).tombstone.is_some());
        assert!(copy_of("b", &[&zero, &one, &left]).tombstone.is_none());
        let other = deposit(&zero.head(), 6);
        let forked = copy_of("a", &[&zero, &other, &left]);
        assert_eq!(forked.prefix, Some(other.head()), "the tombstone does not name what is below it");
    }

    #[test]
    fn a_copy_ends_where_its_first_hole_is() {
        let mut chain = vec![opened("a")];
        for minor in 1..=NEWEST_BLOCKS as u64 + 4 {
            chain.push(deposit(&chain[chain.len() - 1].head(), minor));
        }
        let held = |numbers: &[usize]| {
            let newest = numbers.iter().rev().take(NEWEST_BLOCKS).map(|number| chain[*number].clone());
            unbroken(&newest.collect::<Vec<_>>()).map(|block| block.number)
        };
        let all: Vec<usize> = (0..chain.len()).collect();
        assert_eq!(held(&all), Some(chain.len() as u64 - 1));
        assert_eq!(held(&[]), None);
        assert_eq!(held(&[1, 2]), None);
        assert_eq!(held(&[0, 2, 3]), Some(0));
        // As many as are written at once are missing, but for the last one.
        let below = chain.len() - COPY_BLOCKS;
        let mut holes: Vec<usize> = (0..below).collect();
        holes.push(chain.len() - 1);
        assert_eq!(held(&holes), Some(below as u64 - 1));
        // The lowest of those is missing, and there is a tombstone further on.
        let lowest = chain.len() - COPY_BLOCKS - 2;
        let interrupted: Vec<usize> =
            (0..chain.len()).filter(|number| ![lowest, chain.len() - 2].contains(number)).collect();
        assert_eq!(held(&interrupted), Some(lowest as u64 - 1));
    }

    #[test]
    fn the_block_by_which_a_wallet_arrives_is_written_alone() {
        let zero = opened("a");
        let one = deposit(&zero.head(), 5);
        let left = moved(&one.head(), "b");
        let blocks = [zero, one, left];
        assert_eq!(at_once(&cell("b"), &blocks), 2);
        assert_eq!(at_once(&cell("b"), &blocks[2..]), 1);
        assert_eq!(at_once(&cell("c"), &blocks), 3);
    }

    #[test]
    fn a_cell_adopts_only_a_move_to_itself_after_a_whole_copy() {
        let zero = opened("a");
        let one = deposit(&zero.head(), 5);
        let left = moved(&one.head(), "b");
        assert!(adopts(&cell("b"), &one.head(), &left));
        assert!(!adopts(&cell("b"), &zero.head(), &left), "a block is missing");
        assert!(!adopts(&cell("c"), &one.head(), &left), "another cell's");
        assert!(!adopts(&cell("b"), &left.head(), &left), "there already");
        let deposited = deposit(&one.head(), 1);
        assert!(!adopts(&cell("b"), &one.head(), &deposited), "no move");
        let mut forged = left.clone();
        forged.hash = one.hash;
        assert!(!adopts(&cell("b"), &one.head(), &forged));
    }

    #[test]
    fn a_copy_with_an_open_transfer_is_a_chain() {
        let zero = opened("a");
        let rich = deposit(&zero.head(), 50);
        let transfer = Uuid::from_u128(7);
        let entry = |kind, amount, balance_after, id| {
            Entry::new(id, kind, Money::from_minor(amount), Money::from_minor(balance_after))
        };
        let to = WalletId::from_uuid(Uuid::from_u128(3));
        let settled_state = WalletState { balance: Money::from_minor(40), ..rich.state.clone() };
        let paid = WalletState { open_count: 1, open_since: 2, ..settled_state.clone() };
        let out = entry(EntryKind::TransferOut { to, reverses: None }, 10, 40, transfer);
        let out = chain::next(&rich.head(), paid, vec![out], rich.at);
        let settled = entry(EntryKind::TransferSettled { transfer }, 0, 40, Uuid::from_u128(8));
        let settled = chain::next(&out.head(), settled_state, vec![settled], rich.at);
        let blocks = [zero, rich, out, settled];
        assert_eq!(chunk(&blocks), 4);
        assert_eq!(check_links(None, &blocks), Ok(()));
        assert!(agrees(&blocks[1].head(), &blocks[1]) && !agrees(&blocks[1].head(), &blocks[2]));
    }
}
