//! Requests that wait for a connection to the application (contract 4.6).

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::config::Queue;
use crate::connect::Client;
use crate::connect::client::{Carry, Ready};
use crate::error::{Fault, Reason};

/// Bounds how many wait, of all ports, and for how long.
pub struct Waiting {
    failfast: Duration,
    places: Semaphore,
}

impl Waiting {
    pub fn new(queue: Queue) -> Self {
        let places = Semaphore::new(queue.capacity.min(Semaphore::MAX_PERMITS));
        Self { failfast: queue.failfast, places }
    }

    /// A connection that takes a request: at once where one is idle.
    ///
    /// # Errors
    /// Too many wait already, or it took too long, or the application cannot be reached.
    pub(super) async fn ready<'a>(&self, app: &'a Arc<Client>, carry: Carry) -> Result<Ready<'a>, Fault> {
        let mut ready = std::pin::pin!(app.ready(carry));
        if let Some(ready) = ready.as_mut().now_or_never() {
            return Ok(ready?);
        }
        let _place = self.places.try_acquire().map_err(|_| Reason::LoadShed)?;
        Ok(timeout(self.failfast, ready).await.map_err(|_| Reason::FailFast)??)
    }
}
