//! What `GetProfile` says of a target (contract 3.2, controlplane 2.9).

use super::endpoint::Endpoint;
use super::name::DnsName;

/// A destination profile, as far as the path uses it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// Set for services, without a port.
    pub name: Option<DnsName>,
    /// The target's port is opaque, whatever policy says (contract 3.3).
    pub opaque: bool,
    /// The ServiceProfile has routes, which are HTTP's. Only read: what is written has the routes themselves.
    pub http: bool,
    /// Set for single addresses: forward there.
    pub endpoint: Option<Endpoint>,
}
