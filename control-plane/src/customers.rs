//! Customers: where one is, how a new one gets a wallet, and an operator's changes to one wallet.

pub mod onboarding;
pub mod owners;
pub mod wallet_status;
pub mod whereabouts;
