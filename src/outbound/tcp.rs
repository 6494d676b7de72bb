//! Opaque connections: one endpoint each, bytes both ways.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tracing::debug;

use crate::connect;
use crate::connect::opaque::OneSided;
use crate::discover::backend::Pick;
use crate::discover::{Backend, Destination, Routing};
use crate::error::{Fault, Reason};
use crate::model::DnsName;
use crate::net::Prefixed;
use crate::net::relay::{Broken, relay};
use crate::telemetry::balancers::Use;
use crate::tls::rights;

use super::Outbound;
use super::early::{Early, Upstream};
use super::route::{self, TakenOpaque};
use super::send::pick;

impl Outbound {
    /// Relays one opaque connection to an endpoint of its route's backend: over the `early` one, if it still stands. The
    /// route is that of the `server_name`, where routes have such.
    pub(crate) async fn relay_tcp(
        &self,
        io: &mut (impl AsyncRead + AsyncWrite + Unpin),
        dest: &Destination,
        routing: &Routing,
        server_name: Option<&DnsName>,
        early: Option<Box<Early>>,
    ) -> Result<(), Fault> {
        let taken = match server_name {
            Some(name) => route::tls(routing, name)?, // route
            None => route::opaque(routing)?,
        };
        let used = if server_name.is_some() { Use::Tls } else { Use::Tcp };
        let target = (dest.target.ip(), dest.target.port());
        let connections = &self.metrics.connections;
        let counts = match server_name {
            Some(_) => connections.tls_route(taken.parent, taken.route, target),
            None => connections.opaque_route(taken.parent, taken.route, target),
        };
        counts.open();
        let show = |backend: &&Arc<Backend>| backend.show(&self.metrics, used, taken.parent);
        let carried = carry(io, &taken, || taken.backend().inspect(show), used, early).await;
        counts.close(match &carried {
            Ok(ended) => ended.as_ref().err().map(reason),
            Err(fault) => Some(fault.reason),
        });
        if let Err(broken) = carried? {
            debug!(target = %dest.target, ?broken, "an opaque connection broke");
        }
        Ok(())
    }
}

/// What it means that one side broke.
fn reason(broken: &Broken) -> Reason {
    match broken {
        Broken::Second(error) if error.kind() == io::ErrorKind::TimedOut => Reason::EndpointSilent,
        Broken::First(_) | Broken::Second(_) => Reason::UpstreamBroken,
    }
}

/// Relays a connection to an endpoint of the backend that is chosen, until both sides have ended or one breaks, or the
/// endpoint's host is found dead.
async fn carry<'a>(
    io: &mut (impl AsyncRead + AsyncWrite + Unpin),
    taken: &TakenOpaque<'a>,
    choose: impl Fn() -> Result<&'a Arc<Backend>, Fault>,
    used: Use,
    early: Option<Box<Early>>,
) -> Result<Result<(), Broken>, Fault> {
    let backend = choose()?;
    let early = early.and_then(|early| early.taken()).and_then(|(pick, upstream)| Some((pick?, upstream)));
    let (pick, upstream) = match early {
        Some(early) => early,
        None => connect(backend, taken, choose, used).await?, // balance, connect
    };
    let (held, right) = (pick.client().hold(), upstream.get_ref().get_ref().right().cloned());
    let mut upstream = OneSided::new(upstream, held.clone());
    let ended = tokio::select! {
        biased;
        ended = relay(io, &mut upstream) => Ok(ended), // relay
        () = held.dead() => Err(Reason::EndpointSilent.into()),
        () = rights::closed(right.as_ref()) => Err(Reason::RightEnded.into()),
    };
    pick.abandon();
    ended
}

/// A connection to one endpoint of a backend. An endpoint that cannot be reached costs only the time
/// of the attempt: another is tried until the failfast timeout has passed, of another backend where this one has none.
async fn connect<'a>(
    mut backend: &'a Arc<Backend>,
    taken: &TakenOpaque<'a>,
    choose: impl Fn() -> Result<&'a Arc<Backend>, Fault>,
    used: Use,
) -> Result<(Pick, Upstream), Fault> {
    let deadline = Instant::now() + backend.failfast(used);
    loop {
        if !backend.is_ready() {
            backend = choose()?;
        }
        let mut pick = match backend.pick_at_once(used) {
            Some(pick) => pick,
            // Meanwhile another may have one.
            None => match Box::pin(pick(backend, Some(taken.others(backend)), used, deadline)).await? {
                Some(pick) => pick,
                None => continue,
            },
        };
        match pick.client().stream().await {
            Ok(stream) => {
                pick.reached();
                return Ok((pick, Prefixed::new(stream)));
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
