//! Metric handles of one connection, found once for each pair of server, route and authorization.
//!
//! A connection meets one or two such pairs, so a short list read from the end is faster than a map,
//! and no label text is made while requests pass.

use std::sync::Arc;

use crate::authorize::HttpPermit;
use crate::model::ResourceRef;
use crate::telemetry::Metrics;
use crate::telemetry::labels::InboundTarget;
use crate::telemetry::metric::Counter;
use crate::telemetry::requests::Requests;
use crate::telemetry::streams::{InboundRoute, Spoken};

#[derive(Default)]
pub(crate) struct Handles {
    permits: Vec<Permitted>,
    denials: Vec<(ResourceRef, ResourceRef, Arc<Counter>)>,
}

struct Permitted {
    server: ResourceRef,
    route: ResourceRef,
    authz: ResourceRef,
    counts: Counts,
}

/// What counts a request that was let in.
#[derive(Clone)]
pub(crate) struct Counts {
    pub(crate) allow: Arc<Counter>,
    pub(crate) requests: Arc<Requests>,
    /// Of the server's route; none but for the application.
    pub(crate) route: Option<(Spoken, Arc<InboundRoute>)>,
}

/// What there is to count of a request that was let in.
#[derive(Clone, Copy)]
pub(crate) enum Counted {
    /// The application's, with its route.
    Route(Spoken),
    /// The admin pages'.
    Requests,
    /// A gateway's: where they go out again.
    Elsewhere,
}

/// Pairs kept at most: policy may change often under one long connection.
const MOST: usize = 16;

impl Handles {
    pub(crate) fn permitted(
        &mut self,
        metrics: &Metrics,
        at: &InboundTarget<'_>,
        permit: &HttpPermit<'_>,
        counted: Counted,
    ) -> Counts {
        let (route, authz) = (permit.route, permit.authz);
        let same = |p: &Permitted| p.server == *at.server && p.route == *route && p.authz == *authz;
        if let Some(known) = self.permits.iter().rev().find(|permit| same(permit)) {
            return known.counts.clone();
        }
        let counts = Counts {
            allow: metrics.authz.http_allow(at, route, authz),
            requests: match counted {
                Counted::Elsewhere => Arc::default(),
                _ => metrics.requests.inbound(at, route, authz),
            },
            route: match counted {
                Counted::Route(spoken) => {
                    Some((spoken, metrics.streams.inbound(spoken, at.server, at.target.port(), route)))
                }
                _ => None,
            },
        };
        make_room(&mut self.permits);
        self.permits.push(Permitted {
            server: at.server.clone(),
            route: route.clone(),
            authz: authz.clone(),
            counts: counts.clone(),
        });
        counts
    }

    pub(crate) fn deny(
        &mut self,
        metrics: &Metrics,
        at: &InboundTarget<'_>,
        route: &ResourceRef,
    ) -> Arc<Counter> {
        let known = self.denials.iter().rev().find(|(s, r, _)| s == at.server && r == route);
        if let Some((_, _, counter)) = known {
            return counter.clone();
        }
        let counter = metrics.authz.http_deny(at, route);
        make_room(&mut self.denials);
        self.denials.push((at.server.clone(), route.clone(), counter.clone()));
        counter
    }
}

fn make_room<T>(list: &mut Vec<T>) {
    if list.len() >= MOST {
        list.remove(0);
    }
}
