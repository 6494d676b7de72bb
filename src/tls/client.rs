//! Originates mesh TLS towards one workload, and proves that it is that workload.

use rustls::pki_types;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use super::read_ahead::ReadAhead;
use super::{Agreed, CredentialStore, Error, Right, Role, WRITE_LIMIT, subject};
use crate::model::endpoint::EndpointTls;

pub type ClientStream<IO> = tokio_rustls::client::TlsStream<ReadAhead<IO>>;

/// A connection whose far end has proven the identity that was expected of it.
#[derive(Debug)]
pub struct Connected<IO> {
    pub stream: ClientStream<IO>,
    /// What the far end will read first.
    pub agreed: Agreed,
    /// How long the far end may keep the connection.
    pub right: Right,
}

/// What the far end is asked to agree to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    Nothing,
    /// To read a transport header first.
    Transport,
    /// The same, and if it knows how, to count nothing before the connection is used.
    Tentative,
}

/// Shakes hands over `io`, presenting our certificate if there is one, with `expect.server_name` as SNI.
/// The far end must prove `expect.id`, exactly; before that no byte of ours is written. The caller bounds the
/// time.
pub async fn connect<IO>(
    store: &CredentialStore,
    io: IO,
    expect: &EndpointTls,
    offer: Offer,
) -> Result<Connected<IO>, Error>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let sni = pki_types::DnsName::try_from(expect.server_name.as_str())
        .map_err(|_| Error::ServerName(expect.server_name.clone()))?
        .to_owned();
    let held = store.held();
    let stream = TlsConnector::from(held.client_config(offer))
        .connect_with(pki_types::ServerName::DnsName(sni), ReadAhead::new(io), |session| {
            session.set_buffer_limit(Some(WRITE_LIMIT));
        })
        .await?;
    let session = stream.get_ref().1;
    let chain = session.peer_certificates().unwrap_or_default();
    let names = chain.first().map(|leaf| subject::names(leaf)).unwrap_or_default();
    let wrong = |found| Error::WrongIdentity { expected: expect.id.clone(), found };
    if !names.contains(&expect.id) {
        return Err(wrong(names.into_iter().next()));
    }
    let right = store.admit(&held, Role::Server, chain)?.ok_or_else(|| wrong(None))?;
    let agreed = Agreed::of(session.alpn_protocol());
    Ok(Connected { stream, agreed, right })
}
