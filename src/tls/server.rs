//! Terminates mesh TLS and learns who is calling.

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;

use super::read_ahead::ReadAhead;
use super::{Agreed, CredentialStore, Error, Right, Role, WRITE_LIMIT, subject};
use crate::model::WorkloadId;

pub type ServerStream<IO> = tokio_rustls::server::TlsStream<ReadAhead<IO>>;

/// What the handshake proved about the client.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// The first usable name of its certificate; `None` if it presented none, or one without a usable name.
    pub client: Option<WorkloadId>,
    /// What the client will send first.
    pub agreed: Agreed,
    /// How long the client may keep the connection; `None` where it has proven nothing.
    pub right: Option<Right>,
}

/// Shakes hands over `io`. A client certificate is asked for, not required; one that is presented must
/// chain to the trust anchors. With `direct` the transport protocol may be negotiated, otherwise none is
/// (contract 2.3). The caller bounds the time.
pub async fn accept<IO>(
    store: &CredentialStore,
    io: IO,
    direct: bool,
) -> Result<(ServerStream<IO>, Accepted), Error>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let held = store.held();
    let config = held.server_config(direct).ok_or(Error::NoCredentials)?;
    let stream = TlsAcceptor::from(config)
        .accept_with(ReadAhead::new(io), |session| session.set_buffer_limit(Some(WRITE_LIMIT)))
        .await?;
    let session = stream.get_ref().1;
    let chain = session.peer_certificates().unwrap_or_default();
    let client = chain.first().and_then(|leaf| subject::client(leaf));
    let right = store.admit(&held, Role::Client, chain)?;
    let agreed = Agreed::of(session.alpn_protocol());
    Ok((stream, Accepted { client, agreed, right }))
}
