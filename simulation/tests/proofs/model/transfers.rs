//! Every way that a transfer can go while both its wallets move between the cells: couriers of
//! several instances carry it on at once, credits arrive in any copy and at any time, the payee's
//! customer freezes the wallet in between, instances remember old heads, writes land late or never,
//! what was left behind is purged.

mod state;
mod steps;
mod work;

use ledger::{Block, chain};
use reconciliation::{Sums, Transfers};
use stateright::{Model, Property};
use store::verify::Replayed;
use topology::WalletId;

use super::Mistake;
use super::explore::{Deployment, finds, holds, holds_so_far, holds_whole, large};
use super::space::{AppendId, BlockId, Known};
use super::wallet::{Facts, OPPOSITE, Wallet};
use state::{Action, COURIERS, Courier, RECEIVERS, Receiver, State};
use work::{Customer, PAYEE, PAYER, Word, Work};

/// A wallet, and how much happens to it.
#[derive(Debug, Clone, Default)]
struct Side {
    home: usize,
    plans: Vec<(usize, usize)>,
    /// Number of the last block that its chain may come to.
    last_block: u64,
    purges: u8,
}

/// How much there is to explore.
#[derive(Debug, Clone)]
struct Size {
    /// The cell of each courier, at most [`COURIERS`].
    couriers: Vec<usize>,
    /// The cell of each receiver, at most [`RECEIVERS`].
    receivers: Vec<usize>,
    payer: Side,
    payee: Side,
    /// The payee is from the start, and refuses.
    is_frozen: bool,
    customers: Vec<Customer>,
}

/// What two chains say together.
#[derive(Debug, Clone, Copy)]
struct Verdict {
    /// Each follows the rules of chains, and does nothing twice.
    are_chains: bool,
    /// The two of them tell the same of the transfer.
    agree: bool,
    /// No money was made or lost.
    is_conserved: bool,
    /// From here on the transfer comes to its end.
    can_end: bool,
}

struct Transfer {
    size: Size,
    mistake: Mistake,
    payer: Wallet,
    payee: Wallet,
    open: Known<BlockId, bool>,
    words: Known<BlockId, Option<Word>>,
    writes: Known<(WalletId, BlockId, Work), Option<AppendId>>,
    verdicts: Known<(BlockId, BlockId), Verdict>,
}

impl Transfer {
    fn new(size: Size) -> Self {
        Self::with(size, Mistake::None)
    }

    fn with(size: Size, mistake: Mistake) -> Self {
        assert!(size.couriers.len() <= COURIERS && size.receivers.len() <= RECEIVERS);
        let wallet = |number, side: &Side| Wallet::new(number, &side.plans, side.last_block, mistake);
        let (payer, payee) = (wallet(PAYER, &size.payer), wallet(PAYEE, &size.payee));
        let (open, words) = (Known::new(), Known::new());
        Self { size, mistake, payer, payee, open, words, writes: Known::new(), verdicts: Known::new() }
    }

    fn first_state(&self) -> State {
        let payer = self.payer.first(self.size.payer.home, self.size.payer.purges, &work::before());
        let frozen = self.size.is_frozen.then(|| vec![Work::Customer(Customer::Freezes).command()]);
        let payee = self.payee.first(self.size.payee.home, self.size.payee.purges, frozen.as_slice());
        State {
            payer,
            payee,
            couriers: [Courier { head: None, word: None, write: None }; COURIERS],
            receivers: [Receiver { head: None, write: None }; RECEIVERS],
            answered: [false; 2],
            customers: self.size.customers.iter().fold(0, |bits, customer| bits | customer.bit()),
        }
    }

    /// Of the payer and the payee.
    fn facts(&self, state: &State) -> [Facts; 2] {
        [self.payer.facts(state.payer.tables), self.payee.facts(state.payee.tables)]
    }

    fn both(&self, state: &State, holds: impl Fn(Facts) -> bool) -> bool {
        self.facts(state).into_iter().all(holds)
    }

    fn verdict(&self, state: &State) -> Verdict {
        let [payer, payee] = self.facts(state).map(|facts| facts.last);
        self.verdicts.get_or((payer, payee), || {
            let chains = [(&self.payer, payer), (&self.payee, payee)].map(|(wallet, last)| wallet.space.chain(last));
            let (mut transfers, mut sums) = (Transfers::default(), Sums::default());
            for block in chains.iter().flat_map(|chain| chain.iter()) {
                for entry in &block.entries {
                    transfers.take(block.wallet, entry);
                    sums.take(entry);
                }
            }
            sums.balances = chains.iter().filter_map(|chain| chain.last()).map(|b| b.state.balance.minor()).sum();
            sums.in_flight = transfers.in_flight().into();
            Verdict {
                are_chains: chains.iter().all(|chain| is_chain(chain)),
                agree: transfers.faults().next().is_none(),
                is_conserved: sums.difference() == 0,
                can_end: self.can_end(payer, payee),
            }
        })
    }

    /// Whether one courier and one receiver, which know these heads, bring the transfer to its end.
    fn can_end(&self, payer: BlockId, payee: BlockId) -> bool {
        if !self.is_open(payer) {
            return true;
        }
        let received = || {
            let write = self.write_after(&self.payee, payee, Work::Receive)?;
            work::word_of(&self.payee.space.append(write).blocks)
        };
        let word = self.word(payee).or_else(received);
        word.is_some_and(|word| self.write_after(&self.payer, payer, Work::End { courier: 0, word }).is_some())
    }
}

fn is_chain(blocks: &[Block]) -> bool {
    let (mut before, mut replayed) = (None, Replayed::default());
    blocks.iter().all(|block| {
        let follows = chain::verify(before.as_ref(), block).is_ok() && replayed.take(block).is_empty();
        before = Some(block.head());
        follows
    })
}

impl Deployment for Transfer {
    fn size(&self) -> String {
        format!("{:?}", self.size)
    }

    fn describe(&self, state: &State) -> String {
        let [payer, payee] = self.facts(state).map(|facts| facts.last);
        let does = |wallet: &Wallet, last| {
            let chain = wallet.space.chain(last);
            let names: Vec<_> = chain.iter().flat_map(|block| &block.entries).map(|entry| entry.kind.name()).collect();
            names.join(" ")
        };
        let wallets = [(&self.payer, &state.payer, payer), (&self.payee, &state.payee, payee)];
        let both = wallets.map(|(wallet, held, last)| format!("{} ({})", wallet.describe(held), does(wallet, last)));
        both.join("; ")
    }
}

impl Model for Transfer {
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
                model.both(state, |facts| facts.at_most_one_home)
            }),
            Property::always("no number has two blocks", |model: &Self, state: &State| {
                model.both(state, |facts| facts.blocks_agree)
            }),
            Property::always("a cell that serves has all of it", |model: &Self, state: &State| {
                model.both(state, |facts| facts.home_has_all)
            }),
            Property::always("every move can be finished", |model: &Self, state: &State| {
                model.both(state, |facts| facts.finished.is_some())
            }),
            Property::always("no mover raises a false alarm", |model: &Self, state: &State| {
                !(state.payer.alarm || state.payee.alarm) || !model.both(state, |facts| facts.blocks_agree)
            }),
            Property::always("each chain does nothing twice", |model: &Self, state: &State| {
                model.verdict(state).are_chains
            }),
            Property::always("both chains tell the same", |model: &Self, state: &State| model.verdict(state).agree),
            Property::always("no money is made or lost", |model: &Self, state: &State| {
                model.verdict(state).is_conserved
            }),
            Property::always("every transfer can be ended", |model: &Self, state: &State| model.verdict(state).can_end),
            Property::always("what was answered is recorded", |model: &Self, state: &State| {
                let recorded = model.word(model.facts(state)[1].last);
                [Word::Received, Word::Refused]
                    .into_iter()
                    .all(|word| !state.answered[word as usize] || recorded == Some(word))
            }),
            Property::sometimes("the transfer is settled", |model: &Self, state: &State| {
                let is_settled = !model.is_open(model.facts(state)[0].last) && state.answered[Word::Received as usize];
                is_settled || model.size.is_frozen
            }),
            Property::sometimes("the transfer comes back", |model: &Self, state: &State| {
                let comes_back = !model.is_open(model.facts(state)[0].last) && state.answered[Word::Refused as usize];
                comes_back || (model.size.customers.is_empty() && !model.size.is_frozen)
            }),
            Property::sometimes("it is settled where it did not begin", |model: &Self, state: &State| {
                let is_here = model.facts(state)[0].home == Some(model.size.payer.home);
                model.size.payer.plans.is_empty() || (!is_here && !model.is_open(model.facts(state)[0].last))
            }),
            Property::sometimes("it is received where it was not sent", |model: &Self, state: &State| {
                let is_here = model.facts(state)[1].home == Some(model.size.payee.home);
                model.size.payee.plans.is_empty() || (!is_here && model.word(model.facts(state)[1].last).is_some())
            }),
            Property::sometimes("what was left behind is purged", |model: &Self, state: &State| {
                let left = state.payer.purges_left + state.payee.purges_left;
                let is_purged = state.payer.purging.is_none() && state.payee.purging.is_none() && left == 0;
                is_purged || model.size.payer.purges + model.size.payee.purges == 0
            }),
        ]
    }
}

fn stays(home: usize, last_block: u64) -> Side {
    Side { home, last_block, ..Side::default() }
}

fn moves(home: usize, plans: &[(usize, usize)], last_block: u64) -> Side {
    Side { plans: plans.to_vec(), ..stays(home, last_block) }
}

/// Two couriers of one cell, two receivers of the other, and a customer that freezes the payee.
fn two_couriers() -> Size {
    Size {
        couriers: vec![0, 0],
        receivers: vec![1, 1],
        payer: stays(0, 3),
        payee: stays(1, 3),
        is_frozen: false,
        customers: vec![Customer::Freezes, Customer::Unfreezes],
    }
}

/// The payer moves there and back.
fn payer_moves(is_frozen: bool) -> Size {
    Size {
        couriers: vec![0, 1],
        receivers: vec![1],
        payer: moves(0, &OPPOSITE, 4),
        payee: stays(1, 2),
        is_frozen,
        customers: vec![],
    }
}

/// The payee moves from two receivers to a third one, and what it left behind is purged.
fn payee_moves() -> Size {
    Size {
        couriers: vec![0],
        receivers: vec![0, 0, 1],
        payer: stays(0, 2),
        payee: Side { purges: 1, ..moves(0, &[(0, 1)], 3) },
        is_frozen: false,
        customers: vec![Customer::Freezes],
    }
}

/// The payer moves one way, and the payee the other.
fn both_move(is_frozen: bool) -> Size {
    Size {
        couriers: vec![0, 1],
        receivers: vec![0, 1],
        payer: moves(0, &[(0, 1)], 3),
        payee: moves(1, &[(1, 0)], if is_frozen { 3 } else { 2 }),
        is_frozen,
        customers: vec![],
    }
}

/// Both move there and back, and what they left behind is purged.
fn everything() -> Size {
    Size {
        couriers: vec![0, 1],
        receivers: vec![0, 1],
        payer: Side { purges: 1, ..moves(0, &OPPOSITE, 4) },
        payee: Side { purges: 1, ..moves(1, &OPPOSITE, 5) },
        is_frozen: false,
        customers: vec![Customer::Freezes, Customer::Unfreezes],
    }
}

#[test]
fn two_couriers_end_a_transfer_once() {
    holds_whole(Transfer::new(two_couriers()), 100_000);
}

#[test]
fn a_transfer_is_settled_while_its_payer_moves() {
    holds(Transfer::new(payer_moves(false)), 500_000);
}

#[test]
fn a_transfer_comes_back_while_its_payer_moves() {
    holds(Transfer::new(payer_moves(true)), 900_000);
}

#[test]
fn a_transfer_ends_while_its_payee_moves_and_is_purged() {
    holds(Transfer::new(payee_moves()), 700_000);
}

#[test]
fn a_transfer_is_settled_while_both_wallets_move() {
    holds(Transfer::new(both_move(false)), 2_500_000);
}

#[test]
fn a_transfer_comes_back_while_both_wallets_move() {
    holds(Transfer::new(both_move(true)), 3_500_000);
}

#[test]
fn as_much_as_there_is_time_for_is_safe() {
    let Some(steps) = large() else { return };
    holds_so_far(Transfer::new(everything()), steps);
}

#[test]
fn an_append_without_its_condition_is_found() {
    finds(Transfer::with(two_couriers(), Mistake::NoCondition));
}

#[test]
fn a_credit_that_is_taken_twice_is_found() {
    finds(Transfer::with(two_couriers(), Mistake::ForgetsWhatWasDone));
}

#[test]
fn a_transfer_that_is_settled_twice_is_found() {
    finds(Transfer::with(two_couriers(), Mistake::SettledTwice));
}

#[test]
fn a_credit_that_is_answered_before_it_is_written_is_found() {
    finds(Transfer::with(two_couriers(), Mistake::AnsweredFirst));
}

#[test]
fn a_refusal_that_is_not_recorded_is_found() {
    finds(Transfer::with(two_couriers(), Mistake::RefusalUnrecorded));
}

#[test]
fn a_credit_of_a_wallet_that_has_moved_is_found() {
    finds(Transfer::with(both_move(false), Mistake::HomeIgnored));
}

#[test]
fn purging_what_a_receiver_remembers_is_found() {
    finds(Transfer::with(payee_moves(), Mistake::NoFence));
}
