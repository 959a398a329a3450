//! How requests find their wallet: through a placement that may be old, sent on by cells that know better. And the
//! network between the cells, where requests and answers get lost, come late, come twice.

use std::future::Future;
use std::sync::{Arc, Weak};

use cell::failure::Failure;
use cell::peers::{Credited, PeerError, Peers};
use cell::wallets::Context;
use ledger::{Audit, Block, Note, moving};
use mover::Holds;
use store::memory::{Fault, FaultPlan};
use tokio::time::{Instant, sleep, timeout_at};
use topology::WalletId;
use topology::wire::{Credit, CreditOutcome, CreditRefusal, Receivable};

use super::faults::Faults;
use super::mistake::Mistake;
use super::placement::View;
use super::world::{CELLS, NoAnswer, Service, World};

/// How often a request is sent on: less often than by the router, so that more of them are given up. A wallet is
/// still reached after three moves that were not published, since their movers died.
const HOPS_MAX: usize = 3;

impl World {
    /// Takes a request to the wallet's cell as `view` has it, and on to where cells say that it lives, with the block
    /// by which it left. A misdirection in the answer means: nothing was done.
    pub async fn route<T, F>(
        self: &Arc<Self>,
        view: &View,
        wallet: WalletId,
        choice: usize,
        request: impl Fn(Arc<Service>) -> F,
    ) -> Result<Result<T, Failure>, NoAnswer>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        let mut cell = self.placements.cell_of(view, wallet);
        let mut brought: Option<Box<Block>> = None;
        for hop in 0.. {
            let (world, block) = (self.clone(), brought.take());
            let answer = self.ask(cell, choice, |service| {
                let request = request(service.clone());
                async move {
                    if let Some(block) = block {
                        world.adopt(cell, &service, &block).await;
                    }
                    request.await
                }
            });
            match answer.await? {
                Err(Failure::Misdirected { to: Some(to), moved }) if hop < HOPS_MAX => {
                    cell = self.index_of(&to);
                    brought = moved;
                }
                Err(misdirected @ Failure::Misdirected { .. }) => {
                    view.advance(&self.placements, 0);
                    return Ok(Err(misdirected));
                }
                answer => return Ok(answer),
            }
        }
        unreachable!("the last hop's answer is returned")
    }

    /// Asks for every wallet once. One with a cutover that landed when no mover worked on its plan
    /// any more is between two homes until then: the first request completes its move.
    pub async fn ask_for_all(self: &Arc<Self>, wallets: usize) {
        let view = View::default();
        view.advance(&self.placements, 0);
        for wallet in self.wallets(wallets) {
            // That it is served now is for the checks to say.
            let _ = self.route(&view, wallet, 0, |service| async move { service.wallet(wallet).await }).await;
        }
    }

    /// What a cell does with a block that came along, counting the moves that this completes.
    async fn adopt(&self, cell: usize, service: &Service, block: &Block) {
        let cell = &self.cells[cell];
        let missing = cell.head(block.wallet).await.is_some_and(|head| moving::adopts(&cell.id, &head.head(), block));
        service.adopt(block).await;
        if missing && cell.head(block.wallet).await.is_some_and(|head| head.number >= block.number) {
            self.moves.adopted();
        }
    }
}

/// Asks every live instance of every cell.
pub struct AllInstances(pub Arc<World>);

impl Holds for AllInstances {
    async fn hold(&self, wallet: WalletId) {
        for service in (0..CELLS).flat_map(|cell| self.0.services(cell)) {
            service.hold(wallet).await;
        }
    }

    async fn release(&self, wallet: WalletId) {
        for service in (0..CELLS).flat_map(|cell| self.0.services(cell)) {
            service.release(wallet).await;
        }
    }
}

/// Between the cells.
#[derive(Clone)]
pub struct Network {
    /// Which owns it: what is left of a run is freed with it.
    world: Weak<World>,
    faults: Arc<Faults>,
    view: Arc<View>,
}

impl Network {
    pub fn new(world: &Arc<World>, faults: Arc<Faults>) -> Self {
        Self { world: Arc::downgrade(world), faults, view: Arc::new(View::default()) }
    }

    fn world(&self) -> Arc<World> {
        self.world.upgrade().expect("whatever asks runs in it")
    }

    async fn carry<T, F>(
        &self,
        wallet: WalletId,
        deadline: Instant,
        request: impl Fn(Arc<Service>) -> F,
    ) -> Result<T, PeerError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        let lost = || PeerError::Unreachable("lost".into());
        let fate = self.faults.next(true);
        let choice = usize::from(wallet.as_bytes()[7]) + usize::try_from(fate.before.as_micros()).unwrap_or(0);
        let world = self.world();
        let exchange = async {
            sleep(fate.before).await;
            if fate.fault == Fault::Refused {
                return Err(lost());
            }
            if choice.is_multiple_of(5) {
                self.view.advance(&world.placements, choice);
            }
            if let Fault::LandsLater(delay) = fate.fault {
                // A duplicate of the request arrives much later, whatever becomes of this one.
                let cell = world.placements.cell_of(&self.view, wallet);
                let (world, late) = (world.clone(), request(world.service(cell, choice).ok_or_else(lost)?));
                tokio::spawn(async move {
                    sleep(delay).await;
                    drop(late.await);
                    drop(world);
                });
            }
            let answer = world.route(&self.view, wallet, choice, &request).await;
            sleep(fate.after).await;
            match (fate.fault, answer) {
                (Fault::AnswerLost, _) | (_, Err(NoAnswer)) => Err(lost()),
                (_, Ok(Ok(answer))) => Ok(answer),
                (_, Ok(Err(Failure::WalletNotFound(_)))) => Err(PeerError::UnknownWallet),
                (_, Ok(Err(failure))) => Err(PeerError::Unreachable(failure.to_string())),
            }
        };
        timeout_at(deadline, exchange).await.unwrap_or_else(|_| Err(lost()))
    }
}

impl Peers for Network {
    async fn receivable(&self, wallet: WalletId, deadline: Instant) -> Result<Receivable, PeerError> {
        self.carry(wallet, deadline, move |service| async move { service.receivable(wallet).await }).await
    }

    async fn credit(&self, credit: &Credit, deadline: Instant) -> Credited {
        let credit = credit.clone();
        let world = self.world();
        let destination = world.placements.cell_of(&self.view, credit.to_wallet_id);
        let cell = Some(world.cells[destination].id.clone());
        let mistake = world.moves.mistake();
        drop(world);
        let outcome = self.carry(credit.to_wallet_id, deadline, move |service| {
            let credit = credit.clone();
            let context = Context { key: None, audit: Audit::default(), note: Note::default(), deadline };
            async move { service.credit(&credit, context).await }
        });
        let outcome = match (outcome.await, mistake) {
            (Err(PeerError::Unreachable(_)), Mistake::CreditAnsweredFirst) => Ok(CreditOutcome::Received),
            (Err(PeerError::Unreachable(_)), Mistake::RefusalUnrecorded) => {
                Ok(CreditOutcome::Refused { reason: CreditRefusal::WalletFrozen })
            }
            (outcome, _) => outcome,
        };
        Credited { cell, outcome }
    }
}
