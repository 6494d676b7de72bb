//! Opaque connections inbound: authorized once, then again at every change of policy.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::watch;
use tracing::{debug, info};

use crate::authorize;
use crate::error::{Fault, Reason};
use crate::model::{Peer, ServerPolicy};
use crate::net::relay::relay;
use crate::telemetry::labels::InboundTarget;
use crate::telemetry::transport::Metered;

use super::{Call, Inbound};

impl Inbound {
    /// Authorizes a connection and relays it to the application, until either side ends it or policy
    /// no longer permits it.
    pub(super) async fn relay_tcp(&self, call: Call) -> Result<(), Fault> {
        let Call { io, client, target, peer, port } = call;
        let policy = port.policy();
        let at = InboundTarget { target, peer: &peer, server: &policy.meta };
        let transport = self.metrics.transport.accept_inbound(&at);
        let mut io = Metered::new(io, transport.open());
        let changes = port.subscribe();
        match authorize::tcp(&policy, client.ip(), &peer) {
            Ok(permit) => self.metrics.authz.tcp_allow(&at, permit.authz).incr(),
            Err(_) => {
                self.metrics.authz.tcp_deny(&at).incr();
                info!(%client, %target, peer = ?peer, server = policy.meta.name(), "connection denied");
                return Ok(());
            }
        }
        let mut upstream = self.apps.client(target).stream().await?; // forward
        tokio::select! {
            ended = relay(&mut io, &mut upstream) => {
                if let Err(broken) = ended {
                    debug!(%client, %target, ?broken, "an opaque connection broke");
                }
            }
            () = denied(changes, client.ip(), &peer) => {
                self.metrics.authz.tcp_terminate(&at).incr();
                info!(%client, %target, peer = ?peer, reason = Reason::Denied.row().name,
                    "connection ended: policy no longer permits it");
            }
        }
        Ok(())
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
