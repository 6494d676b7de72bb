//! What `GetProfile` says of a target (contract 3.2, controlplane 2.9).

use super::endpoint::Endpoint;
use super::name::DnsName;
use super::service_profile::ServiceProfile;

/// A destination profile.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile {
    /// Set for services, without a port.
    pub name: Option<DnsName>,
    /// The target's port is opaque, whatever policy says (contract 3.3).
    pub opaque: bool,
    /// What a ServiceProfile says; of other targets, nothing.
    pub service: ServiceProfile,
    /// Set for single addresses: forward there.
    pub endpoint: Option<Endpoint>,
}
