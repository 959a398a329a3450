//! Takes an avoided zone again when its time is over, also while no control plane can be asked: the placement says until
//! when. It must never put back a placement that was replaced meanwhile.

use std::sync::Arc;

use crate::limits;
use crate::routes::{Routes, SharedRoutes};
use crate::wall_clock::now_s;

/// Looks for ever. Ends only by being dropped.
pub async fn keep_current(routes: SharedRoutes) {
    let mut ticks = tokio::time::interval(limits::ZONES_PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = routes.load();
        let Some(next) = now.as_ref().and_then(|now| now.at(now_s())) else { continue };
        tracing::info!(version = next.placement.version(), "the time of an avoided zone is over");
        let next: Option<Arc<Routes>> = Some(Arc::new(next));
        routes.compare_and_swap(&*now, next);
    }
}
