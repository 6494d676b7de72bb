//! The direct port: mesh TLS with a transport header that says which port is meant, or whom a gateway is to lead to
//! (contract 4.2).

use std::net::SocketAddr;
use std::sync::Arc;

use tracing::debug;

use crate::error::{Fault, Reason};
use crate::model::Peer;
use crate::net::transport_header::{self, InvalidHeader, ReadError, TransportHeader};
use crate::net::{Accepted, Prefixed};
use crate::telemetry::classes::Cause;
use crate::tls::{Agreed, Stream};
use crate::{detect, tls};

use super::http::Upstream;
use super::tcp::Onward;
use super::{Call, Inbound};

impl Inbound {
    /// Serves a connection made to the proxy's own port: identity, ALPN and header are mandatory.
    pub(super) async fn serve_direct(&self, conn: Accepted) -> Result<(), Fault> {
        let (client, local) = (conn.client, conn.orig_dst);
        let (io, peer, tentative) = self.identify_direct(Prefixed::new(conn.io)).await?;
        let mut io = Prefixed::new(io);
        let header = self.read_header(&mut io).await?;
        self.metrics.connections.transport_header(&header, peer.id());
        let peer = Arc::new(peer);
        debug!(%client, ?header, ?peer, "inbound connection by transport header");
        let session = header.session;
        if let Some(name) = header.name {
            // Judged by the policy of the gateway's own port (contract 4.2).
            let port = self.ports.get(self.own_port);
            let call = Call { io, client, target: local, direct: false, peer, port, silent: false };
            return Box::pin(self.serve_gateway(call, (name, header.port), session, tentative)).await;
        }
        let target = SocketAddr::new(local.ip(), header.port);
        let port = self.ports.get(header.port);
        let call = Call { io, client, target, direct: true, peer, port, silent: false };
        self.metrics.inbound.count(session, Cause::Header);
        match session {
            None if tentative => Box::pin(self.relay_tentative(call, Onward::App)).await,
            Some(version) => {
                let app = Upstream::App(self.apps.client(target));
                self.serve_http(call, version, app).await
            }
            None => self.relay_tcp(call, Onward::App, None).await,
        }
    }

    async fn identify_direct(
        &self,
        mut io: Prefixed<tokio::net::TcpStream>,
    ) -> Result<(Stream, Peer, bool), Fault> {
        let hello = tokio::time::timeout(self.detect_timeout, detect::read_client_hello(&mut io)).await;
        let hello = hello
            .map_err(|_| Reason::TlsDetectTimeout)?
            .map_err(|error| Fault::new(Reason::ClientBroken, error))?;
        match hello {
            Some(sni) if sni == self.server_name => {}
            Some(_) => return Err(refused("TLS for another name")),
            None => return Err(refused("no TLS")),
        }
        let (stream, tls::server::Accepted { client, agreed, .. }) = self.handshake(io, true).await?;
        if agreed == Agreed::Nothing {
            return Err(refused("no transport protocol was negotiated"));
        }
        let id = client.ok_or_else(|| refused("no client certificate"))?;
        Ok((stream, Peer::Identified(id), agreed == Agreed::Tentative))
    }

    async fn read_header(&self, io: &mut Prefixed<Stream>) -> Result<TransportHeader, Fault> {
        let read = tokio::time::timeout(self.detect_timeout, transport_header::read(io)).await;
        read.map_err(|_| Reason::HeaderTimeout)?.map_err(|error| Fault::new(unreadable(&error), error))
    }
}

fn unreadable(error: &ReadError) -> Reason {
    match error {
        ReadError::Io(_) => Reason::HeaderTruncated,
        ReadError::Invalid(InvalidHeader::TooLong(_)) => Reason::HeaderTooLong,
        ReadError::Invalid(InvalidHeader::Port(_)) => Reason::HeaderPort,
        ReadError::Invalid(InvalidHeader::Name) => Reason::HeaderName,
        ReadError::Invalid(InvalidHeader::Preface | InvalidHeader::Message(_)) => Reason::HeaderMalformed,
    }
}

fn refused(what: &'static str) -> Fault {
    Fault::new(Reason::DirectRefused, what)
}
