//! The conditions of one authorization, in order, and the first that a caller does not meet.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::model::inbound::{Authentication, Authorization, IdentityMatch, NetworkMatch};
use crate::model::peer::NoTls;
use crate::model::{DnsName, Peer, WorkloadId};

/// Why an authorization does not let a caller in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed<'a> {
    /// The caller is in none of the networks.
    Network { ip: IpAddr, networks: &'a [NetworkMatch] },
    /// It is in one, and in what is excepted from that.
    Excepted { ip: IpAddr, net: IpNet, except: IpNet },
    /// It did not come in TLS that ended here, for this reason.
    Plaintext(NoTls),
    /// Its TLS is for another name, and was not ended here.
    Passthrough(&'a DnsName),
    /// It presented no certificate, or one that names nobody.
    NoCertificate,
    /// It proved another identity.
    Identity { id: &'a WorkloadId, wanted: &'a [IdentityMatch] },
}

/// # Errors
/// The first condition that is not met: the networks come before the authentication.
pub fn check<'a>(authorization: &'a Authorization, client: IpAddr, peer: &'a Peer) -> Result<(), Failed<'a>> {
    // On a socket for both families, IPv4 clients come as `::ffff:…`.
    check_network(&authorization.networks, client.to_canonical())?;
    check_authentication(&authorization.authentication, peer)
}

fn check_network(networks: &[NetworkMatch], ip: IpAddr) -> Result<(), Failed<'_>> {
    if networks.iter().any(|network| network.contains(ip)) {
        return Ok(());
    }
    let excepted = networks.iter().filter(|network| network.net.contains(&ip)).find_map(|network| {
        let except = network.except.iter().find(|except| except.contains(&ip))?;
        Some(Failed::Excepted { ip, net: network.net, except: *except })
    });
    Err(excepted.unwrap_or(Failed::Network { ip, networks }))
}

fn check_authentication<'a>(wanted: &'a Authentication, peer: &'a Peer) -> Result<(), Failed<'a>> {
    match (wanted, peer) {
        (Authentication::Unauthenticated, _)
        | (Authentication::TlsUnauthenticated, Peer::Identified(_) | Peer::Anonymous) => Ok(()),
        (_, Peer::Plaintext(why)) => Err(Failed::Plaintext(*why)),
        (_, Peer::Passthrough(name)) => Err(Failed::Passthrough(name)),
        (Authentication::Identities(_), Peer::Anonymous) => Err(Failed::NoCertificate),
        (Authentication::Identities(wanted), Peer::Identified(id)) => {
            let known = wanted.iter().any(|one| one.matches(id));
            known.then_some(()).ok_or(Failed::Identity { id, wanted })
        }
    }
}

impl Failed<'_> {
    /// A word for the condition, stable.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Network { .. } => "network",
            Self::Excepted { .. } => "network-except",
            Self::Plaintext(_) => "no-tls",
            Self::Passthrough(_) => "tls-for-another-name",
            Self::NoCertificate => "no-certificate",
            Self::Identity { .. } => "identity",
        }
    }
}

impl fmt::Display for Failed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network { ip, networks } => {
                write!(f, "{ip} is in none of its networks (")?;
                list(f, networks.iter().map(|network| network.net))?;
                f.write_str(")")
            }
            Self::Excepted { ip, net, except } => {
                write!(f, "{ip} is in {net}, but in {except} too, which is excepted")
            }
            Self::Plaintext(NoTls::PortSkipped) => f.write_str(
                "it wants mutual TLS, which is not looked for on an opaque port: only a proxy can bring it",
            ),
            Self::Plaintext(NoTls::NoTlsFromRemote | NoTls::Loopback) => {
                f.write_str("it wants mutual TLS, and the client came in plaintext: has its pod a proxy?")
            }
            Self::Passthrough(name) => {
                write!(f, "it wants mutual TLS with this workload, and the client's TLS is for {name}")
            }
            Self::NoCertificate => f.write_str(
                "it wants an identity, and the client presented no certificate, or one that names nobody",
            ),
            Self::Identity { id, wanted } => {
                write!(f, "{id} is none of the identities that it lets in (")?;
                list(f, wanted.iter())?;
                f.write_str(")")
            }
        }
    }
}

/// What is told of a list; of the rest, how much there is.
const TOLD: usize = 8;

/// Writes a list that may be long.
pub(super) fn list<T: fmt::Display>(
    f: &mut fmt::Formatter<'_>,
    mut items: impl ExactSizeIterator<Item = T>,
) -> fmt::Result {
    for (at, item) in items.by_ref().take(TOLD).enumerate() {
        write!(f, "{}{item}", if at == 0 { "" } else { ", " })?;
    }
    match items.len() {
        0 => Ok(()),
        more => write!(f, " and {more} more"),
    }
}
