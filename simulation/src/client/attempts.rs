//! One attempt at a hold, a reversal, a batch, or payments.

use cell::failure::Failure;
use cell::wallets::{Answer, Context, Operation as Order, PaymentOrder, Transfer};
use ledger::block::Key;
use ledger::{Intent, Money, Note, TransactionId};
use reconciliation::Reported;
use topology::WalletId;

use super::{Batch, Client, Outcome, What, after_refusal, outcome_of};

/// Longest time that a hold lasts here, so that many are over before a client ends them.
const MAX_HOLD_MICROS: i64 = 20_000_000;

fn no_answer() -> Outcome {
    Outcome::Again { unknown: true, why: "no answer".into() }
}

/// The key of the payment at `place` of a request with this key.
fn part_of(key: Key, place: usize) -> Key {
    let mut part = key;
    part.key[0] = 0x80 | u8::try_from(place).expect("two payments");
    part.request = part.key;
    part
}

impl Client {
    pub(super) async fn attempt_hold(
        &mut self,
        wallet: WalletId,
        what: What,
        choice: usize,
        context: Context,
    ) -> Outcome {
        let lifetime = self.random.i64(1..MAX_HOLD_MICROS);
        let answer = self.world.route(&self.view, wallet, choice, |service| {
            let context = context.clone();
            async move {
                match what {
                    What::Hold(amount) => service.place_hold(wallet, amount, lifetime, context).await,
                    What::Capture(hold, amount) => service.capture_hold(wallet, hold, amount, context).await,
                    What::Void(hold) => service.void_hold(wallet, hold, context).await,
                    other => panic!("{other:?} is about no hold"),
                }
            }
        });
        match answer.await {
            Ok(Ok(Answer { value, .. })) => {
                self.log.acknowledge(wallet, value.at);
                match what {
                    What::Hold(_) => self.holds.push((wallet, value.hold)),
                    What::Capture(..) => self.transactions.push((wallet, value.transaction)),
                    _ => {}
                }
                Outcome::Reported(Reported::Done(None))
            }
            Ok(Err(failure)) => outcome_of(&failure),
            Err(_) => no_answer(),
        }
    }

    pub(super) async fn attempt_reversal(
        &mut self,
        wallet: WalletId,
        of: TransactionId,
        choice: usize,
        context: Context,
    ) -> Outcome {
        let answer = self.world.route(&self.view, wallet, choice, |service| {
            let context = context.clone();
            async move { service.reverse(wallet, of, context).await }
        });
        match answer.await {
            Ok(Ok(Answer { value, .. })) => {
                self.log.acknowledge(wallet, value.at);
                Outcome::Reported(Reported::Done(None))
            }
            Ok(Err(Failure::Returned { .. })) => Outcome::Reported(Reported::Returned),
            Ok(Err(failure)) => outcome_of(&failure),
            Err(_) => no_answer(),
        }
    }

    pub(super) async fn attempt_batch(
        &mut self,
        wallet: WalletId,
        batch: Batch,
        choice: usize,
        context: Context,
    ) -> Outcome {
        let order = |minor: i64| {
            let amount = Money::from_minor(minor.unsigned_abs().max(1));
            let intent = if minor > 0 { Intent::Deposit { amount } } else { Intent::Withdraw { amount } };
            Order { intent, key: None, note: Note::default() }
        };
        let answer = self.world.route(&self.view, wallet, choice, |service| {
            let (context, orders) = (context.clone(), batch.minor.map(order).to_vec());
            async move { service.batch(wallet, batch.is_atomic, orders, context).await }
        });
        match answer.await {
            Ok(Ok(Answer { value, .. })) => {
                self.log.acknowledge(wallet, value.at);
                let done = value.items.iter().filter_map(|item| item.done);
                self.transactions.extend(done.map(|(transaction, _)| (wallet, transaction)));
                Outcome::Reported(Reported::Done(None))
            }
            Ok(Err(failure)) => outcome_of(&failure),
            Err(_) => no_answer(),
        }
    }

    /// Final once every payment is; until then the whole is repeated.
    pub(super) async fn attempt_payments(
        &mut self,
        from: WalletId,
        payments: [(WalletId, Money); 2],
        choice: usize,
        context: Context,
        unanswered: bool,
    ) -> Outcome {
        let whole = context.key.expect("clients send keys");
        let orders: Vec<_> = (0..)
            .zip(payments)
            .map(|(place, (to, amount))| PaymentOrder {
                to,
                amount,
                key: Some(part_of(whole, place)),
                note: Note::default(),
            })
            .collect();
        let answer = self.world.route(&self.view, from, choice, |service| {
            let (context, orders) = (context.clone(), orders.clone());
            async move { service.pay_many(from, orders, context).await }
        });
        let results = match answer.await {
            Ok(Ok(Answer { value, .. })) => value.results,
            Ok(Err(failure)) => return outcome_of(&failure),
            Err(_) => return no_answer(),
        };
        let outcomes: Vec<_> = results.iter().map(outcome_of_payment).collect();
        let open = |outcome: &Outcome| match outcome {
            Outcome::Again { unknown, why } => Some((*unknown, why.clone())),
            _ => None,
        };
        let again = outcomes.iter().filter_map(open).reduce(|one, other| (one.0 | other.0, one.1));
        if let Some((unknown, why)) = again {
            return Outcome::Again { unknown, why };
        }
        for (place, (outcome, (to, amount))) in outcomes.into_iter().zip(payments).enumerate() {
            let reported = match outcome {
                Outcome::Refused { why, is_final } => after_refusal(why, is_final, unanswered),
                Outcome::Reported(reported) => reported,
                Outcome::Noted | Outcome::Again { .. } => continue,
            };
            self.note(from, What::Transfer(to, amount), part_of(whole, place), reported);
        }
        Outcome::Noted
    }
}

fn outcome_of_payment(result: &Result<Answer<Transfer>, Failure>) -> Outcome {
    match result {
        Ok(_) => Outcome::Reported(Reported::Done(None)),
        Err(Failure::Returned { .. }) => Outcome::Reported(Reported::Returned),
        Err(failure) => outcome_of(failure),
    }
}
