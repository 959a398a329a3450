//! Why the control plane does not do what it was asked: each refusal with its stable code, in one table.
//!
//! A code never changes its meaning: clients compare refusals, and people see only title and detail.

use std::fmt;

use topology::Problem;

/// One row for each refusal: variant, status, code, title. The faults of the service itself are among them.
macro_rules! refusals {
    ($($refusal:ident, $status:literal, $code:literal, $title:literal;)*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Refusal {
            $($refusal,)*
        }

        impl Refusal {
            pub const ALL: &[Self] = &[$(Self::$refusal,)*];

            const fn row(self) -> (u16, &'static str, &'static str) {
                match self {
                    $(Self::$refusal => ($status, $code, $title),)*
                }
            }
        }
    };
}

refusals! {
    AmbiguousId, 409, "ambiguous_id", "The id may be a wallet's or a user's";
    ArchiveUnavailable, 503, "archive_unavailable", "The archive did not answer";
    BadBecause, 400, "bad_because", "Not a sound actor or reason";
    BadBody, 400, "bad_body", "The body is not what this path takes";
    BadChain, 422, "bad_chain", "Not a sound part of a chain";
    BadFilter, 400, "bad_filter", "Not a filter of logs";
    BadId, 400, "bad_id", "Not a sound id";
    BadLimit, 400, "bad_limit", "A limit out of its range";
    BadMinutes, 400, "bad_minutes", "Not a number of minutes";
    BadQuery, 400, "bad_query", "The query is not what this path takes";
    BadRange, 400, "bad_range", "A range of buckets that ends before it starts";
    BadSeconds, 400, "bad_seconds", "Not a sound number of seconds";
    BadText, 400, "bad_text", "A text is too long or has control characters";
    BadWait, 400, "bad_wait", "Not a number of seconds";
    BucketMoving, 503, "bucket_moving", "The customer's bucket is being moved";
    CellCollides, 409, "cell_collides", "Another cell has that already";
    CellExists, 409, "cell_exists", "There is a cell of this name";
    CellNotAccepting, 409, "cell_not_accepting", "The cell takes no new customers";
    CellNotEmpty, 409, "cell_not_empty", "The cell is not empty";
    CellNotReady, 503, "cell_not_ready", "The cell does not know of the customer yet";
    CellRefused, 502, "cell_refused", "The cell refused";
    CellRemoved, 409, "cell_removed", "The cell was removed";
    CellRunning, 409, "cell_running", "The cell is running";
    CellState, 409, "cell_state", "The cell is not in a state for that";
    CellTablesUnavailable, 503, "cell_tables_unavailable", "A cell's tables could not be read";
    CellUnavailable, 503, "cell_unavailable", "The cell did not answer";
    ChangeTooLarge, 422, "change_too_large", "The change is too large for one version";
    DeployState, 409, "deploy_state", "The deploy is not in a state for that";
    DeployTooLarge, 422, "deploy_too_large", "Too many instances for one deploy";
    DeployUnderWay, 409, "deploy_under_way", "Another deploy is under way";
    FormExpired, 403, "form_expired", "The form is not of this session";
    GenesisDiffers, 409, "genesis_differs", "The cell's tables belong to another placement";
    HalfRead, 409, "half_read", "The cell's archive was read in part";
    HeadroomLacking, 409, "headroom_lacking", "The other cells lack room for the customers";
    InstanceSilent, 409, "instance_silent", "An instance is not there";
    InternalError, 500, "internal_error", "The request met a fault of the control plane";
    NoArchive, 409, "no_archive", "This control plane knows no archive";
    NoChain, 404, "no_chain", "There is no such chain";
    NoCheckpointKey, 409, "no_checkpoint_key", "No key to verify this cell's checkpoints with";
    NoPlacement, 404, "no_placement", "No placement has been published yet";
    NoReceiver, 409, "no_receiver", "There is no cell to receive the customers";
    NoReplacer, 422, "no_replacer", "Nothing replaces instances here";
    NoRestore, 409, "no_restore", "The cell is not being restored";
    NoRoom, 503, "no_room", "No cell takes new customers";
    NoRouters, 422, "no_routers", "This control plane knows no routers";
    NoSuchInstance, 404, "no_such_instance", "There is no such instance";
    NoWeight, 422, "no_weight", "No cell has a weight";
    NoStandby, 409, "no_standby", "The cell has no standby in that Region";
    NobodyNamed, 400, "nobody_named", "No process is named";
    NotAMove, 422, "not_a_move", "The operation moved no wallets";
    NotConfirmed, 422, "not_confirmed", "The name was not typed";
    NotEmpty, 409, "not_empty", "The cell's tables are not empty";
    NotFound, 404, "not_found", "No such path";
    NotTheNewest, 409, "not_the_newest", "A newer deploy has changed what runs";
    NotVerifiable, 503, "not_verifiable", "A cell's tables could not be read";
    NothingToDeploy, 409, "nothing_to_deploy", "There is nothing to deploy";
    OnboardingBegun, 409, "onboarding_begun", "The customer was promised to another cell";
    OperationChanged, 409, "operation_changed", "The operation was changed meanwhile";
    OperationForgotten, 409, "operation_forgotten", "The source has forgotten";
    OperationNotOver, 409, "operation_not_over", "The operation is not over";
    OperationOverlaps, 409, "operation_overlaps", "Another operation is in the way";
    OperationState, 409, "operation_state", "The operation is not in a state for that";
    OperationUnderWay, 409, "operation_under_way", "An operation is under way";
    PlanStale, 409, "plan_stale", "The plan has changed";
    ReasonNeeded, 422, "reason_needed", "A reason is needed";
    Refused, 409, "refused", "Refused";
    StillBaking, 409, "still_baking", "The move is too young to be forgotten";
    StorageUnavailable, 503, "storage_unavailable", "The tables did not answer";
    TooManyCells, 422, "too_many_cells", "No further cell";
    TooManyChanges, 503, "too_many_changes", "Other changes kept coming first";
    TooManyFollowers, 503, "too_many_followers", "Too many follow this page";
    TooManyOperations, 409, "too_many_operations", "Too many operations are under way";
    TooManyPins, 422, "too_many_pins", "Too many pinned wallets";
    TryAgain, 503, "try_again", "Another request came first";
    UnknownAction, 404, "unknown_action", "Nothing to do";
    UnknownCell, 404, "unknown_cell", "No such cell";
    UnknownDeploy, 404, "unknown_deploy", "No such deploy";
    UnknownField, 400, "unknown_field", "The body has an unknown field";
    UnknownOperation, 404, "unknown_operation", "No such operation";
    UnknownWallet, 404, "unknown_wallet", "No such wallet";
    UnknownZone, 404, "unknown_zone", "No such zone";
    UnreadableAnswer, 502, "unreadable_answer", "It is not known whether it was done";
    UnsoundChange, 409, "unsound_change", "The change would make an unsound placement";
    UnsoundData, 500, "unsound_data", "Stored data is unsound";
    UnsupportedMediaType, 415, "unsupported_media_type", "The body has to be application/json";
    WalletElsewhere, 409, "wallet_elsewhere", "The wallet is not where the placement says";
    WalletExists, 409, "wallet_exists", "The user has a wallet";
    WalletNotDeniable, 409, "wallet_not_deniable", "Another request decided on this customer";
    WalletNotGrantable, 409, "wallet_not_grantable", "The cell cannot take this customer";
    ZoneCapacity, 422, "zone_capacity", "Too little would stay";
}

impl Refusal {
    pub fn code(self) -> &'static str {
        self.row().1
    }

    /// The refusal with this code, as a client reads it from an answer.
    pub fn of_code(code: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|refusal| refusal.code() == code)
    }

    /// `detail` says what was wrong with which value, and what to do.
    pub fn detail(self, detail: impl Into<String>) -> Refused {
        let (status, _, title) = self.row();
        Refused { refusal: self, status, title, detail: detail.into() }
    }
}

/// A refusal of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub refusal: Refusal,
    status: u16,
    title: &'static str,
    pub detail: String,
}

impl Refused {
    /// The same refusal, of something that its usual title does not fit.
    pub fn titled(self, title: &'static str) -> Self {
        Self { title, ..self }
    }

    pub fn status(self, status: u16) -> Self {
        Self { status, ..self }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.refusal.code(), self.detail)
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        Problem::new(refused.status, refused.refusal.code(), refused.title).detail(refused.detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_names_one_refusal() {
        for &refusal in Refusal::ALL {
            assert_eq!(Refusal::of_code(refusal.code()), Some(refusal), "two have the code {}", refusal.code());
        }
    }

    #[test]
    fn a_refusal_is_an_error_with_code_and_title() {
        for &refusal in Refusal::ALL {
            let (status, code, title) = refusal.row();
            assert!((400..600).contains(&status), "{code}");
            assert!(code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') && !title.is_empty(), "{code}");
        }
    }
}
