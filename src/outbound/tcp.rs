//! Opaque connections: one endpoint each, bytes both ways.

use tokio::net::TcpStream;
use tokio::time::Instant;
use tracing::debug;

use crate::connect;
use crate::discover::backend::Pick;
use crate::discover::{Backend, Destination, Routing};
use crate::error::Fault;
use crate::net::Prefixed;
use crate::net::relay::relay;
use crate::telemetry::transport::Metered;
use crate::tls::Stream;

use super::{Outbound, route};

impl Outbound {
    /// Relays one opaque connection to an endpoint of its route's backend.
    pub(super) async fn relay_tcp(
        &self,
        io: Prefixed<TcpStream>,
        dest: &Destination,
        routing: &Routing,
    ) -> Result<(), Fault> {
        let transport = self.metrics.transport.accept_outbound(dest.target);
        let mut io = Metered::new(io, transport.open());
        let taken = route::opaque(routing)?; // route
        let backend = taken.backend()?;
        let (pick, mut upstream) = connect(backend).await?; // balance, connect
        let ended = relay(&mut io, &mut upstream).await; // relay
        pick.abandon();
        if let Err(broken) = ended {
            debug!(target = %dest.target, ?broken, "an opaque connection broke");
        }
        Ok(())
    }
}

/// A connection to one endpoint of a backend. An endpoint that cannot be reached costs only the time
/// of the attempt: another is tried until the failfast timeout has passed.
async fn connect(backend: &Backend) -> Result<(Pick, Metered<Stream>), Fault> {
    let deadline = Instant::now() + backend.failfast();
    loop {
        let mut pick = backend.pick(deadline).await?;
        match pick.client().stream().await {
            Ok(stream) => {
                pick.reached();
                return Ok((pick, stream));
            }
            Err(error) => give_up_or_retry(pick, error, deadline)?,
        }
    }
}

/// Marks an endpoint as unreachable. `Ok` where another may be tried.
pub(super) fn give_up_or_retry(pick: Pick, error: connect::Error, deadline: Instant) -> Result<(), Fault> {
    debug!(%error, "an endpoint cannot be reached");
    let again = pick.unreachable() && error.reason().row().retry && Instant::now() < deadline;
    if again { Ok(()) } else { Err(error.into()) }
}
