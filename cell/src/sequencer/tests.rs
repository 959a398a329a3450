//! The sequencer as a state machine: a table of situations, and random schedules against a store that is only a map.

use std::collections::BTreeMap;

use ledger::block::Key;
use ledger::marks::Mark;
use ledger::{Append, Audit, Conflict, Entry, EntryKind, Intent, Money, Note, Refusal, Trace, TransactionId, chain};
use proptest::prelude::*;
use store::commit::CommitOutcome;
use uuid::Uuid;

use super::*;

mod bounds;
mod operations;
mod transfers;

const NOW: Timestamp = Timestamp::from_micros(1_000_000);

fn cell() -> CellId {
    CellId::parse("cell-1").expect("sound")
}

fn wallet(number: u128) -> WalletId {
    WalletId::from_uuid(Uuid::from_u128(number))
}

/// A sequencer and the chains it writes to; the test decides when a load or a commit ends, and how.
struct Bench {
    sequencer: Sequencer,
    chains: BTreeMap<WalletId, Vec<Block>>,
    loads: Vec<(WalletId, Option<(u64, Hash)>)>,
    commits: Vec<(CommitId, Append)>,
    /// By when the commits have to be signed.
    sign_by: Vec<Duration>,
    replies: BTreeMap<CommandId, Reply>,
    carried: Vec<OpenTransfer>,
    next: u128,
    now: Timestamp,
    monotonic: Duration,
}

impl Bench {
    fn new(limits: Limits, balances: &[u64]) -> Self {
        let mut chains = BTreeMap::new();
        for (number, balance) in balances.iter().enumerate() {
            let id = wallet(number as u128);
            let entry = |kind, amount: u64| {
                let (id, amount) = (Uuid::from_u128(u128::MAX - amount as u128), Money::from_minor(amount));
                Entry::new(id, kind, amount, amount)
            };
            let mut chain = vec![chain::open(id, cell(), NOW, entry(EntryKind::Opened, 0), None)];
            if *balance > 0 {
                let mut state = chain[0].state.clone();
                state.balance = Money::from_minor(*balance);
                chain.push(chain::next(&chain[0].head(), state, vec![entry(EntryKind::Deposit, *balance)], NOW));
            }
            chains.insert(id, chain);
        }
        let sequencer = Sequencer::new(cell(), limits);
        Self {
            sequencer,
            chains,
            loads: vec![],
            commits: vec![],
            sign_by: vec![],
            replies: BTreeMap::new(),
            carried: vec![],
            next: 1,
            now: NOW,
            monotonic: Duration::ZERO,
        }
    }

    fn submit(&mut self, of: u128, work: Work) -> CommandId {
        self.submit_keyed(of, work, None)
    }

    fn submit_keyed(&mut self, of: u128, work: Work, key: Option<u8>) -> CommandId {
        self.next += 1;
        let id = Uuid::from_u128(self.next);
        self.sequencer.submit(command(id, of, work, key))
    }

    /// Of work that is done once: nothing older than `since` bears the mark.
    fn submit_once(&mut self, of: u128, work: Work, mark: Mark, since: Timestamp) -> CommandId {
        self.next += 1;
        let once = Some(Once::new(mark, since));
        self.sequencer.submit(Command { once, ..command(Uuid::from_u128(self.next), of, work, None) })
    }

    fn pump(&mut self) {
        for action in self.sequencer.pump(self.now, self.monotonic) {
            match action {
                Action::Load { wallet, after } => self.loads.push((wallet, after)),
                Action::Commit { id, append, sign_by } => {
                    self.commits.push((id, append));
                    self.sign_by.push(sign_by);
                }
                Action::Reply { command, reply } => {
                    assert!(self.replies.insert(command, reply).is_none(), "a command is answered once");
                }
                Action::CarryOn(transfers) => self.carried.extend(transfers),
                Action::RecordRun { .. } => {}
            }
        }
    }

    /// Ends the oldest load with what is in the chains now.
    fn load(&mut self) {
        let (wallet, after) = self.loads.remove(0);
        let loaded = match (self.chains.get(&wallet), after) {
            (None, _) => Loaded::Absent,
            (Some(chain), None) => whole(chain, Timestamp::from_micros(i64::MIN), false),
            (Some(chain), Some((after, _))) => {
                Loaded::Tail(chain.iter().filter(|b| b.number > after).cloned().collect())
            }
        };
        self.sequencer.loaded(wallet, loaded);
        self.pump();
    }

    fn load_all(&mut self) {
        while !self.loads.is_empty() {
            self.load();
        }
    }

    /// Applies the oldest commit if its conditions hold.
    fn commit(&mut self) {
        let (id, append) = self.commits.remove(0);
        let outcome = self.apply(&append);
        self.sequencer.committed(id, outcome);
        self.pump();
    }

    fn apply(&mut self, append: &Append) -> CommitOutcome {
        let is_taken = |block: &Block| self.chains[&block.wallet].len() as u64 != block.number;
        if append.blocks.iter().any(is_taken) {
            return CommitOutcome::Conflict(TAKEN);
        }
        for block in &append.blocks {
            let chain = self.chains.get_mut(&block.wallet).expect("known");
            chain::verify(Some(&chain[chain.len() - 1].head()), block).expect("every block follows the rules");
            chain.push(block.clone());
        }
        CommitOutcome::Applied
    }

    /// Another instance appends a deposit.
    fn foreign_deposit(&mut self, of: u128, id: TransactionId, amount: u64) {
        self.foreign_deposit_keyed(of, id, amount, None);
    }

    fn foreign_deposit_keyed(&mut self, of: u128, id: TransactionId, amount: u64, key: Option<u8>) {
        let chain = self.chains.get_mut(&wallet(of)).expect("known");
        let head = chain[chain.len() - 1].head();
        let mut state = head.state.clone();
        state.balance = state.balance.checked_add(Money::from_minor(amount)).expect("small");
        let deposit = Entry::new(id, EntryKind::Deposit, Money::from_minor(amount), state.balance);
        let entry = Entry { key: key.map(key_of), ..deposit };
        chain.push(chain::next(&head, state, vec![entry], NOW));
    }

    fn done(&self, id: CommandId) -> bool {
        matches!(self.replies.get(&id), Some(Reply::Done { .. }))
    }
}

const TAKEN: Conflict = Conflict { taken: true, guard: false };

/// A wallet as a load finds it, with all its blocks.
fn whole(chain: &[Block], known_since: Timestamp, is_capped: bool) -> Loaded {
    let mut open = OpenTransfers::default();
    chain.iter().for_each(|block| open.take(block));
    let head = chain.last().expect("block 0").head();
    let mut gathered = Gathered::new(Limits::default().sealing);
    chain.iter().rev().for_each(|block| gathered.take(Part::of_block(block)));
    let seen = Seen::of(gathered, known_since, is_capped);
    Loaded::Whole(Box::new(Whole { head, blocks: chain.to_vec(), seen, open, owner: None }))
}

fn key_of(byte: u8) -> Key {
    Key { key: [byte; 16], request: [byte; 16] }
}

fn command(id: TransactionId, of: u128, work: Work, key: Option<u8>) -> Command {
    Command {
        id,
        wallet: wallet(of),
        work,
        once: None,
        key: key.map(key_of),
        audit: Audit::default(),
        note: Note::default(),
        expires_at: Timestamp::from_micros(i64::MAX),
        known: Known::default(),
    }
}

fn deposit(amount: u64) -> Work {
    Work::Alone(Intent::Deposit { amount: Money::from_minor(amount) })
}

fn withdraw(amount: u64) -> Work {
    Work::Alone(Intent::Withdraw { amount: Money::from_minor(amount) })
}

fn pay(to: u128, amount: u64) -> Work {
    Work::Alone(Intent::Send { to: wallet(to), amount: Money::from_minor(amount), reverses: None })
}

#[test]
fn a_wallet_that_is_about_to_leave_waits_and_what_waited_is_sent_after_it() {
    let mut bench = Bench::new(Limits::default(), &[5]);
    let before = bench.submit(0, Work::Alone(Intent::Deposit { amount: Money::from_minor(1) }));
    bench.pump();
    bench.load();
    bench.sequencer.hold(wallet(0), true);
    let held = bench.submit(0, Work::Alone(Intent::Deposit { amount: Money::from_minor(2) }));
    bench.commit();
    assert!(matches!(bench.replies.get(&before), Some(Reply::Done { .. })), "what was under way goes on");
    assert!(bench.commits.is_empty() && !bench.replies.contains_key(&held));

    let chain = bench.chains.get_mut(&wallet(0)).expect("it is there");
    let to = CellId::parse("cell-2").expect("sound");
    let head = chain.last().expect("block 0").head();
    chain.push(ledger::moving::moved_block(&head, &to, 1, Uuid::from_u128(77), Trace::default(), NOW));
    bench.sequencer.hold(wallet(0), false);
    bench.pump();
    bench.commit();
    bench.load_all();
    assert_eq!(bench.replies.get(&held), Some(&Reply::Elsewhere { wallet: wallet(0), home: to }));
}

#[test]
fn what_arrives_during_a_commit_becomes_one_block() {
    let mut bench = Bench::new(Limits::default(), &[0]);
    bench.submit(0, deposit(1));
    bench.pump();
    bench.load();
    let later: Vec<_> = (0..10).map(|_| bench.submit(0, deposit(1))).collect();
    bench.pump();
    assert_eq!(bench.commits.len(), 1, "a wallet has one commit in flight");
    bench.commit();
    assert_eq!(bench.commits[0].1.blocks[0].entries.len(), 10);
    bench.commit();
    assert!(later.iter().all(|id| bench.done(*id)));
    assert_eq!(bench.chains[&wallet(0)].len(), 3);
}

#[test]
fn a_refusal_on_a_remembered_head_waits_for_a_read() {
    let mut bench = Bench::new(Limits::default(), &[0]);
    bench.submit(0, deposit(5));
    bench.pump();
    bench.load();
    bench.commit();
    // Another instance makes the withdrawal possible; this one cannot know.
    bench.foreign_deposit(0, Uuid::from_u128(900), 100);
    let possible = bench.submit(0, withdraw(50));
    bench.pump();
    assert_eq!((bench.replies.get(&possible), bench.loads.len()), (None, 1), "no refusal without a look");
    bench.load();
    bench.commit();
    assert!(bench.done(possible));

    let impossible = bench.submit(0, withdraw(500));
    bench.pump();
    bench.load();
    let refusal = Refusal::InsufficientBalance { available: Money::from_minor(55), amount: Money::from_minor(500) };
    assert_eq!(bench.replies[&impossible], Reply::Refused { wallet: wallet(0), refusal });
}

#[test]
fn a_refusal_by_the_payee_waits_for_a_look_at_the_key() {
    let mut bench = Bench::new(Limits::default(), &[0]);
    bench.submit(0, deposit(5));
    bench.pump();
    bench.load();
    bench.commit();
    // Another instance has carried the request out; this one cannot know.
    bench.foreign_deposit_keyed(0, Uuid::from_u128(900), 100, Some(9));
    let refuse = || Work::Refuse(Box::new(Reply::NoChain(wallet(1))));
    let repeated = bench.submit_keyed(0, refuse(), Some(9));
    let fresh = bench.submit_keyed(0, refuse(), Some(8));
    bench.pump();
    assert_eq!((bench.replies.len(), bench.loads.len()), (1, 1), "no refusal without a look");
    bench.load();
    assert_eq!(bench.replies[&repeated], Reply::SeenKey { block: 2 });
    assert_eq!(bench.replies[&fresh], Reply::NoChain(wallet(1)));
    assert!(bench.commits.is_empty(), "nothing is written");
}

#[test]
fn a_commit_confirms_the_refusals_decided_with_it() {
    let mut bench = Bench::new(Limits::default(), &[10]);
    bench.submit(0, deposit(1));
    bench.pump();
    bench.load();
    let (refused, accepted) = (bench.submit(0, withdraw(50)), bench.submit(0, deposit(1)));
    bench.commit();
    assert_eq!(bench.replies.get(&refused), None);
    bench.commit();
    assert!(bench.done(accepted) && matches!(bench.replies[&refused], Reply::Refused { .. }));
    assert!(bench.loads.is_empty());
}

#[test]
fn a_lost_race_is_decided_again_on_the_new_head() {
    let mut bench = Bench::new(Limits::default(), &[10]);
    let id = bench.submit(0, withdraw(60));
    bench.foreign_deposit(0, Uuid::from_u128(900), 100);
    bench.pump();
    bench.load();
    bench.foreign_deposit(0, Uuid::from_u128(901), 100);
    bench.commit();
    assert_eq!((bench.replies.get(&id), bench.loads.len()), (None, 1));
    bench.load();
    bench.commit();
    assert!(bench.done(id));
    assert_eq!(bench.chains[&wallet(0)].last().expect("block").state.balance, Money::from_minor(150));
}

#[test]
fn a_write_that_landed_after_all_is_found_and_not_repeated() {
    let mut bench = Bench::new(Limits::default(), &[0]);
    let id = bench.submit(0, deposit(7));
    bench.pump();
    bench.load();
    let (commit, append) = bench.commits.remove(0);
    // It was written, but its writer only saw that the place was taken.
    assert_eq!(bench.apply(&append), CommitOutcome::Applied);
    bench.sequencer.committed(commit, CommitOutcome::Conflict(TAKEN));
    bench.pump();
    bench.load();
    assert!(bench.done(id));
    assert_eq!((bench.commits.len(), bench.chains[&wallet(0)].len()), (0, 2));
}

#[test]
fn what_another_instance_did_once_is_not_done_again() {
    let of = Uuid::from_u128(800);
    let reverse = || Work::Alone(Intent::ReverseDeposit { of, amount: Money::from_minor(4) });
    let (mut bench, mut other) = (Bench::new(Limits::default(), &[10]), Bench::new(Limits::default(), &[10]));
    // This instance remembers a head; another one reverses the transaction.
    let id = bench.submit_once(0, reverse(), Mark::of_reversal(of), NOW);
    bench.pump();
    bench.load();
    other.next = 50;
    other.submit_once(0, reverse(), Mark::of_reversal(of), NOW);
    other.pump();
    other.load();
    other.commit();
    bench.chains = other.chains;
    bench.commit();
    bench.load();
    assert_eq!(bench.replies[&id], Reply::SeenOnce { block: 2 });
    assert_eq!(bench.chains[&wallet(0)].len(), 3);
}

#[test]
fn an_unknown_outcome_is_said_and_the_wallet_read_afresh() {
    let mut bench = Bench::new(Limits::default(), &[0]);
    let id = bench.submit(0, deposit(7));
    bench.pump();
    bench.load();
    let (commit, _) = bench.commits.remove(0);
    bench.sequencer.committed(commit, CommitOutcome::Unknown("timeout".into()));
    bench.submit(0, deposit(1));
    bench.pump();
    assert_eq!(bench.replies[&id], Reply::Unknown("timeout".into()));
    assert_eq!(bench.loads, vec![(wallet(0), None)]);
}

#[test]
fn a_key_is_answered_with_the_block_of_its_first_use() {
    let mut bench = Bench::new(Limits::default(), &[0]);
    let first = bench.submit_keyed(0, deposit(7), Some(9));
    let twin = bench.submit_keyed(0, deposit(7), Some(9));
    bench.pump();
    bench.load();
    assert_eq!(bench.commits[0].1.blocks[0].entries.len(), 1, "the same key twice at once: the second waits");
    bench.commit();
    assert!(bench.done(first));
    assert_eq!(bench.replies[&twin], Reply::SeenKey { block: 1 });
    let other = bench.submit_keyed(0, deposit(7), Some(8));
    bench.pump();
    bench.commit();
    assert!(bench.done(other));
}

#[test]
fn what_does_not_fit_is_shed_at_once() {
    let limits = Limits { commands: 3, commands_per_wallet: 2, ..Limits::default() };
    let mut bench = Bench::new(limits, &[0, 0, 0]);
    let ids: Vec<_> = [0, 0, 0, 1, 2].into_iter().map(|of| bench.submit(of, deposit(1))).collect();
    bench.pump();
    let shed: Vec<_> = ids.iter().map(|id| bench.replies.get(id) == Some(&Reply::Overloaded)).collect();
    assert_eq!(shed, [false, false, true, false, true]);
}

#[derive(Debug, Clone)]
enum Step {
    Submit { of: u128, work: u8, other: u128, amount: u64 },
    Load,
    Commit(u8),
    Foreign { of: u128, amount: u64 },
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4_u128, 0..3_u8, 0..4_u128, 1..50_u64)
            .prop_map(|(of, work, other, amount)| Step::Submit { of, work, other, amount }),
        3 => Just(Step::Load),
        3 => any::<u8>().prop_map(Step::Commit),
        1 => (0..4_u128, 1..50_u64).prop_map(|(of, amount)| Step::Foreign { of, amount }),
    ]
}

proptest! {
    /// Whatever the order of events: one commit a wallet, one answer a command, and what is said to be done is in the
    /// chain exactly once.
    #[test]
    fn every_schedule_keeps_the_rules(steps in proptest::collection::vec(any_step(), 1..120)) {
        let mut bench = Bench::new(Limits { attempts: 1_000, ..Limits::default() }, &[100, 100, 100, 100]);
        let mut submitted = vec![];
        let mut foreign = 10_000_u128;
        for step in steps {
            match step {
                Step::Submit { of, work, other, amount } => {
                    let work = match work {
                        0 => deposit(amount),
                        1 => withdraw(amount),
                        _ if other == of => continue,
                        _ => pay(other, amount),
                    };
                    let id = bench.submit(of, work);
                    submitted.push((id, Uuid::from_u128(bench.next), of));
                    bench.pump();
                }
                Step::Load if !bench.loads.is_empty() => bench.load(),
                Step::Commit(choice) if !bench.commits.is_empty() => {
                    let position = usize::from(choice) % bench.commits.len();
                    bench.commits.swap(0, position);
                    bench.commit();
                }
                Step::Foreign { of, amount } => {
                    foreign += 1;
                    bench.foreign_deposit(of, Uuid::from_u128(foreign), amount);
                }
                Step::Load | Step::Commit(_) => {}
            }
            let mut busy: Vec<_> = bench.commits.iter().flat_map(|(_, a)| a.blocks.iter().map(|b| b.wallet)).collect();
            busy.extend(bench.loads.iter().map(|(wallet, _)| *wallet));
            let count = busy.len();
            busy.sort_unstable();
            busy.dedup();
            prop_assert_eq!(busy.len(), count, "a wallet is in one load or commit at a time");
        }
        for _ in 0..2_000 {
            if bench.loads.is_empty() && bench.commits.is_empty() { break; }
            bench.load_all();
            if !bench.commits.is_empty() { bench.commit(); }
        }
        prop_assert_eq!(bench.sequencer.depth(), 0, "everything is answered in the end");
        for (id, transaction, of) in submitted {
            let times = bench.chains[&wallet(of)].iter().flat_map(|b| &b.entries).filter(|e| e.id == transaction).count();
            let expected = usize::from(bench.done(id));
            prop_assert_eq!(times, expected, "{:?}", bench.replies.get(&id));
        }
    }
}
