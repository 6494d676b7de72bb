//! A named set of endpoints, kept fresh and balanced over; or one given endpoint.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use linkerd2_proxy_api::destination::GetDestination;
use linkerd2_proxy_api::destination::destination_client::DestinationClient;
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::{Code, Status};
use tracing::{debug, warn};

use crate::api;
use crate::backoff::Backoff;
use crate::balance::{Balancer, Member};
use crate::config::Queue;
use crate::connect::client::HttpSettings;
use crate::connect::{Client, Connector};
use crate::controller::Controller;
use crate::error::{Fault, Reason};
use crate::model::endpoint::Locality;
use crate::model::outbound::{Backend as Spec, BackendKind, Breaker, LoadBand};
use crate::model::peer::NoServerTls;
use crate::model::{Authority, Endpoint, EndpointUpdate, ResourceRef};
use crate::telemetry::Metrics;
use crate::telemetry::balancers::{ByUse, Use};
use crate::telemetry::transport::Dialled;

use super::stream::{self, Outages, Patience};
use reach::{Among, Reach, Set};
use waiting::Waiting;

mod known;
mod reach;
mod waiting;
mod wave;

pub(super) use known::Known;
pub use reach::Pick;

/// Makes backends, with all that they share.
pub struct Backends {
    pub destinations: Controller,
    /// Sent as it is, trailing newline included.
    pub context: String,
    pub patience: Patience,
    pub connector: Arc<Connector>,
    pub settings: HttpSettings,
    /// Between attempts at one endpoint.
    pub backoff: Backoff,
    /// How requests wait for an endpoint, and connections.
    pub queues: ByUse<Queue>,
    /// How much local endpoints take before others do, of either; `None`: all are alike.
    pub local_first: ByUse<Option<LoadBand>>,
    pub metrics: Arc<Metrics>,
    /// Every client alive, for sweeping.
    pub clients: Mutex<Vec<Weak<Client>>>,
}

/// Where requests of a route go.
pub struct Backend {
    spec: Spec,
    /// When endpoints of it are left alone.
    breaker: Option<Breaker>,
    members: Members,
    /// For each [`Use`].
    waiting: ByUse<Waiting>,
    /// Whether its balancer is among the metrics, for each [`Use`].
    shown: ByUse<OnceLock<()>>,
    watching: Option<JoinHandle<()>>,
}

enum Members {
    Balanced(Arc<Balancer<Arc<Reach>>>),
    Forward(Arc<Reach>),
    None,
}

impl Backends {
    /// The backend for a description: one that lives already, or a new one with its own watch.
    pub(super) fn reuse_or_start(
        self: &Arc<Self>,
        live: &Known,
        fresh: &mut Known,
        (spec, breaker): (Spec, Option<Breaker>),
        outages: &Outages,
    ) -> Arc<Backend> {
        let same = |backend: &Arc<Backend>| backend.spec == spec && backend.breaker == breaker;
        if let Some(known) = fresh.find(&spec, same) {
            return known.clone();
        }
        let known = live.find(&spec, same).cloned();
        let backend = known.unwrap_or_else(|| Arc::new(self.start(spec, breaker, outages)));
        fresh.add(&backend.spec, backend.clone());
        backend
    }

    fn start(self: &Arc<Self>, spec: Spec, breaker: Option<Breaker>, outages: &Outages) -> Backend {
        let (members, watching) = match &spec.kind {
            BackendKind::Forward(endpoint) => {
                (Members::Forward(self.reach(None, (**endpoint).clone(), None)), None)
            }
            BackendKind::Fail => (Members::None, None),
            BackendKind::Balance { authority, load } => {
                let balancer = Arc::new(Balancer::local_first(*load, self.local_first));
                let watching = self.watch(Set::new(authority.clone(), &balancer, breaker), outages.clone());
                (Members::Balanced(balancer), Some(watching))
            }
        };
        Backend {
            spec,
            breaker,
            members,
            waiting: self.queues.map(Waiting::new),
            shown: Default::default(),
            watching,
        }
    }

    fn reach(&self, authority: Option<&Authority>, endpoint: Endpoint, among: Option<Among>) -> Arc<Reach> {
        // As it is reached: this pod itself in plaintext, whatever identity it has.
        let (no_tls, shown) = match self.connector.is_local(&endpoint) {
            true => (NoServerTls::Loopback, Endpoint { tls: None, ..endpoint.clone() }),
            false => (NoServerTls::NotProvidedByServiceDiscovery, endpoint.clone()),
        };
        let transport = self.metrics.transport.connect_outbound(authority, &shown, no_tls);
        let requests = self.metrics.requests.outbound(authority, &shown, no_tls);
        let transport = Dialled::new(transport, Some(self.metrics.connections.zone_cost(&endpoint.labels)));
        let connect =
            |tell| Client::new(endpoint, self.connector.clone(), &self.settings, transport, Some(tell));
        let reach = Reach::new(requests, self.backoff, among, connect);
        self.clients.lock().push(Arc::downgrade(&reach.client));
        reach
    }

    fn watch(self: &Arc<Self>, set: Set, outages: Outages) -> JoinHandle<()> {
        let authority = set.authority.clone();
        let request = GetDestination {
            scheme: String::new(),
            path: authority.to_string(),
            context_token: self.context.clone(),
        };
        let backends = self.clone();
        tokio::spawn(async move {
            let what = format!("endpoints of {authority}");
            // Whether the next update is the first of its stream.
            let first = AtomicBool::new(true);
            let open = || {
                first.store(true, Ordering::Relaxed);
                let mut client = DestinationClient::new(backends.destinations.clone());
                let request = request.clone();
                async move { client.get(request).await }
            };
            let on = |message| {
                let Some(update) = api::destination::update(message) else { return };
                // One that removes has nothing to remove yet: the first that says what there is counts.
                let removes = matches!(update, EndpointUpdate::Remove(_));
                if !(removes && first.load(Ordering::Relaxed)) {
                    backends.apply(&set, update, first.swap(false, Ordering::Relaxed));
                }
            };
            let refused = stream::follow(&what, backends.patience, &outages, is_final, open, on).await;
            warn!(%authority, code = ?refused.code(), "the control plane refused the look-up of endpoints");
        })
    }

    /// Contract 3.5: the first update of a stream replaces the set, unchanged endpoints stay as they
    /// are, connections included.
    fn apply(&self, set: &Set, update: EndpointUpdate, first: bool) {
        let Set { authority, balancer, .. } = set;
        match update {
            EndpointUpdate::Add { endpoints, unusable } => {
                balancer.remove(&unusable);
                debug!(%authority, added = endpoints.len(), first, "endpoints");
                let members = endpoints.into_iter().map(|endpoint| self.member(set, endpoint));
                if first { balancer.reset(members) } else { balancer.add(members) }
            }
            EndpointUpdate::Remove(addrs) => {
                debug!(%authority, removed = addrs.len(), "endpoints");
                balancer.remove(&addrs);
            }
            EndpointUpdate::NoEndpoints { .. } => balancer.reset([]),
        }
    }

    /// The member that an endpoint is already, or a new one.
    fn member(&self, set: &Set, endpoint: Endpoint) -> Arc<Member<Arc<Reach>>> {
        let Set { authority, balancer, .. } = set;
        let known = balancer.get(endpoint.addr).filter(|member| member.client.endpoint == endpoint);
        known.unwrap_or_else(|| {
            let (addr, locality) = (endpoint.addr, Locality::of(&endpoint.labels));
            let member = balancer.member_at(addr, locality, |readiness| {
                let among = Among::new(set, readiness);
                self.reach(Some(authority), endpoint, Some(among))
            });
            // Until a connection fails, the first request may as well be the one to open it.
            member.set_ready(true);
            member
        })
    }

    /// Closes pooled connections that have been idle too long.
    pub(super) fn sweep(&self, now: Instant) {
        self.clients.lock().retain(|client| match client.upgrade() {
            Some(client) => {
                client.sweep(now);
                true
            }
            None => false,
        });
    }
}

fn is_final(status: &Status) -> bool {
    matches!(status.code(), Code::InvalidArgument | Code::FailedPrecondition)
}

impl Backend {
    /// What metrics call it.
    pub fn meta(&self) -> &ResourceRef {
        &self.spec.meta
    }

    /// Has metrics show what is balanced over, from its first use on.
    pub fn show(&self, metrics: &Metrics, used: Use, parent: &ResourceRef) {
        let (Members::Balanced(balancer), BackendKind::Balance { authority, .. }) =
            (&self.members, &self.spec.kind)
        else {
            return;
        };
        let show = || metrics.balancers.show(used, parent, (self.meta(), authority), balancer);
        self.shown[used as usize].get_or_init(show);
    }

    /// How long a request, or a connection, may wait for an endpoint.
    pub fn failfast(&self, used: Use) -> Duration {
        self.waiting[used as usize].failfast()
    }

    /// Whether a request would find an endpoint now.
    pub fn is_ready(&self) -> bool {
        match &self.members {
            Members::Balanced(balancer) => balancer.is_ready(),
            // One that only fails is as ready as it will be: it must not be passed over for another.
            Members::Forward(_) | Members::None => true,
        }
    }

    /// Whether it is one that may have endpoints.
    pub fn has_endpoints(&self) -> bool {
        !matches!(self.members, Members::None)
    }

    /// Whether a request would find an endpoint, by then.
    pub async fn wait_ready(&self, deadline: Instant) -> bool {
        match &self.members {
            Members::Balanced(balancer) => balancer.wait_ready(deadline).await,
            Members::Forward(_) | Members::None => true,
        }
    }

    /// An endpoint, where one is ready.
    pub fn pick_at_once(&self, used: Use) -> Option<Pick> {
        self.pick_ready(used).inspect(|_| self.waiting[used as usize].open())
    }

    /// An endpoint once one is ready, for who would like one and does not count among those who wait; `None` where that
    /// would take too long.
    pub async fn pick_early(&self, used: Use, deadline: Instant) -> Option<Pick> {
        loop {
            if let Some(pick) = self.pick_ready(used) {
                return Some(pick);
            }
            let Members::Balanced(balancer) = &self.members else { return None };
            let shut = self.waiting[used as usize].is_shut();
            if shut || !balancer.wait_ready(deadline).await {
                return None;
            }
        }
    }

    fn pick_ready(&self, used: Use) -> Option<Pick> {
        match &self.members {
            Members::Forward(reach) => Some(Pick { reach: reach.clone(), picked: None }),
            Members::None => None,
            Members::Balanced(balancer) => {
                let picked = balancer.pick_for(used)?;
                let reach = Arc::clone(&picked);
                Some(Pick { reach, picked: Some(picked) })
            }
        }
    }

    /// An endpoint: at once where one is ready, else as soon as one is.
    ///
    /// # Errors
    /// None became ready before the deadline; or none was for the whole of an earlier wait, and none
    /// is now; or too many wait already.
    pub async fn pick(&self, used: Use, deadline: Instant) -> Result<Pick, Fault> {
        let waiting = &self.waiting[used as usize];
        loop {
            if let Some(pick) = self.pick_at_once(used) {
                return Ok(pick);
            }
            let Members::Balanced(balancer) = &self.members else { return Err(Reason::NoBackend.into()) };
            waiting.until_ready(balancer, deadline).await?;
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        if let Some(watching) = self.watching.take() {
            watching.abort();
        }
    }
}
