//! Connections to the admin port: served here instead of forwarded, and judged like any other port's.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;
use tracing::debug;

use crate::admin::Admin;
use crate::detect;
use crate::error::{Fault, Reason};
use crate::model::Peer;
use crate::model::protocol::HttpVersion;
use crate::net::Prefixed;
use crate::net::orig_dst::unmapped;

use super::http::Upstream;
use super::{Call, Inbound};

/// For the ClientHello and for the first bytes of HTTP, each (contract 7.1).
const DETECT: Duration = Duration::from_secs(1);

impl Inbound {
    /// Serves one connection to the admin listener at `listen`, and records how it ended.
    pub async fn serve_admin(&self, io: TcpStream, listen: SocketAddr, admin: Arc<Admin>) {
        let Ok(client) = io.peer_addr().map(unmapped) else { return };
        if let Err(fault) = self.carry_admin(io, client, listen, admin).await {
            debug!(%client, reason = fault.reason.row().name, "admin connection failed: {fault}");
        }
    }

    async fn carry_admin(
        &self,
        io: TcpStream,
        client: SocketAddr,
        listen: SocketAddr,
        admin: Arc<Admin>,
    ) -> Result<(), Fault> {
        let (io, peer) = self.identify(Prefixed::new(io), DETECT).await?;
        let mut io = Prefixed::new(io);
        let port = self.ports.get(listen.port());
        let started = Instant::now();
        let read = detect::read_http(&mut io, DETECT).await;
        let detections = self.metrics.connections.detect_inbound(&port.policy().meta, listen.port());
        detections.record(&read, started.elapsed());
        let version = match read {
            Ok(detect::Http::Is(version)) => version,
            Ok(_) if matches!(peer, Peer::Plaintext(_)) => HttpVersion::Http1,
            Ok(_) => HttpVersion::Http2,
            Err(error) => return Err(Fault::new(Reason::ClientBroken, error)),
        };
        let peer = Arc::new(peer);
        let call = Call { io, client, target: listen, direct: false, peer, port, silent: false };
        self.serve_http(call, version, Upstream::Admin(admin)).await
    }
}
