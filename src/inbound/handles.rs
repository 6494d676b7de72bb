//! Metric handles of one connection, found once for each pair of server, route and authorization.
//!
//! A connection meets one or two such pairs, so a short list read from the end is faster than a map,
//! and no label text is made while requests pass.

use std::sync::Arc;

use crate::model::ResourceRef;
use crate::telemetry::Metrics;
use crate::telemetry::labels::InboundTarget;
use crate::telemetry::registry::Counter;
use crate::telemetry::requests::Requests;

#[derive(Default)]
pub(crate) struct Handles {
    permits: Vec<Permitted>,
    denials: Vec<(ResourceRef, ResourceRef, Arc<Counter>)>,
}

struct Permitted {
    server: ResourceRef,
    route: ResourceRef,
    authz: ResourceRef,
    allow: Arc<Counter>,
    requests: Arc<Requests>,
}

/// Pairs kept at most: policy may change often under one long connection.
const MOST: usize = 16;

impl Handles {
    pub(crate) fn allow(
        &mut self,
        metrics: &Metrics,
        at: &InboundTarget<'_>,
        route: &ResourceRef,
        authz: &ResourceRef,
    ) -> Arc<Counter> {
        self.permitted(metrics, at, route, authz).allow.clone()
    }

    pub(crate) fn requests(
        &mut self,
        metrics: &Metrics,
        at: &InboundTarget<'_>,
        route: &ResourceRef,
        authz: &ResourceRef,
    ) -> Arc<Requests> {
        self.permitted(metrics, at, route, authz).requests.clone()
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

    fn permitted(
        &mut self,
        metrics: &Metrics,
        at: &InboundTarget<'_>,
        route: &ResourceRef,
        authz: &ResourceRef,
    ) -> &Permitted {
        let same = |p: &Permitted| p.server == *at.server && p.route == *route && p.authz == *authz;
        let index = self.permits.iter().rposition(same).unwrap_or_else(|| {
            make_room(&mut self.permits);
            self.permits.push(Permitted {
                server: at.server.clone(),
                route: route.clone(),
                authz: authz.clone(),
                allow: metrics.authz.http_allow(at, route, authz),
                requests: metrics.requests.inbound(at, route, authz),
            });
            self.permits.len() - 1
        });
        &self.permits[index]
    }
}

fn make_room<T>(list: &mut Vec<T>) {
    if list.len() >= MOST {
        list.remove(0);
    }
}
