//! The possible steps, and their results. Every decision is the shipped code's: which block follows
//! a head, what a cell may adopt, what the store allows.

use ledger::{Append, Guard, moving};

use super::mover::Stepped;
use super::space::{BlockId, Written};
use super::state::{Action, Instance, Phase, State};
use super::world::{CELLS, Request, cell};
use super::{Mistake, Move};

/// What an instance knows that has just started.
const NOTHING: Instance = Instance { head: None, done: 0, write: None };

/// Whether a mover in this phase writes to its target without a guard: it saw no tombstone there.
fn copies_freely(phase: &Phase) -> bool {
    match phase {
        Phase::Idle | Phase::Cutting { .. } | Phase::Bringing { .. } => false,
        Phase::SawTarget(copied) => copied.tombstone.is_none(),
        Phase::Saw(seen) | Phase::Copying { seen, .. } => seen.copy.tombstone.is_none(),
    }
}

impl Move {
    pub fn newest(&self, state: &State, at: usize) -> Option<BlockId> {
        self.space.newest(state.tables[at])
    }

    pub fn serves(&self, state: &State, at: usize) -> bool {
        self.newest(state, at).is_some_and(|block| self.space.block(block).home == cell(at))
    }

    pub fn write(&self, state: &mut State, at: usize, append: Append) -> Written {
        let append = self.space.keep_append(append);
        let written = self.space.write(state.tables[at], append, self.mistake.in_stores());
        if let Written::Yes(after) = written {
            state.tables[at] = after;
        }
        written
    }

    /// Whether the chain may still grow: what keeps the model finite.
    fn may_grow(&self, state: &State) -> bool {
        let numbers = (0..CELLS).filter_map(|at| self.newest(state, at)).map(|block| self.space.block(block).number);
        numbers.max().unwrap_or(0) < self.size.last_block
    }

    /// An instance reads the head. If the wallet has left, the caller goes on with the block that
    /// says so.
    fn load(&self, state: &State, instance: usize) -> State {
        let mut next = *state;
        let at = self.size.homes[instance];
        let head = self.newest(state, at);
        next.instances[instance].head = head.filter(|_| self.serves(state, at));
        let seen = self.serves(state, at) && self.mistake != Mistake::ForgetsWhatWasDone;
        next.instances[instance].done = if seen { self.done_in(state.tables[at]) } else { 0 };
        if let Some(left) = head.filter(|_| !self.serves(state, at)) {
            next.carried = Some(left);
        }
        next
    }

    fn serve(&self, state: &State, instance: usize, request: Request) -> Option<State> {
        let mut next = *state;
        let head = state.instances[instance].head?;
        let done = state.instances[instance].done;
        if done & request.bit() != 0 {
            next.acknowledged |= request.bit();
            return Some(next);
        }
        if !self.may_grow(state) || !request.is_due(done) {
            return None;
        }
        let block = request.after(&self.space.block(head))?;
        let append = self.space.keep_append(Append::next(block));
        next.instances[instance].write = Some((request, append));
        Some(next)
    }

    fn finish_write(&self, state: &State, instance: usize) -> Option<State> {
        let mut next = *state;
        let (request, append) = state.instances[instance].write?;
        let append = self.space.append(append);
        let written = self.write(&mut next, self.size.homes[instance], Append::clone(&append));
        next.instances[instance] = match written {
            Written::Yes(_) => {
                next.acknowledged |= request.bit();
                let head = append.blocks.last().map(|block| self.space.keep_block(block.clone()));
                Instance { head, done: state.instances[instance].done | request.bit(), write: None }
            }
            Written::No => NOTHING,
        };
        Some(next)
    }

    /// Everything that may happen in `state`.
    pub fn possible(&self, state: &State, actions: &mut Vec<Action>) {
        for (mover, phase) in state.movers.iter().enumerate() {
            actions.push(Action::MoverSteps(mover));
            if matches!(phase, Phase::Copying { .. }) {
                actions.push(Action::MoverWritesLast(mover));
            }
            if *phase != Phase::Idle {
                actions.push(Action::MoverDies(mover));
                if state.zombie.is_none() {
                    actions.push(Action::MoverDiesWriting(mover));
                }
            }
        }
        for number in 0..self.size.homes.len() {
            let instance = state.instances[number];
            if instance.write.is_some() {
                actions.push(Action::InstanceWrites(number));
                if state.zombie.is_none() {
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
        if state.zombie.is_some() {
            actions.extend([Action::ZombieLands, Action::ZombieIsLost]);
        }
        if state.carried.is_some() {
            actions.extend([Action::RequestArrives, Action::RequestIsLost]);
        }
        if state.adopting.is_some() {
            actions.extend([Action::CellAdopts, Action::AdoptionIsLost]);
        }
        match state.forgetting {
            Some(_) => actions.extend([Action::ForgettingGoesOn, Action::ForgettingStops]),
            None if state.forgets_left > 0 => actions.extend((0..CELLS).map(Action::ForgettingBegins)),
            None => {}
        }
    }

    /// The state after an action; `None` where it changes nothing, or cannot be.
    pub fn after(&self, state: &State, action: Action) -> Option<State> {
        let mut next = *state;
        match action {
            Action::MoverSteps(mover) => match self.step_mover(state, mover) {
                Stepped::To(stepped) => {
                    let cuts = matches!(stepped.movers[mover], Phase::Cutting { .. });
                    if cuts && !self.may_grow(state) {
                        return None;
                    }
                    next = *stepped;
                }
                Stepped::Ended => next.movers[mover] = Phase::Idle,
                Stepped::Diverged => next.alarm = true,
            },
            Action::MoverWritesLast(mover) => next = self.write_last(state, mover)?,
            Action::MoverDies(mover) => next.movers[mover] = Phase::Idle,
            Action::MoverDiesWriting(mover) => {
                let (at, append) = self.write_of(state, mover)?;
                next.zombie = Some((u8::try_from(at).expect("few cells"), self.space.keep_append(append)));
                next.movers[mover] = Phase::Idle;
            }
            Action::InstanceLoads(instance) => next = self.load(state, instance),
            Action::InstanceServes(instance, request) => next = self.serve(state, instance, request)?,
            Action::InstanceWrites(instance) => next = self.finish_write(state, instance)?,
            Action::InstanceGivesUp(instance) => {
                let (_, append) = state.instances[instance].write?;
                next.zombie = Some((u8::try_from(self.size.homes[instance]).expect("few cells"), append));
                next.instances[instance] = NOTHING;
            }
            Action::InstanceForgets(instance) => next.instances[instance] = NOTHING,
            Action::ZombieLands => {
                let (at, append) = state.zombie?;
                self.write(&mut next, usize::from(at), Append::clone(&self.space.append(append)));
                next.zombie = None;
            }
            Action::ZombieIsLost => next.zombie = None,
            Action::RequestArrives => next = self.arrive(state)?,
            Action::RequestIsLost => next.carried = None,
            Action::CellAdopts => {
                let (at, append) = state.adopting?;
                self.write(&mut next, usize::from(at), Append::clone(&self.space.append(append)));
                next.adopting = None;
            }
            Action::AdoptionIsLost => next.adopting = None,
            Action::ForgettingBegins(at) => next = self.begin_forgetting(state, at)?,
            Action::ForgettingGoesOn => {
                let (at, tombstone) = state.forgetting?;
                let (after, ended) = self.space.forget(state.tables[usize::from(at)], tombstone);
                next.tables[usize::from(at)] = after;
                next.forgetting = state.forgetting.filter(|_| !ended);
            }
            Action::ForgettingStops => next.forgetting = None,
        }
        (next != *state).then_some(next)
    }

    fn arrive(&self, state: &State) -> Option<State> {
        let mut next = *state;
        let moved = self.space.block(state.carried?);
        next.carried = None;
        let at = (0..CELLS).find(|at| cell(*at) == moved.home).expect("no other cell was ever named");
        let head = self.space.head_of(self.newest(state, at));
        if state.adopting.is_none() && head.is_some_and(|head| moving::adopts(&cell(at), &head, &moved)) {
            let guard = (self.mistake != Mistake::AdoptUnguarded).then_some(Guard::Unbroken);
            let append = Append::of(vec![moved.as_ref().clone()], guard);
            next.adopting = Some((u8::try_from(at).expect("few cells"), self.space.keep_append(append)));
        }
        Some(next)
    }

    /// Only what the wallet has left, and after a wait that every instance's old head and write is too old to survive.
    /// Movers may have been stopped anywhere, and what they sent may be on its way.
    fn begin_forgetting(&self, state: &State, at: usize) -> Option<State> {
        let tombstone = self.space.block(self.newest(state, at)?);
        let on_its_way = state.zombie.map(|(_, append)| self.space.append(append));
        let is_new = |append: &Append| {
            let block = &append.blocks[0];
            block.number > 0 && (append.guard.is_none() || moving::is_tombstone(&cell(at), block))
        };
        let unfenced = self.mistake == Mistake::MoversUnguarded;
        // A mover that looked at this cell decides on what it saw, as an instance does.
        let leaves = |mover: usize, phase: &Phase| {
            let is_source = self.plans[mover].0 == at && !matches!(phase, Phase::Idle | Phase::SawTarget(_));
            is_source || (self.plans[mover].1 == at && copies_freely(phase))
        };
        let quiet = unfenced
            || (on_its_way.is_none_or(|append| !is_new(&append))
                && !state.movers.iter().enumerate().any(|(mover, phase)| leaves(mover, phase)));
        let here = (0..self.size.homes.len()).filter(|instance| self.size.homes[*instance] == at);
        let fenced = here.clone().all(|instance| state.instances[instance].head.is_none());
        let idle = here.clone().all(|instance| state.instances[instance].write.is_none());
        let whole_elsewhere = (0..CELLS).any(|other| other != at && self.serves(state, other));
        let may = quiet && idle && whole_elsewhere && (fenced || self.mistake == Mistake::NoFence);
        if !may || !moving::is_tombstone(&cell(at), &tombstone) {
            return None;
        }
        let forgetting = Some((u8::try_from(at).expect("few cells"), tombstone.number));
        Some(State { forgetting, forgets_left: state.forgets_left - 1, ..*state })
    }
}
