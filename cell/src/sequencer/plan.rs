//! Builds the next commit around one wallet: takes what waits in its queue and in the queues of the wallets drawn in,
//! decides each command on the running state, within the limits of one transaction.

use std::collections::{BTreeSet, HashSet};

use ledger::keys::KeyHash;
use ledger::rows::has_row;
use ledger::store::MAX_APPEND_ITEMS;
use ledger::{Entry, EntryKind, Intent, Money, Refusal, Route, Timestamp, TransactionId, WalletState, decide};
use topology::WalletId;

use super::command::{Command, Reply, Work};
use super::slot::Busy;
use super::{CommandId, Sequencer};

/// A wallet in the commit: the state after the entries decided so far.
pub struct Member {
    pub wallet: WalletId,
    pub state: WalletState,
    pub entries: Vec<Entry>,
}

/// What is to be done next. Empty members and no replies: the wallet waits for another.
#[derive(Default)]
pub struct Plan {
    pub members: Vec<Member>,
    /// (command, the wallet and the position of its own entry).
    pub accepted: Vec<(CommandId, WalletId, usize)>,
    /// Refusals that stand if the commit succeeds, because it proves the head they rest on.
    pub refused: Vec<(CommandId, Reply)>,
    /// Answers that need no commit.
    pub replies: Vec<(CommandId, Reply)>,
    pub loads: BTreeSet<WalletId>,
    items: usize,
    keys: HashSet<(WalletId, KeyHash)>,
    rows: HashSet<TransactionId>,
    seen: HashSet<CommandId>,
    /// Refusals by the wallet that refused, until it is known whether that wallet gets a block.
    doubtful: Vec<(CommandId, WalletId, Refusal)>,
}

/// Why a command is not in this commit.
enum Skip {
    /// Its turn comes later.
    Later,
    /// It has been passed over too often: nothing of its wallet may overtake it any more.
    Hold,
}

impl Plan {
    pub fn build(sequencer: &mut Sequencer, seed: WalletId, now: Timestamp) -> Plan {
        let mut plan = Plan::default();
        let mut wallets = vec![seed];
        let mut next = 0;
        while let Some(&wallet) = wallets.get(next) {
            next += 1;
            let queue: Vec<_> = sequencer.slots[&wallet].queue.iter().copied().collect();
            for id in queue {
                if !plan.seen.insert(id) {
                    continue;
                }
                match plan.consider(sequencer, id, now) {
                    Ok(()) => {
                        let known: BTreeSet<_> = wallets.iter().copied().collect();
                        wallets.extend(plan.members.iter().map(|m| m.wallet).filter(|w| !known.contains(w)));
                    }
                    Err(Skip::Later) => {}
                    Err(Skip::Hold) => break,
                }
                if plan.items >= MAX_APPEND_ITEMS || plan.is_full(wallet, sequencer.limits.entries_per_block) {
                    break;
                }
            }
        }
        plan.settle_refusals(sequencer);
        plan
    }

    fn is_full(&self, wallet: WalletId, entries: usize) -> bool {
        self.members.iter().any(|member| member.wallet == wallet && member.entries.len() >= entries)
    }

    fn consider(&mut self, sequencer: &mut Sequencer, id: CommandId, now: Timestamp) -> Result<(), Skip> {
        let pending = &sequencer.pending[&id];
        let (command, no_counterpart) = (pending.command.clone(), pending.no_counterpart.clone());
        if command.expires_at < now {
            self.replies.push((id, Reply::Expired));
            return Ok(());
        }
        self.available(sequencer, id, command.wallet)?;
        if let Some(key) = command.key {
            let slot = sequencer.slots.get_mut(&command.wallet).expect("available");
            if let Some(block) = slot.block_with_key(key.key, now).filter(|block| Some(*block) != command.expired_key) {
                self.replies.push((id, Reply::SeenKey { block }));
                return Ok(());
            }
            // The same key twice at once: the second waits for the first one's block.
            if self.keys.contains(&(command.wallet, key.key)) {
                return Err(Skip::Later);
            }
        }
        // Only now: a repetition is answered with the first result, whatever has become of the other wallet since.
        if let Some(reply) = no_counterpart {
            self.replies.push((id, reply));
            return Ok(());
        }
        for wallet in command.wallets() {
            self.available(sequencer, id, wallet)?;
        }
        if command.transfer_row().is_some_and(|transfer| self.rows.contains(&transfer)) {
            return Err(Skip::Later);
        }
        self.room(sequencer, &command)?;
        self.take(sequencer, id, &command);
        Ok(())
    }

    /// The wallet is loaded and in no other commit. The one this plan was started for always is.
    fn available(&mut self, sequencer: &mut Sequencer, id: CommandId, wallet: WalletId) -> Result<(), Skip> {
        if self.members.iter().any(|member| member.wallet == wallet) {
            return Ok(());
        }
        let slot = sequencer.slots.get(&wallet).expect("submitting made a slot for each wallet");
        match slot.busy {
            Busy::No if slot.held => Err(pass_over(sequencer, id)),
            Busy::No if slot.head.is_some() && !slot.stale => Ok(()),
            Busy::No => {
                self.loads.insert(wallet);
                Err(Skip::Later)
            }
            Busy::Loading { .. } | Busy::Committing => Err(pass_over(sequencer, id)),
        }
    }

    fn room(&self, sequencer: &Sequencer, command: &Command) -> Result<(), Skip> {
        let mut items = usize::from(command.transfer_row().is_some());
        for wallet in command.wallets() {
            match self.members.iter().find(|member| member.wallet == wallet) {
                None => items += 1,
                Some(member) if member.entries.is_empty() => items += 1,
                Some(member) if member.entries.len() >= sequencer.limits.entries_per_block => return Err(Skip::Later),
                Some(_) => {}
            }
        }
        if self.items + items > MAX_APPEND_ITEMS { Err(Skip::Later) } else { Ok(()) }
    }

    /// Decides the command on the running states and takes its entries in, or notes its refusal.
    fn take(&mut self, sequencer: &Sequencer, id: CommandId, command: &Command) {
        let wallet = command.wallet;
        let state = self.member(sequencer, wallet).state.clone();
        let decided = match (decide(&state, &command.intent()), &command.work) {
            (Err(refusal), Work::ReceiveAcross { from, .. }) => {
                Ok((ledger::decide::record_refusal(refusal, command.id, *from), Money::ZERO))
            }
            (decided, _) => decided,
        };
        let (kind, amount) = match decided {
            Ok(decided) => decided,
            Err(refusal) => return self.doubtful.push((id, wallet, refusal)),
        };
        if let Work::TransferInside { to, amount } = command.work {
            let receiving = self.member(sequencer, to).state.clone();
            match decide(&receiving, &Intent::Receive { from: wallet, amount, route: Route::Inside }) {
                Ok((kind, amount)) => self.push(sequencer, to, command, kind, amount, false),
                Err(refusal) => return self.doubtful.push((id, to, refusal)),
            }
        }
        self.push(sequencer, wallet, command, kind, amount, true);
        let position = self.member(sequencer, wallet).entries.len() - 1;
        self.accepted.push((id, wallet, position));
    }

    fn push(
        &mut self,
        sequencer: &Sequencer,
        wallet: WalletId,
        command: &Command,
        kind: EntryKind,
        amount: Money,
        own: bool,
    ) {
        if has_row(&kind) {
            self.items += 1;
            self.rows.extend(command.transfer_row());
        }
        if let (true, Some(key)) = (own, command.key) {
            self.keys.insert((wallet, key.key));
        }
        let member = self.member(sequencer, wallet);
        let state = ledger::decide::apply(&member.state, &kind, amount).expect("decide and the chain rules agree");
        let entry = Entry {
            id: entry_id(command, &kind),
            kind,
            amount,
            balance_after: state.balance,
            key: command.key.filter(|_| own),
            audit: command.audit.clone(),
        };
        member.entries.push(entry);
        member.state = state;
        if member.entries.len() == 1 {
            self.items += 1;
        }
    }

    fn member(&mut self, sequencer: &Sequencer, wallet: WalletId) -> &mut Member {
        let position = self.members.iter().position(|member| member.wallet == wallet).unwrap_or_else(|| {
            let head = sequencer.slots[&wallet].head.as_ref().expect("available");
            self.members.push(Member { wallet, state: head.state.clone(), entries: Vec::new() });
            self.members.len() - 1
        });
        &mut self.members[position]
    }

    /// A refusal counts only against a head that was the head after the command arrived: this commit's condition
    /// proves it, or a load begun since. Otherwise the head is read again and the command decided again.
    fn settle_refusals(&mut self, sequencer: &Sequencer) {
        for (id, wallet, refusal) in std::mem::take(&mut self.doubtful) {
            let reply = Reply::Refused { wallet, refusal };
            let proven_by_commit =
                self.members.iter().any(|member| member.wallet == wallet && !member.entries.is_empty());
            if proven_by_commit {
                self.refused.push((id, reply));
            } else if sequencer.slots[&wallet].confirmed > sequencer.pending[&id].arrived {
                self.replies.push((id, reply));
            } else {
                self.loads.insert(wallet);
            }
        }
    }
}

/// The command's turn comes later; after too many times, nothing of its wallet goes before it.
fn pass_over(sequencer: &mut Sequencer, id: CommandId) -> Skip {
    let pending = sequencer.pending.get_mut(&id).expect("queued commands are pending");
    pending.passes += 1;
    if pending.passes > sequencer.limits.passes { Skip::Hold } else { Skip::Later }
}

/// A refusal recorded for a transfer gets an id of its own, so that ids stay unique within the chain even if the
/// transfer's id comes back from this very wallet. Derived, not drawn: a repetition makes the same block.
fn entry_id(command: &Command, kind: &EntryKind) -> TransactionId {
    match kind {
        EntryKind::TransferRefused { transfer, .. } => TransactionId::new_v5(transfer, b"refused"),
        _ => command.id,
    }
}
