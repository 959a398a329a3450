//! The possible steps, and their results. A courier and a receiver do what `cell::courier` and
//! `cell::receiving` do, each by what its sequencer remembers of one wallet: a credit is taken if
//! no block bears its mark, a transfer ends if it is open.

use ledger::Append;
use ledger::marks::{Mark, marks_in};
use ledger::open::OpenTransfers;

use super::Transfer;
use super::state::{Action, Courier, Receiver, State};
use super::work::{Customer, TRANSFER, Word, Work, word_of};
use crate::model::Mistake;
use crate::model::space::{AppendId, BlockId, Written};
use crate::model::wallet::{Held, Remembered, Wallet, next_block};

const NO_COURIER: Courier = Courier { head: None, word: None, write: None };
const NO_RECEIVER: Receiver = Receiver { head: None, write: None };

/// The sender of this write does not wait for it any more.
fn leave(wallet: &mut Held, at: usize, write: AppendId) {
    wallet.late = Some((u8::try_from(at).expect("few cells"), write));
}

impl Transfer {
    /// Whether the transfer is open after this block of the payer.
    pub fn is_open(&self, head: BlockId) -> bool {
        self.open.get_or(head, || {
            let mut open = OpenTransfers::default();
            self.payer.space.chain(head).iter().for_each(|block| open.take(block));
            open.get(TRANSFER).is_some()
        })
    }

    /// What the payee's chain up to this block says of the transfer: by its mark, as a sequencer
    /// finds it.
    pub fn word(&self, head: BlockId) -> Option<Word> {
        self.words.get_or(head, || {
            let chain = self.payee.space.chain(head);
            let mark = Mark::of_credit(TRANSFER);
            let found = marks_in(&chain).find(|(found, _)| *found == mark).map(|(_, number)| number);
            found.and_then(|number| word_of(chain.get(usize::try_from(number).ok()?..)?))
        })
    }

    /// The write that does this after `head`, if it is allowed there.
    pub fn write_after(&self, wallet: &Wallet, head: BlockId, work: Work) -> Option<AppendId> {
        self.writes.get_or((wallet.id, head, work), || {
            let block = next_block(&wallet.space.chain(head), &[work.command()])?;
            Some(wallet.space.keep_append(Append::next(block)))
        })
    }

    /// The head that a cell decides on.
    fn load(&self, wallet: &Wallet, held: &Held, at: usize) -> Option<BlockId> {
        match self.mistake {
            Mistake::HomeIgnored if wallet.id == self.payee.id => wallet.newest(held, at),
            _ => wallet.served(held, at),
        }
    }

    /// What the receiver answers to the credit.
    fn answer(&self, state: &State, number: usize) -> Option<Word> {
        let receiver = state.receivers[number];
        let head = receiver.head?;
        if self.mistake == Mistake::RefusalUnrecorded && self.refuses(head) {
            return Some(Word::Refused);
        }
        if self.mistake == Mistake::AnsweredFirst && receiver.write.is_some() {
            let write = self.payee.space.append(receiver.write?);
            return word_of(&write.blocks);
        }
        // It reads the block that bears the mark: a purge may have deleted it.
        let word = self.word(head)?;
        let tables = self.payee.space.tables(state.payee.tables[self.size.receivers[number]]);
        tables.chain(self.payee.id).any(|block| word_of(std::slice::from_ref(block)).is_some()).then_some(word)
    }

    fn refuses(&self, head: BlockId) -> bool {
        let write = self.write_after(&self.payee, head, Work::Receive);
        self.word(head).is_none()
            && write.is_some_and(|write| word_of(&self.payee.space.append(write).blocks) == Some(Word::Refused))
    }

    fn hear(&self, state: &State, number: usize, receiver: usize) -> Option<State> {
        let mut next = *state;
        let courier = &mut next.couriers[number];
        courier.head?;
        let word = self.answer(state, receiver)?;
        courier.word = Some(word);
        next.answered[word as usize] = true;
        Some(next)
    }

    fn record(&self, state: &State, number: usize) -> Option<State> {
        let mut next = *state;
        let courier = &mut next.couriers[number];
        let (head, word) = (courier.head?, courier.word?);
        courier.write = self.write_after(&self.payer, head, Work::End { courier: number, word });
        (courier.write.is_some() && self.payer.may_grow(&state.payer)).then_some(next)
    }

    fn load_courier(&self, state: &State, number: usize) -> Option<State> {
        let mut next = *state;
        let head = self.load(&self.payer, &state.payer, self.size.couriers[number]);
        let courier = &mut next.couriers[number];
        let ends_twice = self.mistake == Mistake::SettledTwice && courier.word.is_some();
        courier.head = head.filter(|head| self.is_open(*head) || ends_twice);
        if courier.head.is_none() {
            // It is over here: another courier has recorded the end, or the wallet has left.
            *courier = NO_COURIER;
        }
        Some(next)
    }

    fn write_courier(&self, state: &State, number: usize) -> Option<State> {
        let mut next = *state;
        let courier = state.couriers[number];
        let written = self.payer.write(&mut next.payer, self.size.couriers[number], courier.write?);
        next.couriers[number] = match written {
            Written::Yes(_) => NO_COURIER,
            Written::No => Courier { word: courier.word, ..NO_COURIER },
        };
        Some(next)
    }

    fn receive(&self, state: &State, number: usize, work: Work) -> Option<State> {
        let mut next = *state;
        let head = state.receivers[number].head?;
        let is_known = work == Work::Receive && self.word(head).is_some();
        if is_known && self.mistake != Mistake::ForgetsWhatWasDone {
            return None;
        }
        if self.mistake == Mistake::RefusalUnrecorded && work == Work::Receive && self.refuses(head) {
            return None;
        }
        next.receivers[number].write = self.write_after(&self.payee, head, work);
        (next.receivers[number].write.is_some() && self.payee.may_grow(&state.payee)).then_some(next)
    }

    fn write_receiver(&self, state: &State, number: usize) -> Option<State> {
        let mut next = *state;
        let at = self.size.receivers[number];
        next.receivers[number] = match self.payee.write(&mut next.payee, at, state.receivers[number].write?) {
            Written::Yes(_) => Receiver { head: self.payee.newest(&next.payee, at), write: None },
            Written::No => NO_RECEIVER,
        };
        Some(next)
    }

    /// Everything that may happen in `state`.
    pub fn possible(&self, state: &State, actions: &mut Vec<Action>) {
        self.payer.possible(&state.payer, |step| actions.push(Action::Payer(step)));
        self.payee.possible(&state.payee, |step| actions.push(Action::Payee(step)));
        for number in 0..self.size.couriers.len() {
            self.possible_of_courier(state, number, actions);
        }
        for number in 0..self.size.receivers.len() {
            self.possible_of_receiver(state, number, actions);
        }
    }

    fn possible_of_courier(&self, state: &State, number: usize, actions: &mut Vec<Action>) {
        let courier = state.couriers[number];
        if courier != NO_COURIER {
            actions.push(Action::CourierDies(number));
        }
        if courier.write.is_some() {
            actions.push(Action::CourierWrites(number));
            if state.payer.late.is_none() {
                actions.push(Action::CourierGivesUp(number));
            }
            return;
        }
        match (courier.head, courier.word) {
            (None, _) => actions.push(Action::CourierLoads(number)),
            (Some(_), Some(_)) => actions.push(Action::CourierRecords(number)),
            (Some(_), None) => {
                actions.extend((0..self.size.receivers.len()).map(|receiver| Action::CourierHears(number, receiver)));
            }
        }
    }

    fn possible_of_receiver(&self, state: &State, number: usize, actions: &mut Vec<Action>) {
        let receiver = state.receivers[number];
        match (receiver.write, receiver.head) {
            (Some(_), _) => {
                actions.push(Action::ReceiverWrites(number));
                if state.payee.late.is_none() {
                    actions.push(Action::ReceiverGivesUp(number));
                }
            }
            (None, None) => actions.push(Action::ReceiverLoads(number)),
            (None, Some(_)) => {
                actions.extend([Action::ReceiverForgets(number), Action::CreditArrives(number)]);
                let customers = [Customer::Freezes, Customer::Unfreezes];
                let open = customers.into_iter().filter(|customer| state.customers & customer.bit() != 0);
                actions.extend(open.map(|customer| Action::CustomerAsks(number, customer)));
            }
        }
    }

    /// The state after an action; `None` where it changes nothing, or cannot be.
    pub fn after(&self, state: &State, action: Action) -> Option<State> {
        let mut next = *state;
        match action {
            Action::Payer(step) => {
                next.payer = self.payer.after(&state.payer, step, |at| self.remembered_of_payer(state, at))?;
            }
            Action::Payee(step) => {
                next.payee = self.payee.after(&state.payee, step, |at| self.remembered_of_payee(state, at))?;
            }
            Action::CourierLoads(number) => next = self.load_courier(state, number)?,
            Action::CourierHears(number, receiver) => next = self.hear(state, number, receiver)?,
            Action::CourierRecords(number) => next = self.record(state, number)?,
            Action::CourierWrites(number) => next = self.write_courier(state, number)?,
            Action::CourierGivesUp(number) => {
                let courier = state.couriers[number];
                leave(&mut next.payer, self.size.couriers[number], courier.write?);
                next.couriers[number] = Courier { word: courier.word, ..NO_COURIER };
            }
            Action::CourierDies(number) => next.couriers[number] = NO_COURIER,
            Action::ReceiverLoads(number) => {
                next.receivers[number].head = self.load(&self.payee, &state.payee, self.size.receivers[number]);
            }
            Action::CreditArrives(number) => next = self.receive(state, number, Work::Receive)?,
            Action::CustomerAsks(number, customer) => {
                next = self.receive(state, number, Work::Customer(customer))?;
                next.customers &= !customer.bit();
            }
            Action::ReceiverWrites(number) => next = self.write_receiver(state, number)?,
            Action::ReceiverGivesUp(number) => {
                leave(&mut next.payee, self.size.receivers[number], state.receivers[number].write?);
                next.receivers[number] = NO_RECEIVER;
            }
            Action::ReceiverForgets(number) => next.receivers[number] = NO_RECEIVER,
        }
        (next != *state).then_some(next)
    }

    fn remembered_of_payer(&self, state: &State, at: usize) -> Remembered {
        let here = || self.size.couriers.iter().zip(state.couriers).filter(|(home, _)| **home == at);
        Remembered {
            heads: here().any(|(_, courier)| courier.head.is_some()),
            writes: here().any(|(_, courier)| courier.write.is_some()),
        }
    }

    fn remembered_of_payee(&self, state: &State, at: usize) -> Remembered {
        let here = || self.size.receivers.iter().zip(state.receivers).filter(|(home, _)| **home == at);
        Remembered {
            heads: here().any(|(_, receiver)| receiver.head.is_some()),
            writes: here().any(|(_, receiver)| receiver.write.is_some()),
        }
    }
}
