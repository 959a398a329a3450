//! How the tasks of an instance learn that it stops.

use tokio::sync::watch;

/// Resolves when `stop` becomes true, or when its sender is gone.
pub async fn stopped(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}
