//! Every way that the move of a wallet between two cells can go: two movers on one plan or on
//! opposite ones that die anywhere, instances that remember old heads, writes that land late or
//! never, requests that bring the last block along, purging.

mod requests;
mod state;
mod steps;

use stateright::{Model, Property};

use super::Mistake;
use super::explore::{Deployment, finds, holds, holds_at_first, holds_so_far, large};
use super::space::{AppendId, BlockId, Known};
use super::wallet::{Facts, MOVERS, OPPOSITE, TWICE, Wallet};
use requests::Request;
use state::{Action, INSTANCES, State};

/// States that each explored space has at least.
const SMALLEST_SPACE: usize = 1_000_000;
/// Steps of the space where purging matters: what it meets comes after 20 steps.
const MOST_STEPS: usize = 4_000_000;

/// How much there is to explore.
#[derive(Debug, Clone)]
struct Size {
    /// The cell of each instance, at most [`INSTANCES`].
    homes: Vec<usize>,
    /// What was done before the first state.
    first: Vec<Request>,
    requests: Vec<Request>,
    /// Number of the last block that a chain may come to.
    last_block: u64,
    purges: u8,
}

#[derive(Debug, Clone, Copy)]
struct Done {
    requests: u16,
    /// None of them twice.
    is_once: bool,
}

struct Move {
    size: Size,
    wallet: Wallet,
    done: Known<BlockId, Done>,
    writes: Known<(BlockId, Request), Option<AppendId>>,
}

impl Move {
    fn new(size: Size, plans: [(usize, usize); MOVERS]) -> Self {
        Self::with(size, plans, Mistake::None)
    }

    fn with(size: Size, plans: [(usize, usize); MOVERS], mistake: Mistake) -> Self {
        assert!(size.homes.len() <= INSTANCES);
        let wallet = Wallet::new(9, &plans, size.last_block, mistake);
        Self { size, wallet, done: Known::new(), writes: Known::new() }
    }

    fn facts(&self, state: &State) -> Facts {
        self.wallet.facts(state.wallet.tables)
    }

    /// What the chain up to this block carries out.
    fn done(&self, last: BlockId) -> Done {
        self.done.get_or(last, || {
            let chain = self.wallet.space.chain(last);
            let count = |request: Request| request.count_in(&chain);
            let done = Request::all().into_iter().filter(|request| count(*request) > 0);
            Done {
                requests: done.fold(0, |bits, request| bits | request.bit()),
                is_once: Request::all().into_iter().all(|request| count(request) <= 1)
                    && count(Request::Reverse) + count(Request::ReverseAgain) <= 1,
            }
        })
    }
}

impl Deployment for Move {
    fn size(&self) -> String {
        format!("{:?}", self.size)
    }

    fn describe(&self, state: &State) -> String {
        self.wallet.describe(&state.wallet)
    }
}

impl Model for Move {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![self.first_state()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.possible(state, actions);
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        self.after(state, action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("at most one cell serves", |model: &Self, state: &State| {
                model.facts(state).at_most_one_home
            }),
            Property::always("no number has two blocks", |model: &Self, state: &State| model.facts(state).blocks_agree),
            Property::always("a cell that serves has all of it", |model: &Self, state: &State| {
                model.facts(state).home_has_all
            }),
            Property::always("nothing is done twice", |model: &Self, state: &State| {
                model.done(model.facts(state).last).is_once
            }),
            Property::always("what was acknowledged is there", |model: &Self, state: &State| {
                state.acknowledged & !model.done(model.facts(state).last).requests == 0
            }),
            Property::always("every move can be finished", |model: &Self, state: &State| {
                model.facts(state).finished.is_some()
            }),
            Property::always("no mover raises a false alarm", |model: &Self, state: &State| {
                !state.wallet.alarm || !model.facts(state).blocks_agree
            }),
            Property::sometimes("the target serves", |model: &Self, state: &State| model.facts(state).home == Some(1)),
            Property::sometimes("it is served again where it was purged", |model: &Self, state: &State| {
                let has_come_back = model.facts(state).home == Some(0) && state.wallet.purges_left == 0;
                model.size.purges == 0 || (has_come_back && state.wallet.purging.is_none())
            }),
            Property::sometimes("a request brings the last block", |_, state: &State| state.adopting.is_some()),
        ]
    }
}

/// Three instances, two of them in the old home, and money from another cell.
fn customers() -> Size {
    Size { homes: vec![0, 1, 0], first: vec![], requests: vec![Request::Credit], last_block: 2, purges: 0 }
}

/// There, purged, and back.
fn with_purging() -> Size {
    Size { homes: vec![0, 1], first: vec![], requests: vec![Request::Credit], last_block: 3, purges: 1 }
}

/// An amount is set aside before the move, and taken or not on the way.
fn held() -> Size {
    let first = vec![Request::Deposit, Request::Hold];
    Size { homes: vec![0, 1], first, requests: vec![Request::Capture], last_block: 5, purges: 0 }
}

/// A deposit is taken back by two people at once.
fn reversed() -> Size {
    let first = vec![Request::Deposit, Request::SecondDeposit];
    Size { homes: vec![0, 1], first, requests: vec![Request::Reverse, Request::ReverseAgain], last_block: 4, purges: 0 }
}

#[test]
fn a_hold_moves_along_and_is_captured_once() {
    holds(Move::new(held(), OPPOSITE), SMALLEST_SPACE);
}

#[test]
fn a_deposit_is_taken_back_once_wherever_its_wallet_is() {
    holds(Move::new(reversed(), TWICE), SMALLEST_SPACE);
}

#[test]
fn a_move_carried_out_twice_at_once_is_safe() {
    holds(Move::new(customers(), TWICE), SMALLEST_SPACE);
}

#[test]
fn a_move_there_and_back_is_safe() {
    holds_at_first(Move::new(with_purging(), OPPOSITE), MOST_STEPS, SMALLEST_SPACE);
}

/// A mover looks at the target, sleeps, and looks at the source after another one has moved the
/// wallet and the source has been purged.
#[test]
fn a_mover_that_meets_a_purge_raises_no_alarm() {
    let size = Size { homes: vec![0], first: vec![], requests: vec![Request::Deposit], last_block: 3, purges: 1 };
    holds_so_far(Move::new(size, TWICE), usize::MAX);
}

/// Everything at once: three instances, money in and out, purging twice.
#[test]
fn as_much_as_there_is_time_for_is_safe() {
    let Some(steps) = large() else { return };
    let (first, requests) = (vec![Request::Deposit], vec![Request::Credit, Request::Hold, Request::Capture]);
    let size = Size { homes: vec![0, 1, 0], first, requests, last_block: 6, purges: 2 };
    for plans in [OPPOSITE, TWICE] {
        holds_so_far(Move::new(size.clone(), plans), steps);
    }
}

fn finds_in_moves(mistake: Mistake) {
    finds(Move::with(with_purging(), OPPOSITE, mistake));
}

#[test]
fn an_append_without_its_condition_is_found() {
    finds_in_moves(Mistake::NoCondition);
}

#[test]
fn purging_what_an_instance_remembers_is_found() {
    finds_in_moves(Mistake::NoFence);
}

#[test]
fn a_request_that_completes_a_move_over_a_hole_is_found() {
    finds_in_moves(Mistake::AdoptUnguarded);
}

#[test]
fn a_mover_that_writes_over_a_hole_is_found() {
    finds_in_moves(Mistake::MoversUnguarded);
}

#[test]
fn deciding_without_what_was_done_before_is_found() {
    finds_in_moves(Mistake::ForgetsWhatWasDone);
}
