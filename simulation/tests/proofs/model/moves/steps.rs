//! The possible steps, and their results. Every decision is the shipped code's: which block follows
//! a head, what a cell may adopt, what the store allows.

use ledger::{Append, Guard, moving};

use super::Move;
use super::requests::Request;
use super::state::{Action, INSTANCES, Instance, State};
use crate::model::space::{AppendId, BlockId, Written};
use crate::model::wallet::{Remembered, next_block};
use crate::model::{CELLS, Mistake, cell};

/// What an instance knows that has just started.
const NOTHING: Instance = Instance { head: None, write: None };

impl Move {
    pub fn first_state(&self) -> State {
        let first: Vec<_> = self.size.first.iter().map(|request| vec![(request.id(), request.intent())]).collect();
        let wallet = self.wallet.first(0, self.size.purges, &first);
        let remembers = |number: usize| self.size.homes.get(number) == Some(&0);
        let head = self.wallet.newest(&wallet, 0);
        State {
            wallet,
            instances: std::array::from_fn(|number| Instance { head: head.filter(|_| remembers(number)), write: None }),
            carried: None,
            adopting: None,
            acknowledged: self.size.first.iter().fold(0, |bits, request| bits | request.bit()),
        }
    }

    /// The write that carries it out after this head, if it is allowed there.
    fn write_after(&self, head: BlockId, request: Request) -> Option<AppendId> {
        self.writes.get_or((head, request), || {
            let block = next_block(&self.wallet.space.chain(head), &[(request.id(), request.intent())])?;
            Some(self.wallet.space.keep_append(Append::next(block)))
        })
    }

    /// An instance reads the head. If the wallet has left, the caller goes on with the block that
    /// says so.
    fn load(&self, state: &State, instance: usize) -> State {
        let mut next = *state;
        let at = self.size.homes[instance];
        next.instances[instance].head = self.wallet.served(&state.wallet, at);
        if next.instances[instance].head.is_none() {
            next.carried = self.wallet.newest(&state.wallet, at).or(state.carried);
        }
        next
    }

    fn serve(&self, state: &State, instance: usize, request: Request) -> Option<State> {
        let mut next = *state;
        let head = state.instances[instance].head?;
        let done = if self.wallet.mistake == Mistake::ForgetsWhatWasDone { 0 } else { self.done(head).requests };
        if done & request.bit() != 0 {
            next.acknowledged |= request.bit();
            return Some(next);
        }
        if !self.wallet.may_grow(&state.wallet) || !request.is_due(done) {
            return None;
        }
        next.instances[instance].write = Some((request, self.write_after(head, request)?));
        Some(next)
    }

    fn finish_write(&self, state: &State, instance: usize) -> Option<State> {
        let mut next = *state;
        let (request, append) = state.instances[instance].write?;
        next.instances[instance] = match self.wallet.write(&mut next.wallet, self.size.homes[instance], append) {
            Written::Yes(_) => {
                next.acknowledged |= request.bit();
                Instance { head: self.wallet.newest(&next.wallet, self.size.homes[instance]), write: None }
            }
            Written::No => NOTHING,
        };
        Some(next)
    }

    /// Everything that may happen in `state`.
    pub fn possible(&self, state: &State, actions: &mut Vec<Action>) {
        self.wallet.possible(&state.wallet, |step| actions.push(Action::Wallet(step)));
        for number in 0..self.size.homes.len() {
            let instance = state.instances[number];
            if instance.write.is_some() {
                actions.push(Action::InstanceWrites(number));
                if state.wallet.late.is_none() {
                    actions.push(Action::InstanceGivesUp(number));
                }
                continue;
            }
            actions.push(Action::InstanceLoads(number));
            if instance.head.is_some() {
                actions.push(Action::InstanceForgets(number));
                let open = self.size.requests.iter().filter(|request| state.acknowledged & request.bit() == 0);
                actions.extend(open.map(|request| Action::InstanceServes(number, *request)));
            }
        }
        if state.carried.is_some() {
            actions.extend([Action::RequestArrives, Action::RequestIsLost]);
        }
        if state.adopting.is_some() {
            actions.extend([Action::CellAdopts, Action::AdoptionIsLost]);
        }
    }

    /// The state after an action; `None` where it changes nothing, or cannot be.
    pub fn after(&self, state: &State, action: Action) -> Option<State> {
        let mut next = *state;
        match action {
            Action::Wallet(step) => {
                next.wallet = self.wallet.after(&state.wallet, step, |at| self.remembered(state, at))?;
            }
            Action::InstanceLoads(instance) => next = self.load(state, instance),
            Action::InstanceServes(instance, request) => next = self.serve(state, instance, request)?,
            Action::InstanceWrites(instance) => next = self.finish_write(state, instance)?,
            Action::InstanceGivesUp(instance) => {
                let (_, append) = state.instances[instance].write?;
                next.wallet.late = Some((u8::try_from(self.size.homes[instance]).expect("few cells"), append));
                next.instances[instance] = NOTHING;
            }
            Action::InstanceForgets(instance) => next.instances[instance] = NOTHING,
            Action::RequestArrives => next = self.arrive(state)?,
            Action::RequestIsLost => next.carried = None,
            Action::CellAdopts => {
                let (at, append) = state.adopting?;
                self.wallet.write(&mut next.wallet, usize::from(at), append);
                next.adopting = None;
            }
            Action::AdoptionIsLost => next.adopting = None,
        }
        (next != *state).then_some(next)
    }

    fn arrive(&self, state: &State) -> Option<State> {
        let mut next = *state;
        let moved = self.wallet.space.block(state.carried?);
        next.carried = None;
        let at = (0..CELLS).find(|at| cell(*at) == moved.home).expect("no other cell was ever named");
        let head = self.wallet.space.head_of(self.wallet.newest(&state.wallet, at));
        if state.adopting.is_none() && head.is_some_and(|head| moving::adopts(&cell(at), &head, &moved)) {
            let guard = (self.wallet.mistake != Mistake::AdoptUnguarded).then_some(Guard::Unbroken);
            let append = Append::of(vec![moved.as_ref().clone()], guard);
            next.adopting = Some((u8::try_from(at).expect("few cells"), self.wallet.space.keep_append(append)));
        }
        Some(next)
    }

    fn remembered(&self, state: &State, at: usize) -> Remembered {
        let here = |number: &usize| self.size.homes.get(*number) == Some(&at);
        let here: Vec<_> = (0..INSTANCES).filter(here).map(|number| state.instances[number]).collect();
        Remembered {
            heads: here.iter().any(|instance| instance.head.is_some()),
            writes: here.iter().any(|instance| instance.write.is_some()),
        }
    }
}
