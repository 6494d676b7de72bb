//! Model ⇄ protobuf: the only place that spells the generated types, one file per gRPC service.
//!
//! Proxy and control plane share it, so a round trip is a property test. Decoding never fails
//! open: what would change who is let in or where traffic goes, and cannot be represented in
//! [`crate::model`], refuses the whole message. What only tunes (timeouts, retries, breakers,
//! queues) is ignored with a debug line.

pub mod destination;
mod filter;
pub mod identity;
pub mod inbound;
pub mod matching;
pub mod outbound;
pub mod show;
pub mod spiffe;

use std::time::Duration;

use linkerd2_proxy_api::meta as pb;

use crate::model::ResourceRef;

pub use destination::{InvalidEndpoint, InvalidProfile};

/// Why a policy from the control plane cannot be used. The caller then refuses traffic
/// (contract 3.2, 4.3); it never falls back to a wider policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPolicy {
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("{field} is invalid: expected {expected}")]
    Field { field: &'static str, expected: &'static str },
    /// Well formed, but it asks for something that this version cannot do.
    #[error("{0} is not supported")]
    Unsupported(&'static str),
    #[error("forward endpoint: {0}")]
    Endpoint(#[from] InvalidEndpoint),
}

/// Reads where a piece of policy came from.
fn resource(meta: Option<pb::Metadata>) -> Result<ResourceRef, InvalidPolicy> {
    match meta.and_then(|m| m.kind).ok_or(InvalidPolicy::Missing("metadata"))? {
        pb::metadata::Kind::Default(name) => Ok(ResourceRef::Default { name: name.into() }),
        pb::metadata::Kind::Resource(r) => Ok(ResourceRef::Resource {
            group: r.group.into(),
            kind: r.kind.into(),
            name: r.name.into(),
            namespace: r.namespace.into(),
            section: r.section.into(),
            // Labels only: a port out of range must not take the whole policy down.
            port: u16::try_from(r.port).unwrap_or(0),
        }),
    }
}

fn encode_resource(meta: &ResourceRef) -> Option<pb::Metadata> {
    let kind = match meta {
        ResourceRef::Default { name } => pb::metadata::Kind::Default(name.to_string()),
        ResourceRef::Resource { group, kind, name, namespace, section, port } => {
            pb::metadata::Kind::Resource(pb::Resource {
                group: group.to_string(),
                kind: kind.to_string(),
                name: name.to_string(),
                namespace: namespace.to_string(),
                section: section.to_string(),
                port: (*port).into(),
            })
        }
    };
    Some(pb::Metadata { kind: Some(kind) })
}

/// Reads a mandatory duration; negative ones are invalid.
fn duration(field: &'static str, value: Option<prost_types::Duration>) -> Result<Duration, InvalidPolicy> {
    let value = value.ok_or(InvalidPolicy::Missing(field))?;
    Duration::try_from(value)
        .map_err(|_| InvalidPolicy::Field { field, expected: "a duration that is not negative" })
}

/// Durations beyond what the wire can say become the longest that it can.
fn encode_duration(value: Duration) -> Option<prost_types::Duration> {
    let longest = prost_types::Duration { seconds: 315_576_000_000, nanos: 0 };
    Some(prost_types::Duration::try_from(value).unwrap_or(longest))
}

#[cfg(test)]
mod strategies;
