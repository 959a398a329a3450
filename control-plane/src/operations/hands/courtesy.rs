//! Asks the source's instances to hold a wallet's writes for the moment of its cutover, so that the mover need not
//! race with them. Whoever does not answer at once is moved without.

use std::time::Duration;

use topology::WalletId;
use topology::placement::InstanceEntry;
use topology::wire::path::{HOLD, INTERNAL_WALLETS, RELEASE};

use crate::mover::Holds;

/// An instance that does not answer within this is not waited for.
const ANSWER_MAX: Duration = Duration::from_millis(100);

pub struct Courtesy {
    http: reqwest::Client,
    instances: Vec<InstanceEntry>,
}

impl Courtesy {
    pub fn new(http: reqwest::Client, instances: Vec<InstanceEntry>) -> Self {
        Self { http, instances }
    }

    /// All instances at once; their answers do not matter.
    async fn tell(&self, wallet: WalletId, what: &str) {
        let mut told = tokio::task::JoinSet::new();
        for instance in &self.instances {
            let url = format!("http://{}{INTERNAL_WALLETS}{wallet}{what}", instance.address);
            told.spawn(self.http.post(url).timeout(ANSWER_MAX).send());
        }
        while told.join_next().await.is_some() {}
    }
}

impl Holds for Courtesy {
    async fn hold(&self, wallet: WalletId) {
        self.tell(wallet, HOLD).await;
    }

    async fn release(&self, wallet: WalletId) {
        self.tell(wallet, RELEASE).await;
    }
}
