//! A process in a Region that does not serve its cell: it waits, and says so.

use std::net::SocketAddr;

use access::tls::Server;
use anyhow::Result;
use axum::Router;
use cell::http::serve;
use cell::region::{Region, Standing};
use store::dynamodb::DynamoStore;
use tokio::sync::watch;

use super::{PATIENCE, bind, stop_on_signal};

pub struct Standby<'a> {
    pub region: &'a Region,
    pub store: &'a DynamoStore,
    pub server: Option<Server>,
    pub listen: SocketAddr,
    pub descriptors: usize,
}

impl Standby<'_> {
    /// Answers with these routes until the Region serves; how often that has changed. `None`: a signal came first.
    pub async fn wait(self, routes: Router) -> Result<Option<u64>> {
        let Self { region, store, server, listen, descriptors } = self;
        if let Ok(Standing::Home { epoch }) = region.look(store).await {
            return Ok(Some(epoch));
        }
        let (stopper, stop) = watch::channel(false);
        let listener = bind(listen).await?;
        let signals = tokio::spawn(stop_on_signal(stopper.clone()));
        let serving = serve(listener, server, routes, stop.clone(), PATIENCE, descriptors);
        tokio::pin!(serving);
        let home = tokio::select! {
            () = &mut serving => None,
            epoch = region.home(store) => Some(epoch),
        };
        if home.is_some() {
            stopper.send_replace(true);
            serving.await;
        }
        signals.abort();
        Ok(home)
    }
}
