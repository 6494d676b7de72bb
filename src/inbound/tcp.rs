//! Opaque connections inbound: authorized once, then again at every change of policy.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tracing::{debug, info};

use crate::authorize::{self, explain};
use crate::discover::{Destination, Routing};
use crate::error::{Fault, Reason};
use crate::model::{Peer, ServerPolicy};
use crate::net::Prefixed;
use crate::net::relay::relay;
use crate::outbound::Outbound;
use crate::outbound::early::Early;
use crate::telemetry::labels::InboundTarget;
use crate::telemetry::transport::Metered;
use crate::tls::rights;

use super::{Call, Inbound};

/// Where a permitted connection goes.
pub(super) enum Onward<'a> {
    /// To the port of this pod that it is for.
    App,
    /// Into the cluster.
    Gateway { outbound: &'a Outbound, dest: &'a Destination, routing: &'a Routing },
    /// Policy did not let it in when it came.
    Nowhere,
}

impl Inbound {
    /// Authorizes a connection and relays it, until either side ends it or policy no longer permits it.
    pub(super) async fn relay_tcp(
        &self,
        call: Call,
        onward: Onward<'_>,
        early: Option<Box<Early>>,
    ) -> Result<(), Fault> {
        let Call { io, client, target, peer, port, silent, .. } = call;
        let policy = port.policy();
        let at = InboundTarget { target, peer: &peer, server: &policy.meta };
        let transport = self.metrics.transport.accept_inbound(&at);
        let right = io.get_ref().right().cloned();
        let mut io = Metered::new(io, transport.open());
        let changes = port.subscribe();
        match authorize::tcp(&policy, client.ip(), &peer) {
            Ok(permit) => {
                self.metrics.authz.tcp_allow(&at, permit.authz).incr();
                if permit.authz.is_audit() {
                    info!(%client, %target, ?peer, server = policy.meta.name(), authz = permit.authz.name(),
                        "connection allowed");
                }
            }
            // Nobody knows what it would have been: that it said nothing is what went wrong.
            Err(_) if silent => return Err(Reason::HttpDetectTimeout.into()),
            Err(_) => {
                self.metrics.authz.tcp_deny(&at).incr();
                let why = explain::tcp(&policy, client.ip(), &peer);
                info!(%client, %target, ?peer, server = policy.meta.name(), reason = Reason::Denied.row().name, %why,
                    "connection denied");
                return Ok(());
            }
        }
        tokio::select! {
            carried = self.forward(&mut io, target, onward, early) => carried, // forward
            () = rights::closed(right.as_ref()) => Err(Reason::RightEnded.into()),
            () = denied(changes, client.ip(), &peer) => {
                self.metrics.authz.tcp_terminate(&at).incr();
                let policy = port.policy();
                let why = explain::tcp(&policy, client.ip(), &peer);
                info!(%client, %target, ?peer, server = policy.meta.name(), reason = Reason::Denied.row().name, %why,
                    "connection ended: policy no longer permits it");
                Ok(())
            }
        }
    }

    async fn forward(
        &self,
        io: &mut (impl AsyncRead + AsyncWrite + Unpin),
        target: SocketAddr,
        onward: Onward<'_>,
        early: Option<Box<Early>>,
    ) -> Result<(), Fault> {
        match onward {
            Onward::App => {
                let mut upstream = match early.and_then(|early| early.taken()) {
                    Some((_, upstream)) => upstream,
                    None => Prefixed::new(self.apps.client(target).stream().await?),
                };
                if let Err(broken) = relay(io, &mut upstream).await {
                    debug!(%target, ?broken, "an opaque connection broke");
                }
                Ok(())
            }
            Onward::Gateway { outbound, dest, routing } => {
                Box::pin(outbound.relay_tcp(io, dest, routing, None, early)).await
            }
            Onward::Nowhere => Err(Reason::Denied.into()),
        }
    }
}

/// Resolves when a policy comes that does not permit this client.
async fn denied(mut changes: watch::Receiver<Arc<ServerPolicy>>, client: IpAddr, peer: &Peer) {
    loop {
        if authorize::tcp(&changes.borrow_and_update(), client, peer).is_err() {
            return;
        }
        if changes.changed().await.is_err() {
            // Nobody will change it any more.
            return std::future::pending().await;
        }
    }
}
