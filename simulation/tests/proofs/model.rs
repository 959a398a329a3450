//! Every way that a move between two cells can go, in a small deployment: two movers on one plan or on opposite ones
//! that die anywhere, instances that remember old heads, writes that land late or never, requests that bring the last
//! block along, forgetting. Explored whole, with the shipped step functions; the tables are those of the simulator.
//!
//! It must not describe the protocol a second time: what is decided, is decided by `ledger`.

mod facts;
mod mover;
mod space;
mod state;
mod steps;
mod world;

use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model, Property};
use store::memory::Mutation;

use facts::Facts;
use space::{Known, Space, TablesId};
use state::{Action, INSTANCES, MOVERS, State};
use world::{CELLS, Request};

/// Blocks that a mover reads at once; the store may always return fewer than it is asked for.
const PAGE_BLOCKS: usize = 2;
const THREADS: usize = 2;
/// States that each explored space has at least; fewer would mean that something cannot happen any more.
const SMALLEST_SPACE: usize = 1_000_000;
/// Steps that are gone in a space that is not explored whole, the shortest ways first.
const FIRST_STEPS: usize = 400_000;
const MOST_STEPS: usize = 4_000_000;
/// Set to 1, every space is explored whole.
const WHOLE: &str = "WALLET_MODEL_WHOLE";
/// Set to a number of steps in millions, it explores so much of a space that is too large to be explored whole.
const LARGE: &str = "WALLET_MODEL_MILLIONS";

/// There and back.
const OPPOSITE: [(usize, usize); MOVERS] = [(0, 1), (1, 0)];
/// One plan, carried out twice at once.
const TWICE: [(usize, usize); MOVERS] = [(0, 1), (0, 1)];

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
    forgets: u8,
}

/// A deliberate mistake, for showing that it would be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mistake {
    None,
    /// An append overwrites what is there.
    NoCondition,
    /// A cell forgets although an instance may remember an older head.
    NoFence,
    /// A cell appends the last block that a request brings without asking whether those below it are there.
    AdoptUnguarded,
    /// A mover that was stopped writes without asking whether what is below is still there.
    MoversUnguarded,
    /// An instance that loads a wallet does not look for what was done before.
    ForgetsWhatWasDone,
}

impl Mistake {
    fn in_stores(self) -> Mutation {
        match self {
            Mistake::NoCondition => Mutation::NoCondition,
            Mistake::None
            | Mistake::NoFence
            | Mistake::AdoptUnguarded
            | Mistake::MoversUnguarded
            | Mistake::ForgetsWhatWasDone => Mutation::None,
        }
    }
}

struct Move {
    size: Size,
    plans: [(usize, usize); MOVERS],
    mistake: Mistake,
    space: Space,
    facts: Known<[TablesId; CELLS], Facts>,
    done: Known<TablesId, u16>,
}

impl Move {
    fn new(size: Size, plans: [(usize, usize); MOVERS], mistake: Mistake) -> Self {
        assert!(size.homes.len() <= INSTANCES);
        Self { size, plans, mistake, space: Space::new(), facts: Known::new(), done: Known::new() }
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
                model.facts(state.tables).at_most_one_home
            }),
            Property::always("no number has two blocks", |model: &Self, state: &State| {
                model.facts(state.tables).blocks_agree
            }),
            Property::always("a cell that serves has all of it", |model: &Self, state: &State| {
                model.facts(state.tables).home_has_all
            }),
            Property::always("nothing is done twice", |model: &Self, state: &State| {
                model.facts(state.tables).nothing_twice
            }),
            Property::always("what was acknowledged is there", |model: &Self, state: &State| {
                state.acknowledged & !model.facts(state.tables).history == 0
            }),
            Property::always("every move can be finished", |model: &Self, state: &State| {
                model.facts(state.tables).can_finish
            }),
            Property::always("no mover raises a false alarm", |model: &Self, state: &State| {
                !state.alarm || !model.facts(state.tables).blocks_agree
            }),
            Property::sometimes("the target serves", |model: &Self, state: &State| {
                model.facts(state.tables).home == Some(1)
            }),
            Property::sometimes("it is served again where it was forgotten", |model: &Self, state: &State| {
                let has_come_back = model.facts(state.tables).home == Some(0) && state.forgets_left == 0;
                model.size.forgets == 0 || (has_come_back && state.forgetting.is_none())
            }),
            Property::sometimes("a request brings the last block", |_, state: &State| state.adopting.is_some()),
        ]
    }
}

/// Explores the whole space, or up to the first violation, or to about so many steps.
fn explore(model: Move, most: Option<usize>) -> impl Checker<Move> {
    let (began, size) = (Instant::now(), model.size.clone());
    let checker = model.checker().threads(THREADS).finish_when(HasDiscoveries::AnyFailures);
    let checker = most.into_iter().fold(checker, |checker, most| checker.target_state_count(most)).spawn_bfs().join();
    let (unique, depth) = (checker.unique_state_count(), checker.max_depth());
    println!("{size:?}: {unique} states, {depth} deep, {:.1} s", began.elapsed().as_secs_f64());
    checker
}

/// No counterexample, among the first steps or, where asked for, among all.
fn holds(size: Size, plans: [(usize, usize); MOVERS]) {
    holds_at_first(size, plans, FIRST_STEPS);
}

fn holds_at_first(size: Size, plans: [(usize, usize); MOVERS], steps: usize) {
    if std::env::var_os(WHOLE).is_some() {
        return holds_whole(size, plans);
    }
    let checker = explore(Move::new(size, plans, Mistake::None), Some(steps));
    assert_eq!(print_violations(&checker), 0);
    assert!(checker.state_count() >= steps, "the space is smaller than it was");
}

/// No counterexample at all; and what should come about, does.
fn holds_whole(size: Size, plans: [(usize, usize); MOVERS]) {
    let checker = explore(Move::new(size, plans, Mistake::None), None);
    assert_eq!(print_violations(&checker), 0);
    checker.assert_properties();
    assert!(checker.unique_state_count() >= SMALLEST_SPACE, "the space is smaller than it was");
}

/// Prints every counterexample, step by step; how many there are.
fn print_violations(checker: &impl Checker<Move>) -> usize {
    let model = checker.model();
    let failures: Vec<_> = model.properties().into_iter().filter(|p| p.expectation.discovery_is_failure()).collect();
    let mut found = 0;
    for property in failures {
        let Some(path) = checker.discovery(property.name) else { continue };
        found += 1;
        println!("not so: {}", property.name);
        for (state, action) in path.into_vec() {
            println!("  {}{}", model.describe(&state), action.map_or(String::new(), |a| format!("\n    {a:?}")));
        }
    }
    found
}

fn finds(mistake: Mistake) {
    let checker = explore(Move::new(with_forgetting(), OPPOSITE, mistake), None);
    assert!(print_violations(&checker) > 0, "{mistake:?} was not found");
}

/// Three instances, two of them in the old home, and money from another cell.
fn customers() -> Size {
    Size { homes: vec![0, 1, 0], first: vec![], requests: vec![Request::Credit], last_block: 2, forgets: 0 }
}

/// There, forgotten, and back.
fn with_forgetting() -> Size {
    Size { homes: vec![0, 1], first: vec![], requests: vec![Request::Credit], last_block: 3, forgets: 1 }
}

/// A transfer is in flight, and is settled on the way.
fn in_flight() -> Size {
    let first = vec![Request::Deposit, Request::Send];
    Size { homes: vec![0, 1], first, requests: vec![Request::Settle, Request::TakeBack], last_block: 5, forgets: 0 }
}

/// An amount is set aside before the move, and taken or not on the way.
fn held() -> Size {
    let first = vec![Request::Deposit, Request::Hold];
    Size { homes: vec![0, 1], first, requests: vec![Request::Capture], last_block: 5, forgets: 0 }
}

/// A deposit is taken back by two people at once.
fn reversed() -> Size {
    let first = vec![Request::Deposit, Request::SecondDeposit];
    Size {
        homes: vec![0, 1],
        first,
        requests: vec![Request::Reverse, Request::ReverseAgain],
        last_block: 4,
        forgets: 0,
    }
}

#[test]
fn a_hold_moves_along_and_is_captured_once() {
    holds(held(), OPPOSITE);
}

#[test]
fn a_deposit_is_taken_back_once_wherever_its_wallet_is() {
    holds(reversed(), TWICE);
}

#[test]
fn a_move_carried_out_twice_at_once_is_safe() {
    holds(customers(), TWICE);
}

#[test]
fn a_move_there_and_back_is_safe() {
    // Five million states in all: what purging meets comes after 20 steps.
    holds_at_first(with_forgetting(), OPPOSITE, MOST_STEPS);
}

/// A mover looks at the target, sleeps, and looks at the source after another one has moved the wallet and the source has
/// been purged.
#[test]
fn a_mover_that_meets_a_purge_raises_no_alarm() {
    let size = Size { homes: vec![0], first: vec![], requests: vec![Request::Deposit], last_block: 3, forgets: 1 };
    let checker = explore(Move::new(size, TWICE, Mistake::None), None);
    assert_eq!(print_violations(&checker), 0);
}

#[test]
fn a_transfer_in_flight_moves_along() {
    holds(in_flight(), OPPOSITE);
}

/// Everything at once: three instances, money in and out, settling, forgetting twice.
#[test]
fn as_much_as_there_is_time_for_is_safe() {
    let Ok(millions) = std::env::var(LARGE) else { return };
    let millions: usize = millions.parse().expect("a number of millions of steps");
    let (first, requests) = (vec![Request::Deposit], vec![Request::Credit, Request::Send, Request::Settle]);
    let size = Size { homes: vec![0, 1, 0], first, requests, last_block: 6, forgets: 2 };
    for plans in [OPPOSITE, TWICE] {
        let checker = explore(Move::new(size.clone(), plans, Mistake::None), Some(millions * 1_000_000));
        assert_eq!(print_violations(&checker), 0);
    }
}

#[test]
fn an_append_without_its_condition_is_found() {
    finds(Mistake::NoCondition);
}

#[test]
fn forgetting_what_an_instance_remembers_is_found() {
    finds(Mistake::NoFence);
}

#[test]
fn a_request_that_completes_a_move_over_a_hole_is_found() {
    finds(Mistake::AdoptUnguarded);
}

#[test]
fn a_mover_that_writes_over_a_hole_is_found() {
    finds(Mistake::MoversUnguarded);
}

#[test]
fn deciding_without_what_was_done_before_is_found() {
    finds(Mistake::ForgetsWhatWasDone);
}
