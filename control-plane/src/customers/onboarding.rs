//! New customers: which cell they get, and the steps by which one gets a cell other than the
//! bucket's home.
//!
//! The order of the steps is what keeps a user from ever having two wallets: the bucket's home cell
//! is denied the wallet first, then the chosen cell is granted it, then the wallet is created, and
//! the pin comes last. Every step may be repeated; a denial that is stored decides where a repeated
//! onboarding goes.

use control_api::{Because, Customer, Onboard, Refusal, WalletView, Where};
use store::dynamodb::DynamoStore;
use store::{Chains, HomeKey, HomeState, Homes};
use topology::placement::{CellState, Pin};
use topology::{CellEntry, CellId, Placement, UserId, WalletId};
use uuid::Uuid;

use crate::cells::fleet::Fleet;
use crate::cells::instances::Answer;
use crate::cells::registry::Record;
use crate::error::{Error, Result, no_placement, refused, unknown_cell};
use crate::placement::placements::Delta;
use restoration::creation_rights::{self, Denied};

/// How often the steps start again because the bucket got another owner meanwhile.
const HOME_CHANGES_MAX: usize = 3;

/// Where a wallet is served, or would be.
pub fn locate(placement: &Placement, wallet: WalletId) -> Result<Where> {
    let cell = entry(placement, wallet)?;
    Ok(Where {
        user_id: None,
        wallet_id: wallet,
        bucket: wallet.bucket().to_string(),
        cell: cell.id.clone(),
        pinned: placement.pins().contains_key(&wallet),
        placement_version: placement.version(),
        instances: cell.instances.clone(),
    })
}

/// A user's cell, and the wallet as the cell shows it.
pub async fn show(fleet: &Fleet, user: &UserId) -> Result<Customer> {
    let now = fleet.placements.refresh().await?.ok_or_else(no_placement)?;
    let wallet = WalletId::for_user(fleet.namespace, user);
    let mut place = locate(&now.placement, wallet)?;
    place.user_id = Some(user.as_str().to_owned());
    match fleet.instances.wallet(entry(&now.placement, wallet)?, wallet).await? {
        Answer::Wallet(wallet) => Ok(Customer { place, wallet: Some(wallet) }),
        Answer::Elsewhere(Some(other)) => {
            let detail = format!("{} says that {other} has it: it is being moved, or was pinned by half", place.cell);
            Err(refused(Refusal::WalletElsewhere, detail))
        }
        Answer::Absent | Answer::Exists | Answer::Elsewhere(None) => Ok(Customer { place, wallet: None }),
    }
}

/// Gives a new user a wallet, in the requested cell or the one that suits best.
pub async fn onboard(fleet: &Fleet, wanted: &Onboard) -> Result<Customer> {
    let user = UserId::parse(wanted.user_id.as_str())?;
    let wallet = WalletId::for_user(fleet.namespace, &user);
    for _ in 0..HOME_CHANGES_MAX {
        let now = fleet.placements.refresh().await?.ok_or_else(no_placement)?;
        let plan = plan(fleet, &now.placement, wallet, wanted).await?;
        let Some(created) = carry_out(fleet, &plan, &user, wallet, &wanted.because).await? else { continue };
        fleet.counts.add_one(&plan.target.id);
        let now = fleet.placements.refresh().await?.ok_or_else(no_placement)?;
        let mut place = locate(&now.placement, wallet)?;
        place.user_id = Some(wanted.user_id.clone());
        return Ok(Customer { place, wallet: Some(created) });
    }
    Err(refused(Refusal::BucketMoving, "try again when the move is done"))
}

struct Plan {
    /// The cell that would create the wallet if nothing were done.
    home: CellEntry,
    target: CellEntry,
    pinned_already: bool,
}

async fn plan(fleet: &Fleet, placement: &Placement, wallet: WalletId, wanted: &Onboard) -> Result<Plan> {
    let asked = wanted.cell.as_ref();
    let owner = entry(placement, wallet)?;
    // A cell without running instances does not stop this: the denial's condition finds a wallet in
    // the home's tables.
    if let Ok(Answer::Wallet(_)) = fleet.instances.wallet(owner, wallet).await {
        return Err(wallet_exists(&owner.id));
    }
    let home = placement.cell(placement.owner_of(wallet.bucket())).expect("a sound placement lists its owners");
    let row = store(fleet, &home.id).await?.home(HomeKey::Wallet(wallet)).await?;
    let begun = match row.map(|row| row.state) {
        Some(HomeState::Moved { to }) if is_removed(placement, &to) => {
            withdraw(fleet, &home.id, &to, wallet).await?;
            None
        }
        Some(HomeState::Moved { to }) => Some(to),
        _ => None,
    };
    let target = match (begun, asked) {
        (Some(begun), Some(asked)) if &begun != asked => {
            let detail =
                format!("an earlier onboarding promised this customer to {begun}: finish it with --cell {begun}");
            return Err(refused(Refusal::OnboardingBegun, detail));
        }
        (Some(begun), _) => placement.cell_named(&begun).ok_or_else(|| unknown_cell(&begun))?,
        (None, Some(asked)) => open_cell(placement.cell_named(asked).ok_or_else(|| unknown_cell(asked))?)?,
        (None, None) => chosen(fleet, placement, owner, wanted.region.as_deref()).await?,
    };
    let pinned_already = placement.pins().get(&wallet) == Some(&target.index);
    Ok(Plan { home: home.clone(), target: target.clone(), pinned_already })
}

fn is_removed(placement: &Placement, cell: &CellId) -> bool {
    placement.cell_named(cell).is_none_or(|cell| cell.state == CellState::Removed)
}

/// The target of an onboarding that was broken off has been removed since: a removed cell never
/// serves again, so the home cell may create the wallet, unless it was created before and is in
/// what is left of the removed cell.
async fn withdraw(fleet: &Fleet, home: &CellId, gone: &CellId, wallet: WalletId) -> Result<()> {
    if let Ok(side) = fleet.side(gone).await
        && let Ok(Some(_)) = side.store.head(wallet).await
    {
        return Err(wallet_exists(gone));
    }
    if !creation_rights::take_over(&store(fleet, home).await?, wallet, gone).await? {
        let detail = format!("{home} has a row of its own for this wallet: look again, then retry");
        return Err(refused(Refusal::WalletNotGrantable, detail));
    }
    Ok(())
}

/// `None`: the bucket got another home meanwhile, plan again.
async fn carry_out(
    fleet: &Fleet,
    plan: &Plan,
    user: &UserId,
    wallet: WalletId,
    because: &Because,
) -> Result<Option<WalletView>> {
    let elsewhere = plan.home.id != plan.target.id;
    if elsewhere {
        if !deny(fleet, plan, wallet).await? {
            return Ok(None);
        }
        let now = fleet.placements.refresh().await?.ok_or_else(no_placement)?;
        if now.placement.owner_of(wallet.bucket()) != plan.home.index {
            return Ok(None);
        }
        if !creation_rights::grant(&store(fleet, &plan.target.id).await?, wallet).await? {
            let detail =
                format!("{} has a row that forbids this wallet: `ctl where` shows where it is", plan.target.id);
            return Err(refused(Refusal::WalletNotGrantable, detail));
        }
    }
    let key = creation_key(wallet, &plan.target.id);
    let actor = fleet.instances.is_believed().then_some(because.actor.as_str());
    let created = match fleet.instances.create_wallet_for(&plan.target, user, wallet, key, actor).await? {
        Answer::Wallet(created) => created,
        // Of a rerun that finds its own wallet: only the pin is missing.
        Answer::Exists if elsewhere && !plan.pinned_already => shown(fleet, &plan.target, wallet).await?,
        Answer::Exists => return Err(wallet_exists(&plan.target.id)),
        Answer::Absent | Answer::Elsewhere(_) => {
            let detail = format!("{} does not take the wallet yet; run the same command again", plan.target.id);
            return Err(refused(Refusal::CellNotReady, detail));
        }
    };
    if elsewhere {
        pin(fleet, wallet, &plan.target, because).await?;
    }
    Ok(Some(created))
}

/// `false`: the bucket is being moved.
async fn deny(fleet: &Fleet, plan: &Plan, wallet: WalletId) -> Result<bool> {
    match creation_rights::deny_while_served(&store(fleet, &plan.home.id).await?, wallet, &plan.target.id).await? {
        Denied::Yes => Ok(true),
        Denied::BucketMoves => Ok(false),
        Denied::AlreadyHasWallet => Err(wallet_exists(&plan.home.id)),
        Denied::OtherRow => {
            let detail = format!("{} has a row of its own for this wallet: look again, then retry", plan.home.id);
            Err(refused(Refusal::WalletNotDeniable, detail))
        }
    }
}

/// Publishes the pin unless it is there.
pub async fn pin(fleet: &Fleet, wallet: WalletId, target: &CellEntry, because: &Because) -> Result<()> {
    let decide = |placement: &Placement| {
        let there = placement.pins().get(&wallet) == Some(&target.index);
        let pins = vec![Pin { wallet, cell: Some(target.index) }];
        Ok((!there).then(|| Delta { pins, ..Delta::default() }))
    };
    fleet.placements.change("customer_pinned", because, decide).await.map(|_| ())
}

/// The bucket's owner, unless it takes no more customers; then the cell with the most room for its weight.
async fn chosen<'a>(
    fleet: &Fleet,
    placement: &'a Placement,
    owner: &'a CellEntry,
    region: Option<&str>,
) -> Result<&'a CellEntry> {
    let records = fleet.registry.all().await?;
    let room = |cell: &CellEntry| -> f64 {
        let Some(Record { spec, .. }) = records.get(&cell.id) else { return 0.0 };
        let free = spec.max_customers.saturating_sub(fleet.counts.of(&cell.id).unwrap_or(0));
        let is_there = region.is_none_or(|region| spec.first_region() == region);
        if is_there && cell.state == CellState::Active { free as f64 } else { 0.0 }
    };
    if room(owner) > 0.0 {
        return Ok(owner);
    }
    // A cell of weight 0 is still better than none.
    let score = |cell: &CellEntry| room(cell) * (f64::from(cell.weight) + f64::MIN_POSITIVE);
    let best = placement.cells().iter().filter(|cell| room(cell) > 0.0).max_by(|a, b| score(a).total_cmp(&score(b)));
    best.ok_or_else(|| refused(Refusal::NoRoom, "add a cell: `ctl cell add`"))
}

fn open_cell(cell: &CellEntry) -> Result<&CellEntry> {
    match cell.state {
        CellState::Active | CellState::Joining => Ok(cell),
        state => {
            let detail = format!("{} is {state:?}: name an active cell, or none", cell.id);
            Err(refused(Refusal::CellNotAccepting, detail))
        }
    }
}

async fn shown(fleet: &Fleet, cell: &CellEntry, wallet: WalletId) -> Result<WalletView> {
    match fleet.instances.wallet(cell, wallet).await? {
        Answer::Wallet(wallet) => Ok(wallet),
        other => Err(Error::Unsound(format!("{} says that wallet {wallet} exists, then {other:?}", cell.id))),
    }
}

async fn store(fleet: &Fleet, cell: &CellId) -> Result<DynamoStore> {
    let record = fleet.registry.get(cell).await?.ok_or_else(|| unknown_cell(cell))?;
    Ok(fleet.store(&record.spec.dynamodb).await)
}

pub fn entry(placement: &Placement, wallet: WalletId) -> Result<&CellEntry> {
    let owner = placement.cell_of(wallet);
    placement.cell(owner).ok_or_else(|| Error::Unsound(format!("cell {owner:?} is not listed")))
}

fn wallet_exists(cell: &CellId) -> Error {
    refused(Refusal::WalletExists, format!("it is in {cell}"))
}

/// The same for every repetition of one onboarding.
fn creation_key(wallet: WalletId, cell: &CellId) -> Uuid {
    Uuid::new_v5(&wallet.as_uuid(), format!("onboard:{cell}").as_bytes())
}
