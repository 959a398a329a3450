//! One wallet in the cells: what each of them holds of it, and the processes that change that
//! without any request, its movers and the purge of what it left behind. What must hold of it in
//! every state.

use ledger::open::OpenTransfers;
use ledger::{Append, Block, Entry, EntryKind, Guard, Intent, Money, Timestamp, TransactionId, chain, decide};
use store::Genesis;
use store::memory::{Mutation, Tables};
use topology::{Bucket, WalletId};
use uuid::Uuid;

use super::mover::{Phase, Stepped};
use super::space::{AppendId, BlockId, Known, Space, TablesId, Written};
use super::{CELLS, Mistake, cell};

/// Movers of one wallet, at most.
pub const MOVERS: usize = 2;
/// Steps within which one mover alone comes to its end.
const ALONE_MAX: usize = 100;

/// There and back.
pub const OPPOSITE: [(usize, usize); MOVERS] = [(0, 1), (1, 0)];
/// One plan, carried out twice at once.
pub const TWICE: [(usize, usize); MOVERS] = [(0, 1), (0, 1)];

/// One moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Held {
    pub tables: [TablesId; CELLS],
    pub movers: [Phase; MOVERS],
    /// A write that its sender has given up, or of a sender that is dead, and the cell that it is
    /// on its way to.
    pub late: Option<(u8, AppendId)>,
    /// A cell and the tombstone below which it purges.
    pub purging: Option<(u8, u64)>,
    pub purges_left: u8,
    /// A mover has said that the cells have different chains: no mover goes on before an operator
    /// has looked.
    pub alarm: bool,
}

/// What may happen to it next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    MoverSteps(usize),
    /// Of the blocks that it writes at once, the last one lands first.
    MoverWritesLast(usize),
    /// All that it remembers is gone.
    MoverDies(usize),
    /// And its write may still land.
    MoverDiesWriting(usize),
    LateWriteLands,
    LateWriteIsLost,
    PurgeBegins(usize),
    PurgeGoesOn,
    PurgeStops,
}

/// What the instances of a cell know of the wallet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remembered {
    pub heads: bool,
    pub writes: bool,
}

/// What is so of some tables, worked out once for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    pub at_most_one_home: bool,
    pub blocks_agree: bool,
    pub home_has_all: bool,
    /// The tables after its plans were carried out again one after the other, with nothing else at
    /// work, if that ends with one cell that serves.
    pub finished: Option<[TablesId; CELLS]>,
    /// The last block of the longest chain.
    pub last: BlockId,
    /// The cell that serves.
    pub home: Option<usize>,
}

pub struct Wallet {
    pub id: WalletId,
    pub space: Space,
    pub plans: Vec<(usize, usize)>,
    /// Number of the last block that its chain may come to: what keeps the model finite.
    pub last_block: u64,
    pub mistake: Mistake,
    facts: Known<[TablesId; CELLS], Facts>,
}

impl Wallet {
    pub fn new(number: u128, plans: &[(usize, usize)], last_block: u64, mistake: Mistake) -> Self {
        assert!(plans.len() <= MOVERS);
        let id = WalletId::from_uuid(Uuid::from_u128(number));
        Self { id, space: Space::new(id), plans: plans.to_vec(), last_block, mistake, facts: Known::new() }
    }

    /// `home` has the wallet, in which `work` was done, block by block; the other cell has nothing.
    pub fn first(&self, home: usize, purges: u8, work: &[Vec<(TransactionId, Intent)>]) -> Held {
        let mut tables = [Tables::default(), Tables::default()];
        let opened = Entry::new(Uuid::from_u128(1), EntryKind::Opened, Money::ZERO, Money::ZERO);
        let zero = chain::open(self.id, cell(home), Timestamp::from_micros(1), opened, None);
        let genesis = Genesis::of(Bucket::all()).contains(self.id.bucket());
        let creation = Append::of(vec![zero], Some(Guard::Bucket { genesis }));
        tables[home].append(&creation, Mutation::None).expect("nothing is there yet");
        for work in work {
            let chain: Vec<Block> = tables[home].chain(self.id).cloned().collect();
            let block = next_block(&chain, work).expect("what is done first is allowed");
            tables[home].append(&Append::next(block), Mutation::None).expect("its place is free");
        }
        let tables = tables.map(|tables| self.space.keep_tables(tables));
        Held { tables, movers: [Phase::Idle; MOVERS], late: None, purging: None, purges_left: purges, alarm: false }
    }

    pub fn newest(&self, held: &Held, at: usize) -> Option<BlockId> {
        self.space.newest(held.tables[at])
    }

    /// The head of a cell that serves.
    pub fn served(&self, held: &Held, at: usize) -> Option<BlockId> {
        self.newest(held, at).filter(|block| self.space.block(*block).home == cell(at))
    }

    pub fn write(&self, held: &mut Held, at: usize, append: AppendId) -> Written {
        let written = self.space.write(held.tables[at], append, self.mistake.in_stores());
        if let Written::Yes(after) = written {
            held.tables[at] = after;
        }
        written
    }

    pub fn may_grow(&self, held: &Held) -> bool {
        let numbers = (0..CELLS).filter_map(|at| self.newest(held, at)).map(|block| self.space.block(block).number);
        numbers.max().unwrap_or(0) < self.last_block
    }

    /// Everything that may happen.
    pub fn possible(&self, held: &Held, mut take: impl FnMut(Step)) {
        for (mover, phase) in held.movers.iter().enumerate().take(self.plans.len()) {
            take(Step::MoverSteps(mover));
            if matches!(phase, Phase::Copying { .. }) {
                take(Step::MoverWritesLast(mover));
            }
            if *phase != Phase::Idle {
                take(Step::MoverDies(mover));
                if held.late.is_none() {
                    take(Step::MoverDiesWriting(mover));
                }
            }
        }
        if held.late.is_some() {
            take(Step::LateWriteLands);
            take(Step::LateWriteIsLost);
        }
        match held.purging {
            Some(_) => [Step::PurgeGoesOn, Step::PurgeStops].into_iter().for_each(take),
            None if held.purges_left > 0 => (0..CELLS).map(Step::PurgeBegins).for_each(take),
            None => {}
        }
    }

    /// What it comes to; `None` if it cannot be.
    pub fn after(&self, held: &Held, step: Step, remembered: impl Fn(usize) -> Remembered) -> Option<Held> {
        let mut next = *held;
        match step {
            Step::MoverSteps(mover) => match self.step_mover(held, mover) {
                Stepped::To(stepped) => {
                    let cuts = matches!(stepped.movers[mover], Phase::Cutting { .. });
                    if cuts && !self.may_grow(held) {
                        return None;
                    }
                    next = stepped;
                }
                Stepped::Ended => next.movers[mover] = Phase::Idle,
                Stepped::Diverged => next.alarm = true,
            },
            Step::MoverWritesLast(mover) => next = self.write_last(held, mover)?,
            Step::MoverDies(mover) => next.movers[mover] = Phase::Idle,
            Step::MoverDiesWriting(mover) => {
                let (at, append) = self.write_of(held, mover)?;
                next.late = Some((u8::try_from(at).expect("few cells"), append));
                next.movers[mover] = Phase::Idle;
            }
            Step::LateWriteLands => {
                let (at, append) = held.late?;
                self.write(&mut next, usize::from(at), append);
                next.late = None;
            }
            Step::LateWriteIsLost => next.late = None,
            Step::PurgeBegins(at) => next = self.begin_purge(held, at, remembered(at))?,
            Step::PurgeGoesOn => next = self.go_on_purging(held)?,
            Step::PurgeStops => next.purging = None,
        }
        Some(next)
    }

    pub fn facts(&self, tables: [TablesId; CELLS]) -> Facts {
        self.facts.get_or(tables, || self.work_out(tables))
    }

    fn work_out(&self, tables: [TablesId; CELLS]) -> Facts {
        let cells = tables.map(|id| self.space.tables(id));
        let chains = cells.each_ref().map(|tables| tables.chain(self.id).collect::<Vec<_>>());
        let longest = chains.iter().max_by_key(|chain| (chain.last().map(|block| block.number), chain.len()));
        let longest = longest.expect("there are cells");
        let homes: Vec<usize> =
            (0..CELLS).filter(|at| chains[*at].last().is_some_and(|b| b.home == cell(*at))).collect();
        let agree = |block: &&Block| longest.iter().any(|other| other == block);
        let whole = (0..).zip(longest).all(|(number, block)| block.number == number);
        let last = longest.last().map(|block| self.space.keep_block(Block::clone(block)));
        Facts {
            at_most_one_home: homes.len() <= 1,
            blocks_agree: chains.iter().flatten().all(agree),
            home_has_all: whole && homes.iter().all(|at| chains[*at].len() == longest.len()),
            finished: self.finish(tables),
            last: last.expect("the wallet is somewhere"),
            home: homes.first().copied(),
        }
    }

    fn finish(&self, tables: [TablesId; CELLS]) -> Option<[TablesId; CELLS]> {
        let movers = [Phase::Idle; MOVERS];
        let mut held = Held { tables, movers, late: None, purging: None, purges_left: 0, alarm: false };
        for mover in 0..self.plans.len() {
            let mut steps = 0;
            while let Stepped::To(next) = self.step_mover(&held, mover) {
                held = next;
                steps += 1;
                if steps > ALONE_MAX {
                    return None;
                }
            }
            if matches!(self.step_mover(&held, mover), Stepped::Diverged) {
                return None;
            }
            held.movers[mover] = Phase::Idle;
        }
        ((0..CELLS).filter(|at| self.served(&held, *at).is_some()).count() == 1).then_some(held.tables)
    }

    /// What each cell holds, for people.
    pub fn describe(&self, held: &Held) -> String {
        let chain = |at: usize| {
            let tables = self.space.tables(held.tables[at]);
            let name = |block: &Block| format!("{}{}", block.number, if block.home == cell(0) { "a" } else { "b" });
            let blocks: Vec<_> = tables.chain(self.id).map(name).collect();
            format!("{}: [{}]", cell(at), blocks.join(" "))
        };
        (0..CELLS).map(chain).collect::<Vec<_>>().join(", ")
    }
}

/// The block that carries out this work after the last one of `chain`, if it is allowed there.
pub fn next_block(chain: &[Block], work: &[(TransactionId, Intent)]) -> Option<Block> {
    let head = chain.last()?;
    let (mut state, mut entries) = (head.state.clone(), Vec::new());
    for (id, intent) in work {
        let (id, kind, amount) = decided(*id, intent, &state, head.at)?;
        state.apply(id, &kind, amount, (head.number + 1, head.at)).expect("decide and the chain rules agree");
        entries.push(Entry::new(id, kind, amount, state.balance));
    }
    let mut open = OpenTransfers::default();
    chain.iter().for_each(|block| open.take(block));
    state.open_since = open.since_after(head.number + 1, &entries);
    Some(chain::next(&head.head(), state, entries, head.at))
}

/// The entry that an intent comes to: money that has left its payer gets a recorded answer.
fn decided(
    id: TransactionId,
    intent: &Intent,
    state: &ledger::WalletState,
    at: Timestamp,
) -> Option<(TransactionId, EntryKind, Money)> {
    match (decide(state, intent, at), intent) {
        (Ok((kind, amount)), _) => Some((id, kind, amount)),
        (Err(refusal), Intent::Receive { from, .. }) => {
            let kind = decide::record_refusal(refusal, id, *from);
            Some((TransactionId::new_v5(&id, b"refused"), kind, Money::ZERO))
        }
        (Err(_), _) => None,
    }
}
