//! Goes through the states of a model: all of them, or the first ones; and prints the way to each
//! counterexample.

use std::fmt::Debug;
use std::hash::Hash;
use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model};

const THREADS: usize = 2;
/// Steps that are gone in a space that is not explored whole, the shortest ways first.
pub const FIRST_STEPS: usize = 400_000;
/// Set to 1, every space is explored whole.
const WHOLE: &str = "WALLET_MODEL_WHOLE";
/// Set to a number of steps in millions, it explores so much of each space that is too large to be
/// explored whole.
const LARGE: &str = "WALLET_MODEL_MILLIONS";

/// A model that can say what it is about.
pub trait Deployment: Model<State: State, Action: Action> + Send + Sync + 'static {
    /// How much there is to explore.
    fn size(&self) -> String;

    /// What the cells hold, in one line.
    fn describe(&self, state: &Self::State) -> String;
}

pub trait State: Debug + Hash + Send + Sync + Clone + PartialEq + 'static {}
impl<T: Debug + Hash + Send + Sync + Clone + PartialEq + 'static> State for T {}

pub trait Action: Debug + Clone + PartialEq {}
impl<T: Debug + Clone + PartialEq> Action for T {}

/// Explores the whole space, or up to the first violation, or to about so many steps.
fn explore<M: Deployment>(model: M, most: Option<usize>) -> impl Checker<M> {
    let (began, size) = (Instant::now(), model.size());
    let checker = model.checker().threads(THREADS).finish_when(HasDiscoveries::AnyFailures);
    let checker = most.into_iter().fold(checker, |checker, most| checker.target_state_count(most)).spawn_bfs().join();
    let (unique, depth) = (checker.unique_state_count(), checker.max_depth());
    println!("{size}: {unique} states, {depth} deep, {:.1} s", began.elapsed().as_secs_f64());
    checker
}

/// No counterexample among the first steps or, where asked for, among all.
pub fn holds<M: Deployment>(model: M, smallest: usize) {
    holds_at_first(model, FIRST_STEPS, smallest);
}

pub fn holds_at_first<M: Deployment>(model: M, steps: usize, smallest: usize) {
    if std::env::var_os(WHOLE).is_some() {
        return holds_whole(model, smallest);
    }
    let checker = explore(model, Some(steps));
    assert_eq!(print_violations(&checker), 0);
    assert!(checker.state_count() >= steps, "the space is smaller than it was");
}

/// No counterexample at all; and what should come about, does. `smallest`: states that there are at
/// least; fewer would mean that something cannot happen any more.
pub fn holds_whole<M: Deployment>(model: M, smallest: usize) {
    let checker = explore(model, None);
    assert_eq!(print_violations(&checker), 0);
    checker.assert_properties();
    assert!(checker.unique_state_count() >= smallest, "the space is smaller than it was");
}

/// The steps to go in a space that is too large.
pub fn large() -> Option<usize> {
    let millions: usize = std::env::var(LARGE).ok()?.parse().expect("a number of millions of steps");
    Some(millions * 1_000_000)
}

/// No counterexample in so many steps of a space that is too large.
pub fn holds_so_far<M: Deployment>(model: M, steps: usize) {
    let checker = explore(model, Some(steps));
    assert_eq!(print_violations(&checker), 0);
}

/// There is a counterexample.
pub fn finds<M: Deployment>(model: M) {
    let checker = explore(model, None);
    assert!(print_violations(&checker) > 0, "it was not found");
}

/// Prints every counterexample, step by step; how many there are.
fn print_violations<M: Deployment>(checker: &impl Checker<M>) -> usize {
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
