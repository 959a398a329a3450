//! Instances of a local fleet: the running `ctl up` is asked, through its socket.

use std::path::PathBuf;
use std::time::Duration;

use command_line::{Failure, PRECONDITION};
use local_fleet::socket::{self, Request};
use local_fleet::supervisor::View;

use super::{Order, Replaced, Replacer, Trouble};

/// Draining, starting and becoming ready, with the patience of each.
const PATIENCE: Duration = Duration::from_secs(60);

/// The fleet in this directory.
pub struct Local(pub PathBuf);

impl Replacer for Local {
    fn replace<'a>(&'a self, order: &'a Order) -> Replaced<'a> {
        Box::pin(async move {
            let request = Request::Replace {
                name: order.instance.to_string(),
                version: order.version.clone(),
                order: Some(order.number),
            };
            match tokio::time::timeout(PATIENCE, socket::ask::<Vec<View>>(&self.0, &request)).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => {
                    let why = format!("{error:#}");
                    // Only an answer of the fleet itself is about the version; else the fleet was
                    // not there, or went away.
                    match error.downcast_ref::<Failure>() {
                        Some(failure) if failure.code != PRECONDITION => Err(Trouble::Fatal(why)),
                        _ => Err(Trouble::Later(why)),
                    }
                }
                Err(_) => Err(Trouble::Later(format!("no answer of the fleet in {} s", PATIENCE.as_secs()))),
            }
        })
    }
}
