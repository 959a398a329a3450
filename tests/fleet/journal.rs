//! The requests of clients and the answers they got: the other side of the books.

use ledger::Money;
use reconciliation::Reported;
use sha2::{Digest, Sha256};
use topology::WalletId;
use uuid::Uuid;

use super::client::{Answer, Call};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Deposit {
        wallet: WalletId,
        amount: Money,
    },
    Withdraw {
        wallet: WalletId,
        amount: Money,
    },
    Transfer {
        from: WalletId,
        to: WalletId,
        amount: Money,
    },
    Hold {
        wallet: WalletId,
        amount: Money,
    },
    Capture {
        wallet: WalletId,
        hold: Uuid,
    },
    Reverse {
        wallet: WalletId,
        transaction: Uuid,
    },
    /// A deposit and a withdrawal, each for itself.
    Batch {
        wallet: WalletId,
        deposit: Money,
        withdrawal: Money,
    },
}

/// One operation of a client, under a key that no other one has.
#[derive(Debug, Clone)]
pub struct Request {
    pub what: What,
    pub key: String,
    pub reported: Reported,
}

impl Request {
    pub fn new(what: What, key: impl Into<String>) -> Self {
        Self { what, key: key.into(), reported: Reported::Unknown("no_answer".into()) }
    }

    pub fn call(&self) -> Call {
        let call = match self.what {
            What::Deposit { wallet, amount } => Call::deposit(wallet, &amount.to_string()),
            What::Withdraw { wallet, amount } => Call::withdraw(wallet, &amount.to_string()),
            What::Transfer { from, to, amount } => Call::transfer(from, to, &amount.to_string()),
            What::Hold { wallet, amount } => {
                Call::post(format!("/api/v1/wallets/{wallet}/holds"), format!(r#"{{"amount":{amount}}}"#))
            }
            What::Capture { wallet, hold } => {
                Call::post(format!("/api/v1/wallets/{wallet}/holds/{hold}/capture"), "{}")
            }
            What::Reverse { wallet, transaction } => {
                let path = format!("/api/v1/wallets/{wallet}/transactions/{transaction}/reverse");
                Call::post(path, "").without("content-type")
            }
            What::Batch { wallet, deposit, withdrawal } => {
                let operations =
                    format!(r#"{{"type":"deposit","amount":{deposit}}},{{"type":"withdraw","amount":{withdrawal}}}"#);
                let body = format!(r#"{{"mode":"independent","operations":[{operations}]}}"#);
                Call::post(format!("/api/v1/wallets/{wallet}/transactions:batch"), body)
            }
        };
        call.key(&self.key)
    }

    pub fn answered(mut self, answer: &Answer) -> Self {
        self.reported = if answer.is_success() {
            let transfer = matches!(self.what, What::Transfer { .. })
                .then(|| Uuid::parse_str(&answer.string("transferId")).expect("a transfer id"));
            Reported::Done(transfer)
        } else {
            match answer.code() {
                code if code == "transfer_returned" => Reported::Returned,
                code => Reported::Refused(code.into()),
            }
        };
        self
    }

    /// The wallet with the key in its chain.
    pub fn payer(&self) -> WalletId {
        match self.what {
            What::Deposit { wallet, .. }
            | What::Withdraw { wallet, .. }
            | What::Hold { wallet, .. }
            | What::Capture { wallet, .. }
            | What::Reverse { wallet, .. }
            | What::Batch { wallet, .. } => wallet,
            What::Transfer { from, .. } => from,
        }
    }

    /// The key as entries hold it: half of its SHA-256.
    pub fn key_hash(&self) -> [u8; 16] {
        let digest: [u8; 32] = Sha256::digest(self.key.as_bytes()).into();
        let mut half = [0; 16];
        half.copy_from_slice(&digest[..16]);
        half
    }
}
