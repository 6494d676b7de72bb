//! What the control plane knows: one service. It says nothing of inbound ports, so that the proxy's default policy is
//! in force.

use std::net::SocketAddr;
use std::sync::Arc;

use causeway::api::outbound::Target;
use causeway::model::outbound::{
    Backend, BackendKind, Distribution, HttpRoute, HttpRule, OpaqueRoute, OutboundProtocol,
};
use causeway::model::{Endpoint, OutboundPolicy, ResourceRef};
use causeway::tls::testing::TestCa;
use tonic::Status;

use crate::control;

pub(crate) struct Knowledge {
    pub(crate) ca: Arc<TestCa>,
    /// The one service's only endpoint, which has no proxy.
    pub(crate) endpoint: SocketAddr,
}

impl control::World for Knowledge {
    fn ca(&self) -> &TestCa {
        &self.ca
    }

    fn policy(&self, _: &Target) -> Result<OutboundPolicy, Status> {
        let meta = ResourceRef::default_named("endpoint");
        let kind = BackendKind::Forward(Box::new(Endpoint::plain(self.endpoint)));
        let backends =
            || Distribution::FirstAvailable(vec![Backend { meta: meta.clone(), kind: kind.clone() }]);
        let rule = || HttpRule::new(Vec::new(), backends());
        let http = || vec![HttpRoute::new(meta.clone(), vec![rule()])].into();
        let opaque = vec![OpaqueRoute::new(meta.clone(), backends())];
        let protocol = OutboundProtocol::Detect { http1: http(), http2: http(), opaque };
        Ok(OutboundPolicy { parent: ResourceRef::object("core", "Service", "neighbour"), protocol })
    }
}
