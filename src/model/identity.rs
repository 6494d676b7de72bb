//! Who a workload is: the name its certificate proves.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::name::DnsName;

/// A workload's name: DNS-like (`<sa>.<ns>.serviceaccount.identity.<l5d-ns>.<trust domain>`) or a
/// URI (`spiffe://<trust domain>/…`), contract 2.1. DNS names compare lower-cased; one that ends
/// in a dot is not an identity.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WorkloadId {
    Dns(DnsName),
    Uri(Arc<str>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a DNS-like name without trailing dot, or a URI such as spiffe://domain/path")]
pub struct InvalidId;

impl WorkloadId {
    /// The identity that a service account has under one control plane, contract 2.1.
    pub fn service_account(
        sa: &str,
        ns: &str,
        control_ns: &str,
        trust_domain: &str,
    ) -> Result<Self, InvalidId> {
        format!("{sa}.{ns}.serviceaccount.identity.{control_ns}.{trust_domain}").parse()
    }
}

impl FromStr for WorkloadId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        if let Some((scheme, rest)) = text.split_once("://") {
            let scheme_ok = !scheme.is_empty()
                && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
            let printable = text.bytes().all(|b| b.is_ascii_graphic());
            if scheme_ok && !rest.is_empty() && printable && text.len() <= 2048 {
                return Ok(Self::Uri(text.into()));
            }
            return Err(InvalidId);
        }
        if text.ends_with('.') {
            return Err(InvalidId);
        }
        text.parse().map(Self::Dns).map_err(|_| InvalidId)
    }
}

impl fmt::Display for WorkloadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => name.fmt(f),
            Self::Uri(uri) => f.write_str(uri),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_print_as_they_parse() {
        for text in ["web.ns.serviceaccount.identity.linkerd.cluster.local", "spiffe://td/ns/web"] {
            assert_eq!(text.parse::<WorkloadId>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_not_a_name_is_not_an_identity() {
        for bad in ["", "web.", "*.ns", "a b", "spiffe://", "://x", "spiffe://a b"] {
            assert!(bad.parse::<WorkloadId>().is_err(), "{bad:?}");
        }
    }
}
