//! The use cases of the wallet API, over the store, the sequencer and the courier. Knows nothing of HTTP.

mod arrivals;
mod batch;
mod create;
mod holds;
mod payments;
mod proof;
mod reversal;
mod transfers;

use std::time::Duration;

use ledger::block::{Audit, Key};
use ledger::marks::KEY_LIFETIME_MICROS;
use ledger::{Block, Entry, Intent, Money, Note, Status, Timestamp, TransactionId, WalletState};
use store::{BlockRange, HomeKey, HomeState, Store, retry};
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};
use topology::{CellId, UserId, WalletId};
use uuid::Uuid;

use crate::clock::Clock;
use crate::courier::Courier;
use crate::driver::{LookedUp, Submitter, look_up, look_up_doubts};
use crate::failure::Failure;
use crate::meters;
use crate::peers::Peers;
use crate::reads::history::{self, Line, Past, Position};
use crate::reads::personal::{Opener, Remembered};
use crate::reads::statement::Statement;
use crate::receiving::Receiver;
use crate::sequencer::{Command, Known, Once, Reply, Work};
pub use batch::{BatchResult, ItemResult, Operation};
pub use holds::{HoldChange, HoldStatus, OpenHolds};
pub use payments::{PaymentOrder, Payments};
pub use reversal::Reversal;
pub use transfers::{Transfer, TransferStatus};

/// How often a command goes back to the sequencer because its key was found to have expired, because what it does was
/// looked up, or because the wallet had left and is back.
const MAX_ROUNDS: usize = 6;
/// How long a request for a wallet that is not here waits while the right to create it moves to
/// another cell, and how often it looks.
const CLOSING_PATIENCE: Duration = Duration::from_secs(5);
const CLOSING_POLL: Duration = Duration::from_millis(20);

/// The key, the caller, the note and the deadline of a request.
#[derive(Debug, Clone)]
pub struct Context {
    pub key: Option<Key>,
    pub audit: Audit,
    pub note: Note,
    pub deadline: Instant,
}

/// A wallet as a client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wallet {
    pub id: WalletId,
    /// `None`: erased.
    pub user: Option<UserId>,
    pub balance: Money,
    /// What of the balance is not on hold; known where the whole wallet was read, and not only what one entry made of
    /// its balance.
    pub available: Option<Money>,
    /// The entry that made this of it, where it is the answer to a request that changed it.
    pub transaction: Option<TransactionId>,
    pub status: Status,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// A result, and whether it is the repetition of an earlier one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer<T> {
    pub value: T,
    pub replayed: bool,
}

/// An entry that is in the chain, with what of its block an answer needs.
#[derive(Debug, Clone)]
struct Written {
    wallet: WalletId,
    entry: Entry,
    at: Timestamp,
    block: u64,
    state: WalletState,
    /// The owner, where it is known.
    user: Option<UserId>,
    replayed: bool,
}

impl Written {
    fn new(block: &Block, entry: &Entry, user: Option<UserId>, replayed: bool) -> Self {
        Self {
            wallet: block.wallet,
            entry: entry.clone(),
            at: block.at,
            block: block.number,
            state: block.state.clone(),
            user,
            replayed,
        }
    }

    /// The wallet as it was right after this entry.
    fn into_answer(self) -> Answer<Wallet> {
        let value = Wallet {
            id: self.wallet,
            user: self.user,
            balance: self.entry.balance_after,
            available: None,
            transaction: Some(self.entry.id),
            status: self.state.status,
            created_at: self.state.created_at,
            updated_at: self.at,
        };
        Answer { value, replayed: self.replayed }
    }
}

pub struct Wallets<S, P> {
    cell: CellId,
    namespace: Uuid,
    store: S,
    submitter: Submitter,
    receiver: Receiver<S>,
    courier: Courier,
    peers: P,
    clock: Clock,
    genesis: OnceCell<store::Genesis>,
    owners: Remembered,
}

impl<S: Store, P: Peers> Wallets<S, P> {
    pub fn new(
        cell: CellId,
        namespace: Uuid,
        store: S,
        submitter: Submitter,
        courier: Courier,
        peers: P,
        clock: Clock,
    ) -> Self {
        let receiver = Receiver::new(cell.clone(), store.clone(), submitter.clone(), clock.clone());
        let (genesis, owners) = (OnceCell::new(), Remembered::default());
        Self { cell, namespace, store, submitter, receiver, courier, peers, clock, genesis, owners }
    }

    pub fn cell(&self) -> &CellId {
        &self.cell
    }

    pub fn wallet_of(&self, user: &UserId) -> WalletId {
        WalletId::for_user(self.namespace, user)
    }

    pub async fn wallet(&self, wallet: WalletId) -> Result<Wallet, Failure> {
        let (head, user) = tokio::join!(self.head(wallet), self.user(wallet));
        Ok(view(&head?, user?, self.now()))
    }

    /// Carries out what concerns this wallet alone; the wallet as it was right after it.
    pub async fn change(&self, wallet: WalletId, intent: Intent, context: Context) -> Result<Answer<Wallet>, Failure> {
        Ok(self.perform(wallet, Work::Alone(intent), None, &context).await?.into_answer())
    }

    /// The wallet with its balance at `at`; 0.00 before it existed. What is past is past wherever the wallet lives now:
    /// only where the answer is the head, it has to be the head of a chain that this cell serves.
    pub async fn wallet_at(&self, wallet: WalletId, at: Timestamp) -> Result<Wallet, Failure> {
        let mut random = self.clock.random();
        let past = retry::read(|| random.f64(), || history::past(&self.store, wallet, at));
        let (past, user) = tokio::join!(past, self.user_now(wallet));
        let (past, user) = (past?, user?);
        match past {
            Past::Block(block) => Ok(view(&block, user, at)),
            Past::Head(head) if head.home == self.cell => Ok(view(&head, user, at)),
            Past::Before(first) => Ok(before(&first, user)),
            // A caller that is late, or early, is sent on as from every other read; unless it has
            // just arrived.
            Past::Head(_) | Past::Absent | Past::Hole { .. } => {
                let head = self.head(wallet).await?;
                Ok(match history::block_at(&self.store, &head, at).await? {
                    Some(block) => view(&block, user, at),
                    None => before(&head, user),
                })
            }
        }
    }

    /// Entries between two times, newest first.
    pub async fn transactions(
        &self,
        wallet: WalletId,
        from: Timestamp,
        to: Timestamp,
        start: Option<Position>,
        limit: usize,
    ) -> Result<(Vec<Line>, Option<Position>), Failure> {
        let (head, opener) = tokio::join!(self.head(wallet), self.opener(wallet));
        let (head, opener) = (head?, opener?);
        let opener = opener.while_in(head.state.status);
        Ok(history::transactions(&self.store, &head, &opener, from, to, start, limit).await?)
    }

    /// What happened from `from` on, before `to`.
    pub async fn statement(&self, wallet: WalletId, from: Timestamp, to: Timestamp) -> Result<Statement, Failure> {
        let (head, opener) = tokio::join!(self.head(wallet), self.opener(wallet));
        let (head, opener) = (head?, opener?);
        let opener = opener.while_in(head.state.status);
        Ok(Statement::open(&self.store, &head, opener, from, to).await?)
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// What reads the personal data of a wallet. Only its head says whether that is erased by now.
    async fn opener(&self, wallet: WalletId) -> Result<Opener, Failure> {
        let mut random = self.clock.random();
        Ok(retry::read(|| random.f64(), || self.owners.opener(&self.store, wallet)).await?)
    }

    /// The owner, where no head was read: it may be erased by now.
    async fn user_now(&self, wallet: WalletId) -> Result<Option<UserId>, Failure> {
        Ok(Opener::of(&self.store, wallet).await?.user())
    }

    async fn user(&self, wallet: WalletId) -> Result<Option<UserId>, Failure> {
        Ok(self.opener(wallet).await?.user())
    }

    /// The head of a chain that this cell serves.
    async fn head(&self, wallet: WalletId) -> Result<Block, Failure> {
        let mut random = self.clock.random();
        match retry::read(|| random.f64(), || self.store.head(wallet)).await? {
            Some(head) if head.home == self.cell => Ok(head),
            Some(head) => Err(Failure::lives_elsewhere(head)),
            None => match self.absent(wallet).await? {
                // Between the two looks it may have arrived here, and the right to create it with it.
                Failure::WalletNotFound(_) => match self.store.head(wallet).await? {
                    Some(head) if head.home == self.cell => Ok(head),
                    Some(head) => Err(Failure::lives_elsewhere(head)),
                    None => Err(Failure::WalletNotFound(wallet)),
                },
                why => Err(why),
            },
        }
    }

    /// Carries one piece of work to an entry in the chain, or finds the entry that an earlier request with the same
    /// key made.
    async fn perform(
        &self,
        wallet: WalletId,
        work: Work,
        once: Option<Once>,
        context: &Context,
    ) -> Result<Written, Failure> {
        let operation = meters::operation(&work);
        let outcome = self.perform_now(wallet, work, once, context).await;
        meters::performed(operation, outcome.as_ref().map(|written| written.replayed));
        outcome
    }

    async fn perform_now(
        &self,
        wallet: WalletId,
        work: Work,
        once: Option<Once>,
        context: &Context,
    ) -> Result<Written, Failure> {
        let mut command = self.command(self.clock.transaction_id(), wallet, work, context);
        command.once = once;
        for _ in 0..MAX_ROUNDS {
            match self.submitter.submit(command.clone()).await {
                Reply::Done { block, entry, user } => {
                    return Ok(Written::new(&block, &block.entries[entry], user, false));
                }
                Reply::SeenKey { block } => match self.first_result(wallet, block, &command).await? {
                    Some(written) => return Ok(written),
                    None => command.known.discount(block),
                },
                Reply::SeenOnce { block } => return Err(Failure::DoneOnce { block }),
                Reply::Perhaps(doubts) => {
                    look_up_doubts(&self.store, &mut command, doubts, &mut self.clock.random()).await?;
                }
                Reply::NotRemembered => {
                    let Some(once) = &mut command.once else { return Err(Failure::Contended) };
                    let (mark, since, now, random) = (once.mark, once.since, self.clock.now(), self.clock.random());
                    match look_up(&self.store, &self.cell, wallet, mark, since, random).await? {
                        LookedUp::Here { latest: Some(block), .. } if once.known.counts(block) => {
                            return Err(Failure::DoneOnce { block });
                        }
                        LookedUp::Here { through, at, .. } => *once = once.looked_up(through, at, now),
                        LookedUp::Elsewhere => drop(self.head(wallet).await?),
                    }
                }
                // Looking again says why; if it has just arrived, here is where it goes on.
                Reply::NoChain(absent) if absent == wallet => drop(self.head(wallet).await?),
                // Looking at the chain says where it lives, and by which block it left.
                Reply::Elsewhere { wallet: moved, .. } if moved == wallet => drop(self.head(wallet).await?),
                reply => return Err(Failure::of_reply(reply)),
            }
        }
        Err(Failure::Contended)
    }

    fn command(&self, id: TransactionId, wallet: WalletId, work: Work, context: &Context) -> Command {
        let patience = context.deadline.saturating_duration_since(Instant::now());
        Command {
            id,
            wallet,
            work,
            once: None,
            key: context.key,
            audit: context.audit.clone(),
            note: context.note.clone(),
            expires_at: self.clock.now().plus_micros(i64::try_from(patience.as_micros()).unwrap_or(i64::MAX)),
            known: Known::default(),
        }
    }

    /// The entry that this command's key caused in `block`; `None` if that was more than 24 hours ago.
    async fn first_result(&self, wallet: WalletId, block: u64, command: &Command) -> Result<Option<Written>, Failure> {
        let range = BlockRange { first: block, last: block, newest_first: false };
        let blocks = self.store.blocks(wallet, range, 1).await?;
        let (Some(block), Some(key)) = (blocks.first(), command.key) else { return Ok(None) };
        match block.entry_keyed(&key.key) {
            Some(entry) if self.alive(block.at) && entry.key == Some(key) => {
                Ok(Some(Written::new(block, entry, self.user_now(wallet).await?, true)))
            }
            Some(_) if self.alive(block.at) => Err(Failure::KeyReused),
            _ => Ok(None),
        }
    }

    /// Whether a key used at `at` still counts.
    fn alive(&self, at: Timestamp) -> bool {
        at.plus_micros(KEY_LIFETIME_MICROS) > self.clock.now()
    }

    /// Why there is no chain here: unknown to everyone, if this cell is where it would be created;
    /// else misdirected. While the right to create the wallet is moving, waits for the end of it:
    /// the answer is not known before.
    async fn absent(&self, wallet: WalletId) -> Result<Failure, Failure> {
        let patience = Instant::now() + CLOSING_PATIENCE;
        loop {
            if let Some(why) = self.absent_now(wallet).await? {
                return Ok(why);
            }
            if Instant::now() >= patience {
                return Ok(Failure::Moving);
            }
            sleep(CLOSING_POLL).await;
        }
    }

    /// `None` while it is being decided.
    ///
    /// The bucket's row is read first: a move of a bucket to this cell writes what denies single
    /// wallets of it before the bucket is served. Read the other way round, a denial written in
    /// between would be missed.
    async fn absent_now(&self, wallet: WalletId) -> Result<Option<Failure>, Failure> {
        let bucket = self.store.home(HomeKey::Bucket(wallet.bucket())).await?.map(|row| row.state);
        match self.store.home(HomeKey::Wallet(wallet)).await?.map(|row| row.state) {
            Some(HomeState::Moved { to }) => return Ok(Some(Failure::not_created_here(Some(to)))),
            Some(HomeState::Serving) => return Ok(Some(Failure::WalletNotFound(wallet))),
            Some(HomeState::Closing { .. }) => return Ok(None),
            None => {}
        }
        Ok(match bucket {
            Some(HomeState::Serving) => Some(Failure::WalletNotFound(wallet)),
            Some(HomeState::Moved { to }) => Some(Failure::not_created_here(Some(to))),
            Some(HomeState::Closing { .. }) => None,
            None if self.serves_from_start(wallet).await? => Some(Failure::WalletNotFound(wallet)),
            None => Some(Failure::not_created_here(None)),
        })
    }

    async fn serves_from_start(&self, wallet: WalletId) -> Result<bool, Failure> {
        let load = || async {
            let genesis = self.store.genesis().await?;
            genesis.ok_or_else(|| Failure::Unavailable("the cell has not been given its buckets yet".into()))
        };
        Ok(self.genesis.get_or_try_init(load).await?.contains(wallet.bucket()))
    }
}

/// The wallet that has this block, at a time before it was created.
fn before(block: &Block, user: Option<UserId>) -> Wallet {
    let then = view(block, user, block.at);
    let (zero, status) = (Money::ZERO, Status::Active);
    Wallet { balance: zero, available: Some(zero), status, updated_at: then.created_at, ..then }
}

/// The wallet after `block`, at a time when that was its last one.
fn view(block: &Block, user: Option<UserId>, at: Timestamp) -> Wallet {
    Wallet {
        id: block.wallet,
        user: user.filter(|_| block.state.status != Status::Erased),
        balance: block.state.balance,
        available: Some(block.state.available_at(at)),
        transaction: None,
        status: block.state.status,
        created_at: block.state.created_at,
        updated_at: block.at,
    }
}
