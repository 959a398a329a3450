//! Transfers as one wallet sees them: what leaves is open until it is settled or returned, what arrives arrives once.

use ledger::marks::KEY_LIFETIME_MICROS;
use topology::wire::CreditRefusal;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn settle(transfer: TransactionId) -> Work {
    Work::Alone(Intent::Settle { transfer })
}

fn receive(amount: u64) -> Work {
    Work::Alone(Intent::Receive { from: wallet(1), amount: Money::from_minor(amount) })
}

impl Bench {
    fn go_on(&mut self) {
        self.pump();
        while !self.loads.is_empty() || !self.commits.is_empty() {
            self.load_all();
            if !self.commits.is_empty() {
                self.commit();
            }
        }
    }

    /// A transfer of 1 out of the first wallet; its id.
    fn sent(&mut self) -> TransactionId {
        let id = self.submit(0, pay(1, 1));
        self.go_on();
        assert!(self.done(id));
        Uuid::from_u128(self.next)
    }

    fn last(&self) -> &Block {
        self.chains[&wallet(0)].last().expect("block 0")
    }

    fn open(&self) -> (u32, u64) {
        (self.last().state.open_count, self.last().state.open_since)
    }
}

#[test]
fn the_head_says_how_many_transfers_are_open_and_since_when() {
    let mut bench = Bench::new(Limits::default(), &[10]);
    let sent: Vec<_> = (0..3).map(|_| bench.sent()).collect();
    assert_eq!(bench.open(), (3, 2));
    for (transfer, expected) in [(1, (2, 2)), (0, (1, 4)), (2, (0, 0))] {
        bench.submit(0, settle(sent[transfer]));
        bench.submit(0, deposit(1));
        bench.go_on();
        assert_eq!(bench.open(), expected);
    }
}

#[test]
fn a_settlement_goes_along_with_the_next_block() {
    let mut bench = Bench::new(Limits::default(), &[10]);
    let sent = bench.sent();
    let settled = bench.submit(0, settle(sent));
    bench.go_on();
    assert_eq!((bench.done(settled), bench.sequencer.next_due()), (false, Some(SECOND)), "it waits");
    let other = bench.submit(0, deposit(1));
    bench.go_on();
    assert!(bench.done(settled) && bench.done(other));
    assert_eq!(bench.last().entries.len(), 2);
}

#[test]
fn settlements_get_a_block_of_their_own_after_a_second() {
    let mut bench = Bench::new(Limits::default(), &[10]);
    let sent = [bench.sent(), bench.sent()];
    let first = bench.submit(0, settle(sent[0]));
    bench.go_on();
    bench.monotonic = SECOND / 2;
    let second = bench.submit(0, settle(sent[1]));
    bench.go_on();
    assert!(!bench.done(first) && !bench.done(second));
    bench.monotonic = SECOND;
    bench.go_on();
    assert!(bench.done(first) && bench.done(second), "all that wait go together");
    assert_eq!(bench.last().entries.len(), 2);
}

#[test]
fn as_many_settlements_as_a_block_holds_do_not_wait() {
    let mut bench = Bench::new(Limits { entries_per_block: 2, ..Limits::default() }, &[10]);
    let sent = [bench.sent(), bench.sent(), bench.sent()];
    let ids = sent.map(|sent| bench.submit(0, settle(sent)));
    bench.go_on();
    assert_eq!(ids.map(|id| bench.done(id)), [true, true, false]);
    bench.sequencer.end();
    bench.go_on();
    assert!(bench.done(ids[2]), "an instance that stops leaves none behind");
}

#[test]
fn a_transfer_ends_once() {
    let mut bench = Bench::new(Limits::default(), &[10]);
    let (sent, other) = (bench.sent(), bench.sent());
    let settled = [bench.submit(0, settle(sent)), bench.submit(0, settle(sent))];
    let reason = CreditRefusal::WalletFrozen;
    let back = |transfer, amount| Work::Alone(Intent::TakeBack { transfer, amount: Money::from_minor(amount), reason });
    let returned = [bench.submit(0, back(sent, 1)), bench.submit(0, back(Uuid::from_u128(77), 1))];
    bench.submit(0, deposit(1));
    bench.go_on();
    assert!(bench.done(settled[0]));
    for id in [settled[1], returned[0], returned[1]] {
        assert_eq!(bench.replies[&id], Reply::NotOpen);
    }
    let returned = bench.submit(0, back(other, 1));
    bench.go_on();
    assert!(bench.done(returned), "what comes back waits for no other block");
    assert_eq!((bench.last().state.balance.minor(), bench.open()), (10, (0, 0)));
}

#[test]
fn a_transfer_that_another_instance_sent_is_settled_after_a_look() {
    let mut bench = Bench::new(Limits::default(), &[10]);
    let id = bench.submit(0, deposit(1));
    bench.go_on();
    assert!(bench.done(id));
    let mut other = Bench::new(Limits::default(), &[]);
    (other.chains, other.next) = (bench.chains.clone(), 50);
    let sent = other.sent();
    bench.chains = other.chains;
    let settled = bench.submit(0, settle(sent));
    bench.monotonic = SECOND;
    bench.go_on();
    assert!(bench.done(settled), "{:?}", bench.replies.get(&settled));
}

#[test]
fn a_credit_is_taken_once_and_a_refusal_stays_one() {
    let mut bench = Bench::new(Limits::default(), &[10]);
    let credit = |bench: &mut Bench, id: u128| {
        let (id, once) = (Uuid::from_u128(id), Some(Once::new(Mark::of_credit(Uuid::from_u128(id)), NOW)));
        let id = bench.sequencer.submit(Command { once, ..command(id, 0, receive(3), None) });
        bench.go_on();
        bench.replies[&id].clone()
    };
    assert!(matches!(credit(&mut bench, 100), Reply::Done { .. }));
    assert_eq!(credit(&mut bench, 100), Reply::SeenOnce { block: 2 });
    bench.submit(0, Work::Alone(Intent::Freeze));
    bench.go_on();
    assert!(matches!(credit(&mut bench, 101), Reply::Done { .. }), "the refusal is an entry");
    bench.submit(0, Work::Alone(Intent::Unfreeze));
    bench.go_on();
    assert_eq!(credit(&mut bench, 101), Reply::SeenOnce { block: 4 }, "although it could receive now");
    assert_eq!(bench.last().state.balance, Money::from_minor(13));
}

#[test]
fn what_is_older_than_what_is_remembered_has_to_be_looked_up() {
    let mut bench = Bench::new(Limits::default(), &[10]);
    let mark = Mark::of_credit(Uuid::from_u128(100));
    let remembered = NOW.plus_micros(-KEY_LIFETIME_MICROS - MARGIN_MICROS);
    for (since, expected) in [(remembered.plus_micros(-1), false), (remembered, true)] {
        bench.submit_once(0, receive(1), mark, since);
        bench.pump();
        for (wallet, _) in std::mem::take(&mut bench.loads) {
            let loaded = whole(&bench.chains[&wallet], remembered, false);
            bench.sequencer.loaded(wallet, loaded);
        }
        bench.go_on();
        let reply = bench.replies.pop_last().expect("answered").1;
        assert_eq!(matches!(reply, Reply::Done { .. }), expected, "{reply:?}");
        assert!(expected || reply == Reply::NotRemembered);
    }
}

#[test]
fn what_was_looked_up_elsewhere_in_the_chain_is_not_taken_for_never_done() {
    // The wallet left after the look-up, took the credit in another cell, and is back. The credit's mark is in a filter.
    let mut bench = Bench::new(Limits { sealing: Sealing { marks: 4, forgets: false }, ..Limits::default() }, &[10]);
    let (id, other) = (Uuid::from_u128(100), |number: u128| Uuid::from_u128(500 + number));
    let credit =
        |id| Command { id, once: Some(Once::new(Mark::of_credit(id), NOW)), ..command(id, 0, receive(1), None) };
    let before = bench.last().clone();
    for id in std::iter::once(id).chain((0..20).map(other)) {
        bench.sequencer.submit(credit(id));
        bench.go_on();
    }
    let looked_up = Once::new(Mark::of_credit(id), NOW).looked_up(before.number, before.at, NOW);
    let again = bench.sequencer.submit(Command { once: Some(looked_up), ..credit(id) });
    bench.go_on();
    let reply = &bench.replies[&again];
    assert!(matches!(reply, Reply::Perhaps(_) | Reply::SeenOnce { .. }), "{reply:?}");
}

#[test]
fn what_was_undone_does_not_count_as_done() {
    let mut bench = Bench::new(Limits::default(), &[10]);
    let of = Uuid::from_u128(800);
    let work = || Work::Alone(Intent::Send { to: wallet(1), amount: Money::from_minor(2), reverses: Some(of) });
    let first = bench.submit_once(0, work(), Mark::of_reversal(of), NOW);
    bench.go_on();
    assert!(bench.done(first));
    let again = bench.submit_once(0, work(), Mark::of_reversal(of), NOW);
    bench.go_on();
    assert_eq!(bench.replies[&again], Reply::SeenOnce { block: 2 });
    let mut once = Once::new(Mark::of_reversal(of), NOW);
    once.known.discount(2);
    let repeated =
        bench.sequencer.submit(Command { once: Some(once), ..command(Uuid::from_u128(900), 0, work(), None) });
    bench.go_on();
    assert!(bench.done(repeated));
}

#[test]
fn open_transfers_of_a_loaded_wallet_are_carried_on() {
    let mut bench = Bench::new(Limits::default(), &[10]);
    let sent = bench.sent();
    assert!(bench.carried.is_empty(), "its own are under way");
    let mut other = Bench::new(Limits::default(), &[]);
    other.chains = bench.chains.clone();
    other.sequencer.carry_on(wallet(0), 2);
    other.go_on();
    assert!(other.carried.is_empty(), "it may be under way elsewhere");
    other.now = NOW.plus_micros(3_000_000);
    other.sequencer.carry_on(wallet(0), 2);
    other.go_on();
    let carried: Vec<_> = other.carried.drain(..).map(|open| (open.transfer, open.payee, open.block)).collect();
    assert_eq!(carried, [(sent, wallet(1), 2)]);
    other.submit(0, deposit(1));
    other.go_on();
    assert!(other.carried.is_empty(), "handed over once");
    other.sequencer.carry_on(wallet(0), 2);
    other.go_on();
    assert_eq!(other.carried.len(), 1, "and again when asked for");
    assert!(other.loads.is_empty(), "nothing has to be read for it");
}

#[test]
fn a_wallet_that_others_have_written_to_is_read_before_it_is_carried_on() {
    let mut bench = Bench::new(Limits::default(), &[10]);
    let id = bench.submit(0, deposit(1));
    bench.go_on();
    assert!(bench.done(id));
    let mut other = Bench::new(Limits::default(), &[]);
    (other.chains, other.next) = (bench.chains.clone(), 50);
    let sent = other.sent();
    bench.chains = other.chains;
    bench.now = NOW.plus_micros(3_000_000);
    bench.sequencer.carry_on(wallet(0), 3);
    bench.go_on();
    assert_eq!(bench.carried.iter().map(|open| open.transfer).collect::<Vec<_>>(), [sent]);
}
