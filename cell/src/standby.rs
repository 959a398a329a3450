//! A process in a Region that does not serve its cell: it waits, and says so.

use std::net::SocketAddr;

use access::tls::Server;
use anyhow::Result;
use axum::Router;
use cell::http::serve;
use cell::region::{Region, Standing};
use store::dynamodb::DynamoStore;
use tokio::sync::watch;

use super::{PATIENCE, bind};

pub struct Standby<'a> {
    pub region: &'a Region,
    pub store: &'a DynamoStore,
    pub server: Option<Server>,
    pub listen: SocketAddr,
    pub descriptors: usize,
}

impl Standby<'_> {
    /// Answers with these routes until the Region serves; how often that has changed.
    pub async fn wait(self, routes: Router) -> Result<u64> {
        let Self { region, store, server, listen, descriptors } = self;
        if let Ok(Standing::Home { epoch }) = region.look(store).await {
            return Ok(epoch);
        }
        let (stopper, stop) = watch::channel(false);
        let serving = serve(bind(listen).await?, server, routes, stop, PATIENCE, descriptors);
        let ((), epoch) = tokio::join!(serving, async {
            let epoch = region.home(store).await;
            stopper.send_replace(true);
            epoch
        });
        Ok(epoch)
    }
}
