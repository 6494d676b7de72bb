//! The nouns: plain data that travels between discovery, policy and the two paths.
//!
//! No protobuf, no sockets, no tokio: every value here can be built in a test in one line and
//! compared with `==`. Protobuf is read and written in [`crate::api`].

pub mod duration;
pub mod endpoint;
pub mod filter;
pub mod identity;
pub mod inbound;
pub mod matching;
pub mod meta;
pub mod name;
pub mod outbound;
pub mod peer;
pub mod profile;
pub mod protocol;
pub mod service_profile;

pub use endpoint::{Endpoint, EndpointUpdate};
pub use identity::WorkloadId;
pub use inbound::ServerPolicy;
pub use meta::ResourceRef;
pub use name::{Authority, DnsName};
pub use outbound::OutboundPolicy;
pub use peer::Peer;
pub use profile::Profile;
