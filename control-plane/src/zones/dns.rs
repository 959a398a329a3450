//! Route 53 follows the placement: a zone that is left gets its health check inverted, so that no
//! client learns the addresses of its routers; a zone that is taken again gets it put back.
//!
//! A zone's health check here is one that is always healthy by itself (calculated, of no others): inverting it says "not
//! here" whatever the zone's own checks say. It must never be a check that looks at the zone: inverted, a zone that has
//! really failed would be healthy.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};
use aws_sdk_route53::Client;
use aws_sdk_route53::config::retry::RetryConfig;
use aws_sdk_route53::config::timeout::TimeoutConfig;
use aws_sdk_route53::error::DisplayErrorContext;
use clap::Args;
use control_api::zones::Dns as State;
use store::dynamodb::{Connection, shared_config};
use tokio::sync::Notify;
use topology::ZoneId;

use super::Zones;
use crate::clock::now_s;

/// How often Route 53 is compared with the placement unless a change asked for it first.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// The same, while it is not as it should be.
const RETRY_EVERY: Duration = Duration::from_secs(2);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
const OPERATION_TIMEOUT: Duration = Duration::from_secs(15);
const ATTEMPTS_MAX: u32 = 3;
const OUT_OF_STEP: &str = "control_plane_zones_out_of_step";
/// Route 53 is one service for all regions, reached in this one.
const REGION: &str = "us-east-1";

#[derive(Debug, Clone, Default, Args)]
pub struct DnsFlags {
    /// Health check of each zone, which says whether clients get its routers' addresses:
    /// `zone=id,zone=id`. Each is one that is healthy by itself and watches nothing.
    #[arg(long, global = true, env = "CONTROL_PLANE_ROUTE53_HEALTH_CHECKS", value_delimiter = ',')]
    pub route53_health_checks: Vec<String>,
    /// Replaces the endpoint of Route 53.
    #[arg(long, global = true, env = "CONTROL_PLANE_ROUTE53_ENDPOINT")]
    pub route53_endpoint: Option<String>,
}

pub struct Dns {
    client: Client,
    checks: BTreeMap<ZoneId, String>,
    states: Mutex<BTreeMap<ZoneId, State>>,
    asked: Notify,
}

impl Dns {
    /// `None`: no health check is configured. `role`: the rights that are used, where Route 53 is
    /// another account's.
    pub async fn of(flags: &DnsFlags, role: Option<String>) -> anyhow::Result<Option<Self>> {
        let mut checks = BTreeMap::new();
        for one in &flags.route53_health_checks {
            let (zone, id) = one.split_once('=').with_context(|| format!("{one:?} is not zone=id"))?;
            ensure!(!id.is_empty() && id.len() <= 64, "{one:?} names no health check");
            ensure!(checks.insert(ZoneId::parse(zone)?, id.to_owned()).is_none(), "{zone} is named twice");
        }
        if checks.is_empty() {
            return Ok(None);
        }
        let connection = Connection { endpoint: flags.route53_endpoint.clone(), region: REGION.to_owned(), role };
        let timeouts = TimeoutConfig::builder()
            .operation_attempt_timeout(ATTEMPT_TIMEOUT)
            .operation_timeout(OPERATION_TIMEOUT)
            .build();
        let config = aws_sdk_route53::config::Builder::from(&shared_config(&connection).await)
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS_MAX))
            .timeout_config(timeouts);
        let states = checks.keys().map(|zone| (zone.clone(), State::Unknown)).collect();
        let client = Client::from_conf(config.build());
        Ok(Some(Self { client, checks, states: Mutex::new(states), asked: Notify::new() }))
    }

    pub fn state_of(&self, zone: &ZoneId) -> Option<State> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner).get(zone).cloned()
    }

    /// Looks now, while no request waits for it.
    pub fn look_soon(&self) {
        self.asked.notify_one();
    }

    /// Makes each health check say what `left` says of its zone; whether all do.
    async fn follow(&self, left: &[ZoneId]) -> bool {
        let mut failing = 0_u32;
        for (zone, check) in &self.checks {
            let wanted = left.contains(zone);
            let state = match self.set(check, wanted).await {
                Ok(()) if wanted => State::Left,
                Ok(()) => State::Answers,
                Err(why) => {
                    tracing::warn!(%zone, check, why, "Route 53 is not as it should be; trying again");
                    State::Failing { why }
                }
            };
            let is_sound = !matches!(state, State::Failing { .. });
            failing += u32::from(!is_sound);
            self.states.lock().unwrap_or_else(PoisonError::into_inner).insert(zone.clone(), state);
        }
        metrics::gauge!(OUT_OF_STEP).set(f64::from(failing));
        failing == 0
    }

    /// Reads first: repeated without end it must change nothing that is right already.
    async fn set(&self, check: &str, inverted: bool) -> Result<(), String> {
        let got = self.client.get_health_check().health_check_id(check).send().await;
        let got = got.map_err(|error| DisplayErrorContext(error).to_string())?;
        let config =
            got.health_check().and_then(|check| check.health_check_config()).ok_or("it has no configuration")?;
        if config.inverted().unwrap_or(false) == inverted {
            return Ok(());
        }
        let update = self.client.update_health_check().health_check_id(check).inverted(inverted).send().await;
        update.map(|_| ()).map_err(|error| DisplayErrorContext(error).to_string())
    }
}

/// Keeps Route 53 in step with the placement, for ever. Its only input is the placement, so that any number of control
/// planes may do the same at once, and one that dies leaves nothing half done.
pub async fn keep_in_step(zones: &Zones) {
    metrics::gauge!(OUT_OF_STEP).set(0.0);
    let Some(dns) = &zones.dns else { return std::future::pending().await };
    loop {
        let known = zones.fleet.placements.known();
        let in_step = match known {
            Some(known) => dns.follow(&super::left(&known.placement, now_s())).await,
            None => false,
        };
        let pause = if in_step { LOOK_EVERY } else { RETRY_EVERY };
        let next_end = zones.fleet.placements.known().and_then(|known| super::next_end(&known.placement, now_s()));
        let pause = next_end.map_or(pause, |seconds| pause.min(Duration::from_secs(seconds)));
        let _ = tokio::time::timeout(pause, dns.asked.notified()).await;
    }
}
