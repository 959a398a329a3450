//! What must hold of the tables in every state, and what must be possible from each.

use ledger::Block;

use super::Move;
use super::mover::Stepped;
use super::space::TablesId;
use super::state::{Instance, Phase, State};
use super::world::{CELLS, Request, cell, first_tables, wallet};

/// Steps within which one mover alone comes to its end.
const ALONE_MAX: usize = 100;

/// What is so of some tables, worked out once for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    pub at_most_one_home: bool,
    pub blocks_agree: bool,
    pub home_has_all: bool,
    pub nothing_twice: bool,
    pub can_finish: bool,
    /// The requests that the longest chain carries out.
    pub history: u16,
    /// The cell that serves.
    pub home: Option<usize>,
}

impl Move {
    /// The requests that the chain in these tables carries out.
    pub fn done_in(&self, tables: TablesId) -> u16 {
        self.done.get_or(tables, || {
            let tables = self.space.tables(tables);
            let done = Request::all().into_iter().filter(|r| tables.chain(wallet()).any(|b| r.count_in(b) > 0));
            done.fold(0, |bits, request| bits | request.bit())
        })
    }

    pub fn facts(&self, tables: [TablesId; CELLS]) -> Facts {
        self.facts.get_or(tables, || self.work_out(tables))
    }

    fn work_out(&self, tables: [TablesId; CELLS]) -> Facts {
        let cells = tables.map(|id| self.space.tables(id));
        let chains = cells.each_ref().map(|tables| tables.chain(wallet()).collect::<Vec<_>>());
        let longest = chains.iter().max_by_key(|chain| (chain.last().map(|block| block.number), chain.len()));
        let longest = longest.expect("there are cells");
        let homes: Vec<usize> =
            (0..CELLS).filter(|at| chains[*at].last().is_some_and(|b| b.home == cell(*at))).collect();
        let agree = |block: &&Block| longest.iter().any(|other| other == block);
        let whole = (0..).zip(longest).all(|(number, block)| block.number == number);
        let count = |request: Request| longest.iter().map(|block| request.count_in(block)).sum::<usize>();
        Facts {
            at_most_one_home: homes.len() <= 1,
            blocks_agree: chains.iter().flatten().all(agree),
            home_has_all: whole && homes.iter().all(|at| chains[*at].len() == longest.len()),
            nothing_twice: Request::all().into_iter().all(|request| count(request) <= 1)
                && count(Request::Reverse) + count(Request::ReverseAgain) <= 1
                && count(Request::Settle) + count(Request::TakeBack) <= 1,
            can_finish: self.can_finish(tables),
            history: Request::all().into_iter().filter(|r| count(*r) > 0).fold(0, |bits, r| bits | r.bit()),
            home: homes.first().copied(),
        }
    }

    /// Whether the plans, run again one after the other with nothing else at work, end with one
    /// cell that serves.
    fn can_finish(&self, tables: [TablesId; CELLS]) -> bool {
        let idle = Instance { head: None, done: 0, write: None };
        let mut state = State { tables, ..self.first_state() };
        state.instances = [idle; super::state::INSTANCES];
        for mover in 0..self.plans.len() {
            state.movers[mover] = Phase::Idle;
            let mut ended = false;
            for _ in 0..ALONE_MAX {
                match self.step_mover(&state, mover) {
                    Stepped::To(next) => state = *next,
                    Stepped::Ended => {
                        ended = true;
                        break;
                    }
                    Stepped::Diverged => return false,
                }
            }
            if !ended {
                return false;
            }
        }
        (0..CELLS).filter(|at| self.serves(&state, *at)).count() == 1
    }

    pub fn first_state(&self) -> State {
        let tables = first_tables(&self.size.first).map(|tables| self.space.keep_tables(tables));
        let (head, done) = (self.space.newest(tables[0]), self.done_in(tables[0]));
        let remembers = |number: usize| self.size.homes.get(number) == Some(&0);
        State {
            tables,
            movers: [Phase::Idle; super::state::MOVERS],
            instances: std::array::from_fn(|number| {
                let done = if remembers(number) { done } else { 0 };
                Instance { head: head.filter(|_| remembers(number)), done, write: None }
            }),
            zombie: None,
            carried: None,
            adopting: None,
            acknowledged: self.size.first.iter().fold(0, |bits, request| bits | request.bit()),
            forgetting: None,
            forgets_left: self.size.forgets,
            alarm: false,
        }
    }

    /// One line for people: what each cell holds.
    pub fn describe(&self, state: &State) -> String {
        let chain = |at: usize| {
            let tables = self.space.tables(state.tables[at]);
            let name = |block: &Block| format!("{}{}", block.number, if block.home == cell(0) { "a" } else { "b" });
            let blocks: Vec<_> = tables.chain(wallet()).map(name).collect();
            format!("{}: [{}]", cell(at), blocks.join(" "))
        };
        (0..CELLS).map(chain).collect::<Vec<_>>().join(", ")
    }
}
