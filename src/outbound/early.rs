//! Servers that speak first on ports of which nothing is declared.
//!
//! A client that is silent may be waiting for the server, as MySQL's and SMTP's do. After a while one endpoint is
//! connected to as an opaque one would be. If it speaks, that was the answer, and its bytes are the client's at once. If
//! the client speaks, detection goes on as if nothing had happened, and the connection is used only if the client turns
//! out to be opaque. That the server closes or refuses it says nothing of the client.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::io::AsyncRead;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::debug;

use crate::connect::client::Tentative;
use crate::detect;
use crate::discover::backend::Pick;
use crate::discover::{Destination, Policy, Routing, Target};
use crate::drain::Drain;
use crate::model::outbound::{HttpRoutes, OutboundProtocol};
use crate::net::Prefixed;
use crate::telemetry::balancers::Use;
use crate::telemetry::classes::Cause;
use crate::telemetry::transport::Metered;
use crate::tls::Stream;

use super::{FIRST_BYTES, Outbound, route};

/// Where an opaque connection goes; what it has said so far is kept.
pub(crate) type Upstream = Prefixed<Metered<Stream>>;

/// A connection that was opened because its client said nothing.
pub(crate) struct Early {
    upstream: Upstream,
    pick: Unmeasured,
    wasted: Waste,
    _place: OwnedSemaphorePermit,
}

/// Whose turn it is, after a silence.
pub(crate) enum Turn {
    /// The client's: its bytes decide, or its end, or that time is up.
    Client(Option<Box<Early>>),
    /// The server's: it has spoken.
    Server(Box<Early>),
}

/// How long a client may say nothing, and how many that say nothing are humoured.
pub struct Silence {
    after: Option<Duration>,
    places: Arc<Semaphore>,
    wasted: Arc<Wasted>,
}

/// Connections of one direction that are open at most without anyone having spoken.
const PLACES: usize = 1_024;

impl Silence {
    /// `None`: the client always has the first word.
    pub fn new(after: Option<Duration>) -> Self {
        Self { after, places: Arc::new(Semaphore::new(PLACES)), wasted: Arc::default() }
    }

    pub(crate) fn after(&self) -> Option<Duration> {
        self.after
    }

    /// A place for one more, unless the proxy ends or is overloaded.
    pub(crate) fn place(&self, drain: &Drain, in_flight: &Semaphore) -> Option<OwnedSemaphorePermit> {
        let spare = !drain.is_signaled() && in_flight.available_permits() > 0;
        spare.then(|| self.places.clone().try_acquire_owned().ok())?
    }
}

/// What the first bytes of a connection say.
pub(crate) struct First {
    pub(crate) read: io::Result<detect::Http>,
    pub(crate) cause: Cause,
    /// To be used if the connection is opaque.
    pub(crate) early: Option<Box<Early>>,
}

/// Waits until the client speaks or ends, or time is up. After a silence the server is `open`ed, once, and may speak
/// too. The first bytes of either stay in its prefix.
pub(crate) async fn turn<IO: AsyncRead + Unpin>(
    client: &mut Prefixed<IO>,
    after: Duration,
    until: Instant,
    open: impl Future<Output = Option<Early>>,
) -> Turn {
    if !client.prefix().is_empty() {
        return Turn::Client(None);
    }
    // What becomes of reading here does not matter: whoever looks at the client's bytes next meets it again.
    if timeout_at(by(Instant::now(), after).min(until), client.read_more(FIRST_BYTES)).await.is_ok() {
        return Turn::Client(None);
    }
    let opened = tokio::select! {
        biased;
        _ = client.read_more(FIRST_BYTES) => None,
        opened = open => opened,
        () = sleep_until(until) => None,
    };
    let Some(mut early) = opened else { return Turn::Client(None) };
    let spoke = tokio::select! {
        biased;
        _ = client.read_more(FIRST_BYTES) => None,
        spoke = early.upstream.read_more(FIRST_BYTES) => Some(spoke),
        () = sleep_until(until) => None,
    };
    match spoke {
        None => Turn::Client(Some(Box::new(early))),
        Some(Ok(1..)) => Turn::Server(Box::new(early)),
        Some(_) => Turn::Client(None),
    }
}

/// Looks at the first bytes, now that it is known whose they are.
pub(crate) async fn first<IO: AsyncRead + Unpin>(io: &mut Prefixed<IO>, turn: Turn, until: Instant) -> First {
    match turn {
        Turn::Server(early) => {
            First { read: Ok(detect::Http::Not), cause: Cause::ServerFirst, early: Some(early) }
        }
        Turn::Client(early) => {
            let read = detect::read_http(io, until.saturating_duration_since(Instant::now())).await;
            let late = matches!(read, Ok(detect::Http::TimedOut));
            First { read, cause: if late { Cause::Silence } else { Cause::Bytes }, early }
        }
    }
}

pub(crate) use crate::message::clock::after as by;

impl Early {
    /// To the application of this pod.
    pub(crate) fn to_app(stream: Metered<Stream>, place: OwnedSemaphorePermit) -> Self {
        let upstream = Prefixed::new(stream);
        Self { upstream, pick: Unmeasured(None), wasted: Waste(None), _place: place }
    }

    /// The connection, now that its client is known to be opaque; `None` if the server has closed it meanwhile.
    pub(crate) fn taken(self) -> Option<(Option<Pick>, Upstream)> {
        let Self { mut upstream, mut pick, mut wasted, .. } = self;
        let open = !upstream.prefix().is_empty()
            || matches!(upstream.read_more(FIRST_BYTES).now_or_never(), None | Some(Ok(1..)));
        open.then(|| {
            wasted.0 = None;
            (pick.0.take(), upstream)
        })
    }
}

/// An endpoint of whose latency nothing is learned.
struct Unmeasured(Option<Pick>);

impl Drop for Unmeasured {
    fn drop(&mut self) {
        if let Some(pick) = self.0.take() {
            pick.abandon();
        }
    }
}

/// Set where the far side has counted a connection already: dropped in vain, that is remembered.
struct Waste(Option<(Arc<Wasted>, Target)>);

impl Drop for Waste {
    fn drop(&mut self) {
        if let Some((wasted, target)) = self.0.take() {
            wasted.record(target);
        }
    }
}

/// Where a connection was opened in vain that the far side counts among those it let in.
#[derive(Default)]
struct Wasted(Mutex<HashMap<Target, Instant>>);

/// How long such a connection keeps others from being opened there.
const AGAIN: Duration = Duration::from_secs(600);

/// Targets remembered at most.
const REMEMBERED: usize = 1_024;

impl Wasted {
    fn holds(&self, target: &Target) -> bool {
        self.0.lock().get(target).is_some_and(|at| at.elapsed() < AGAIN)
    }

    fn record(&self, target: Target) {
        let mut all = self.0.lock();
        if all.len() >= REMEMBERED {
            let oldest = all.iter().min_by_key(|(_, at)| **at).map(|(target, _)| target.clone());
            oldest.map(|target| all.remove(&target));
        }
        all.insert(target, Instant::now());
    }
}

impl Outbound {
    /// Waits for the application, and after a silence for an endpoint as well, where nothing says that HTTP is spoken.
    pub(super) async fn turn<IO: AsyncRead + Unpin>(
        &self,
        io: &mut Prefixed<IO>,
        dest: &Destination,
        routing: &Routing,
        until: Instant,
    ) -> Turn {
        let undeclared = matches!(routing, Routing::Policy(policy) if is_undeclared(policy));
        match self.silence.after().filter(|_| undeclared) {
            Some(after) => Box::pin(turn(io, after, until, self.open_early(dest, routing))).await,
            None => Turn::Client(None),
        }
    }

    /// An opaque connection to an endpoint, if there is room for one. It is tried once.
    pub(crate) async fn open_early(&self, dest: &Destination, routing: &Routing) -> Option<Early> {
        let place = self.silence.place(&self.drain, &self.in_flight)?;
        let taken = route::opaque(routing).ok()?;
        let backend = taken.backend().ok()?;
        // The first connection to a target may come before its endpoints are known.
        let deadline = Instant::now() + backend.failfast(Use::Tcp);
        let mut pick = Unmeasured(Some(backend.pick_early(Use::Tcp, deadline).await?));
        let client = pick.0.as_ref()?.client().clone();
        match client.tentative(!self.silence.wasted.holds(&dest.target)).await {
            Ok(Some(Tentative { stream, counted })) => {
                pick.0.as_mut()?.reached();
                let wasted = Waste(counted.then(|| (self.silence.wasted.clone(), dest.target.clone())));
                Some(Early { upstream: Prefixed::new(stream), pick, wasted, _place: place })
            }
            Ok(None) => None,
            Err(error) => {
                debug!(target = %dest.target, %error, "an endpoint that might speak first cannot be reached");
                pick.0.take()?.unreachable();
                None
            }
        }
    }
}

/// Whether nobody has said what is spoken: no protocol, no route that somebody made, no route of a profile.
fn is_undeclared(policy: &Policy) -> bool {
    let made = |http: &HttpRoutes<_>| http.routes.iter().any(|route| !route.meta.is_default());
    match &policy.policy.protocol {
        OutboundProtocol::Detect { http1, http2, .. } => !policy.http && !made(http1) && !made(http2),
        _ => false,
    }
}
