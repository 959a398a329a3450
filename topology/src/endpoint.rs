//! Every endpoint of a cell: one row each, with all that method and path decide. Cells build their routes from the table;
//! the router, the policy, admission and every caller read it, so that they cannot disagree.
//!
//! It must never know a handler, a body or an answer. The pages of a process (`/livez`, `/metrics`, …) are not in it: no
//! request for one is admitted or forwarded.

mod pattern;

use uuid::Uuid;

use crate::ids::WalletId;
use crate::role::Duty;
use crate::wire::{BATCH_BODY_MAX_BYTES, BODY_MAX_BYTES};
use pattern::{Pattern, Section};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    Get,
    Post,
}

/// The processes that an endpoint is for, and how they reach it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Callers {
    /// Clients, through the router's public address.
    Clients,
    /// Cells, through the router's internal address.
    Cells,
    /// The control plane, which asks the processes of a cell itself.
    Operators,
}

/// Kinds of requests that do not take places of a cell from one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Changes one wallet's balance.
    Movement,
    /// Concerns other wallets too, and may wait for another cell.
    Transfers,
    /// Creates wallets and changes their state.
    Accounts,
    /// Shows one wallet or transfer.
    Reads,
    /// Goes through a wallet's past: many reads in one.
    History,
    /// Asked by other cells and by the control plane.
    Internal,
}

/// What a request is routed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The wallet id in the path.
    Path,
    /// `userId` of the query.
    UserInQuery,
    /// `userId` of the body.
    UserInBody,
    /// `X-Wallet-Id`, or `fromWalletId` of the body.
    PayerInBody,
    /// `cell` of the query.
    CellInQuery,
    /// Nothing: each process answers for itself, and no router forwards it.
    Nothing,
}

/// Which process refuses the methods that a path does not take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Methods {
    /// The router, `HEAD` too.
    Fixed,
    /// The cell: one of a later version may take more.
    Open,
}

struct Row {
    method: Method,
    template: &'static str,
    below: Pattern,
    callers: Callers,
    duty: Duty,
    class: Class,
    by: By,
    methods: Methods,
}

macro_rules! table {
    ($($callers:ident $prefix:literal {
        $($name:ident $method:ident $below:literal $duty:ident $class:ident $by:ident $methods:ident)*
    })*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Endpoint { $($($name,)*)* }

        impl Endpoint {
            pub const ALL: &[Self] = &[$($(Self::$name,)*)*];
        }

        static ROWS: [Row; Endpoint::ALL.len()] = [$($(Row {
            method: Method::$method,
            template: concat!($prefix, $below),
            below: Pattern::of($below),
            callers: Callers::$callers,
            duty: Duty::$duty,
            class: Class::$class,
            by: By::$by,
            methods: Methods::$methods,
        },)*)*];

        static SECTIONS: &[Section] = &[$(Section::new($prefix, &[$(Endpoint::$name,)*]),)*];
    };
}

// Below a prefix: literal text with at most one more id. The sections and rows that are asked for most are
// first. Endpoints with the same path are together, have the same duty, and leave other methods to the same process.
table! {
    Clients "/api/v1/wallets/{id}" {
        Show             Get  ""                                    Transactions Reads     Path        Fixed
        Deposit          Post "/deposit"                            Transactions Movement  Path        Fixed
        Withdraw         Post "/withdraw"                           Transactions Movement  Path        Fixed
        ListTransactions Get  "/transactions"                       Transactions History   Path        Fixed
        ShowAt           Get  "/balance/historical"                 Transactions History   Path        Fixed
        ShowTransfer     Get  "/transfers/{transfer}"               Transactions Reads     Path        Fixed
        PlaceHold        Post "/holds"                              Transactions Movement  Path        Open
        ListHolds        Get  "/holds"                              Transactions Reads     Path        Open
        CaptureHold      Post "/holds/{hold}/capture"               Transactions Movement  Path        Open
        VoidHold         Post "/holds/{hold}/void"                  Transactions Movement  Path        Open
        Reverse          Post "/transactions/{transaction}/reverse" Transactions Transfers Path        Open
        RunBatch         Post "/transactions:batch"                 Transactions Movement  Path        Open
        PayBatch         Post "/transfers:batch"                    Transactions Transfers Path        Open
        Statement        Get  "/statement"                          Transactions History   Path        Open
        Proof            Get  "/proof"                              Transactions Reads     Path        Open
    }
    Clients "/api/v1" {
        Transfer         Post "/wallets/transfer"                   Transactions Transfers PayerInBody Fixed
        Create           Post "/wallets"                            Accounts     Accounts  UserInBody  Fixed
        Find             Get  "/wallets"                            Accounts     Reads     UserInQuery Fixed
        Events           Get  "/events"                             Transactions History   CellInQuery Fixed
    }
    Cells "/internal/v1/wallets/{id}" {
        Receivable       Get  "/receivable"                         Transactions Internal  Path        Open
        Credit           Post "/credits"                            Transactions Internal  Path        Open
    }
    Operators "/internal/v1/wallets/{id}" {
        HoldWrites       Post "/hold"                               Every        Internal  Path        Open
        ReleaseWrites    Post "/release"                            Every        Internal  Path        Open
        Deliver          Post "/transfers/{transfer}/deliver"       Transactions Internal  Path        Open
        Freeze           Post "/freeze"                             Accounts     Internal  Path        Open
        Unfreeze         Post "/unfreeze"                           Accounts     Internal  Path        Open
        Close            Post "/close"                              Accounts     Internal  Path        Open
        Erase            Post "/erase"                              Accounts     Internal  Path        Open
    }
    Operators "/internal/v1" {
        HotWallets       Get  "/hot-wallets"                        Transactions Reads     Nothing     Open
        Findings         Get  "/integrity/findings"                 Transactions Reads     Nothing     Open
    }
}

impl Method {
    /// `HEAD` asks for what `GET` shows.
    pub fn of(name: &str) -> Option<Self> {
        match name {
            "GET" | "HEAD" => Some(Self::Get),
            "POST" => Some(Self::Post),
            _ => None,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
        }
    }
}

impl Callers {
    /// What comes before the wallet id in a path of theirs, known or not.
    pub const fn wallets(self) -> &'static str {
        match self {
            Self::Clients => "/api/v1/wallets/",
            Self::Cells | Self::Operators => "/internal/v1/wallets/",
        }
    }
}

impl Class {
    pub const ALL: [Self; 6] =
        [Self::Movement, Self::Transfers, Self::Accounts, Self::Reads, Self::History, Self::Internal];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Movement => "movement",
            Self::Transfers => "transfers",
            Self::Accounts => "accounts",
            Self::Reads => "reads",
            Self::History => "history",
            Self::Internal => "internal",
        }
    }
}

impl Endpoint {
    /// The first endpoint with this path, whatever its method; see [`Self::taking`]. The text in the place of a wallet
    /// id has its length, and is not looked at.
    pub fn at(path: &str) -> Option<Self> {
        let path = path.as_bytes();
        SECTIONS.iter().find_map(|section| {
            let below = section.below(path)?;
            section.endpoints.iter().copied().find(|endpoint| endpoint.row().below.fits(below))
        })
    }

    /// The same, by the template of the path.
    pub fn of_template(template: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|endpoint| endpoint.template() == template)
    }

    /// The endpoint with the same path that takes this method.
    pub fn taking(self, method: Method) -> Option<Self> {
        let takes = |other: &Self| other.method() == method && other.template() == self.template();
        Some(self).filter(takes).or_else(|| Self::ALL.iter().copied().find(takes))
    }

    fn row(self) -> &'static Row {
        &ROWS[self as usize]
    }

    pub fn method(self) -> Method {
        self.row().method
    }

    pub fn template(self) -> &'static str {
        self.row().template
    }

    pub fn callers(self) -> Callers {
        self.row().callers
    }

    pub fn duty(self) -> Duty {
        self.row().duty
    }

    pub fn class(self) -> Class {
        self.row().class
    }

    pub fn by(self) -> By {
        self.row().by
    }

    pub fn methods(self) -> Methods {
        self.row().methods
    }

    /// Whether one request is for many operations, so that its body is larger: its template says so.
    pub fn is_batch(self) -> bool {
        self.template().ends_with(":batch")
    }

    pub fn body_max_bytes(self) -> usize {
        if self.is_batch() { BATCH_BODY_MAX_BYTES } else { BODY_MAX_BYTES }
    }

    /// The path, with these ids in the places of the template.
    ///
    /// # Panics
    ///
    /// If there are fewer ids than places.
    pub fn path(self, ids: &[Uuid]) -> String {
        let mut ids = ids.iter();
        let mut path = String::with_capacity(128);
        for part in self.template().split_inclusive(['{', '}']) {
            match part.strip_suffix('}') {
                Some(_) => path += &ids.next().expect("an id for each place").to_string(),
                None => path += part.trim_end_matches('{'),
            }
        }
        path
    }

    pub fn of_wallet(self, wallet: WalletId) -> String {
        self.path(&[wallet.as_uuid()])
    }
}

#[cfg(test)]
mod tests;
