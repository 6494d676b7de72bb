//! Metric handles of one connection's requests, found once for each route and backend.
//!
//! A connection meets few of them, so a short list read from the end is faster than a map, and no label
//! text is made while requests pass.

use std::sync::Arc;

use crate::model::{DnsName, ResourceRef};
use crate::telemetry::Metrics;
use crate::telemetry::streams::{OutboundRoute, RouteBackend, Stream};

use super::route::Taken;

#[derive(Default)]
pub(super) struct Handles(Vec<Leg>);

struct Leg {
    parent: ResourceRef,
    route: ResourceRef,
    backend: Option<ResourceRef>,
    hostname: Option<DnsName>,
    counts: (Arc<OutboundRoute>, Option<Arc<RouteBackend>>),
}

/// Pairs kept at most.
const MOST: usize = 16;

impl Handles {
    /// What records a request of this route; `backend` is the one that was chosen, if there is one.
    pub(super) fn stream(
        &mut self,
        metrics: &Metrics,
        taken: &Taken<'_>,
        backend: Option<&ResourceRef>,
        hostname: Option<DnsName>,
        since: tokio::time::Instant,
    ) -> Stream {
        let (by_route, by_backend) = self.counts(metrics, taken, backend, hostname);
        Stream::outbound(taken.spoken, by_route, by_backend, since)
    }

    /// What counts requests of this route, and those of them that go to this backend.
    pub(super) fn counts(
        &mut self,
        metrics: &Metrics,
        taken: &Taken<'_>,
        backend: Option<&ResourceRef>,
        hostname: Option<DnsName>,
    ) -> (Arc<OutboundRoute>, Option<Arc<RouteBackend>>) {
        let (parent, route, spoken) = (taken.parent, taken.route, taken.spoken);
        let same = |leg: &Leg| {
            leg.parent == *parent
                && leg.route == *route
                && leg.backend.as_ref() == backend
                && leg.hostname == hostname
        };
        let index = self.0.iter().rposition(same).unwrap_or_else(|| {
            let by_route = metrics.streams.outbound(spoken, parent, route, hostname.as_ref());
            let by_backend = backend.map(|backend| metrics.streams.backend(spoken, parent, route, backend));
            if self.0.len() >= MOST {
                self.0.remove(0);
            }
            self.0.push(Leg {
                parent: parent.clone(),
                route: route.clone(),
                backend: backend.cloned(),
                hostname,
                counts: (by_route, by_backend),
            });
            self.0.len() - 1
        });
        self.0[index].counts.clone()
    }
}
