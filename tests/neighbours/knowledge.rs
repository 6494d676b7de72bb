//! What the control plane knows: one service. It says nothing of inbound ports, so that the proxy's default policy is
//! in force.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use causeway::api::outbound::Target;
use causeway::backoff::Backoff;
use causeway::model::outbound::{
    Backend, BackendKind, Distribution, HttpRoute, HttpRule, OpaqueRoute, OutboundProtocol, Retry,
};
use causeway::model::{Endpoint, OutboundPolicy, ResourceRef};
use causeway::tls::testing::TestCa;
use tonic::Status;

use crate::control;

/// Another name of the service: what it answers with 5xx is asked again, whatever the request's length.
pub(crate) const STORM: Storm = Storm {
    service: SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 96, 0, 2)), 80),
    limit: 2,
    pause: Duration::from_millis(300),
};

pub(crate) struct Storm {
    pub(crate) service: SocketAddr,
    pub(crate) limit: u16,
    pub(crate) pause: Duration,
}

impl Storm {
    fn retry(&self) -> Retry {
        let backoff = Backoff::new(self.pause, self.pause, 0.0).ok();
        let statuses = vec![500..=599];
        Retry { limit: self.limit, max_body: 64 << 20, statuses, codes: vec![], timeout: None, backoff }
    }
}

pub(crate) struct Knowledge {
    pub(crate) ca: Arc<TestCa>,
    /// The one service's only endpoint, which has no proxy.
    pub(crate) endpoint: SocketAddr,
}

impl control::World for Knowledge {
    fn ca(&self) -> &TestCa {
        &self.ca
    }

    fn policy(&self, target: &Target) -> Result<OutboundPolicy, Status> {
        let meta = ResourceRef::default_named("endpoint");
        let kind = BackendKind::Forward(Box::new(Endpoint::plain(self.endpoint)));
        let backends =
            || Distribution::FirstAvailable(vec![Backend { meta: meta.clone(), kind: kind.clone() }]);
        let retry = (*target == Target::Addr(STORM.service)).then(|| STORM.retry());
        let rule = || {
            let mut rule = HttpRule::new(Vec::new(), backends());
            rule.terms.retry = retry.clone();
            rule
        };
        let http = || vec![HttpRoute::new(meta.clone(), vec![rule()])].into();
        let opaque = vec![OpaqueRoute::new(meta.clone(), backends())];
        let protocol = OutboundProtocol::Detect { http1: http(), http2: http(), opaque };
        Ok(OutboundPolicy { parent: ResourceRef::object("core", "Service", "neighbour"), protocol })
    }
}
