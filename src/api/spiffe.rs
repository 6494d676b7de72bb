//! What this proxy asks of a SPIFFE Workload API (contract 2.5): the messages of `FetchX509SVID`, as far as they are read.

use http::uri::PathAndQuery;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

const METHOD: &str = "/SpiffeWorkloadAPI/FetchX509SVID";

/// Nothing is asked but for the caller's own.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct X509SvidRequest {}

#[derive(Clone, PartialEq, prost::Message)]
pub struct X509SvidResponse {
    #[prost(message, repeated, tag = "1")]
    pub svids: Vec<X509Svid>,
}

/// One identity of the caller. Its trust bundle (field 4) is not read: whom to trust is said elsewhere.
#[derive(Clone, PartialEq, prost::Message)]
pub struct X509Svid {
    #[prost(string, tag = "1")]
    pub spiffe_id: String,
    /// Certificates in DER, one after the other, the leaf first.
    #[prost(bytes = "vec", tag = "2")]
    pub x509_svid: Vec<u8>,
    /// PKCS#8 in DER.
    #[prost(bytes = "vec", tag = "3")]
    pub x509_svid_key: Vec<u8>,
}

/// Opens the stream of the caller's identities. The metadata proves that no browser was tricked into asking.
pub async fn fetch(channel: Channel) -> Result<Streaming<X509SvidResponse>, Status> {
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let mut request = Request::new(X509SvidRequest {});
    request.metadata_mut().insert("workload.spiffe.io", MetadataValue::from_static("true"));
    let codec = ProstCodec::<X509SvidRequest, X509SvidResponse>::default();
    let answer = client.server_streaming(request, PathAndQuery::from_static(METHOD), codec).await?;
    Ok(answer.into_inner())
}
