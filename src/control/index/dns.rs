//! The cluster's names, as a name server answers for them in Kubernetes: Services and their ports, hosts of
//! headless ones, pods by address, and addresses by name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::slices::ServiceEndpoint;
use super::world::World;
use super::{ObjectName, Service};

/// What a question about a name comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// Not a name of this cluster: others would have to be asked.
    Foreign,
    /// There is no such name.
    Unknown,
    /// It is there, with or without what was asked for.
    Known(Records),
}

/// What is known under a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// Names that it stands for, one after the other; what else there is belongs to the last of them.
    pub aliases: Vec<String>,
    pub addresses: Vec<IpAddr>,
    pub services: Vec<ServiceRecord>,
    /// Names of an address.
    pub names: Vec<String>,
}

/// Where a port is served.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceRecord {
    pub target: String,
    pub port: u16,
    /// The target's.
    pub addresses: Vec<IpAddr>,
}

/// Services of the control plane itself, all answered by one process, with the port of each
/// (controlplane 9).
const OWN_SERVICES: [(&str, u16); 5] = [
    ("linkerd-dst", 8086),
    ("linkerd-dst-headless", 8086),
    ("linkerd-policy", 8090),
    ("linkerd-identity", 8080),
    ("linkerd-identity-headless", 8080),
];

/// `name` may have a trailing dot, and be in any case.
pub(super) fn resolve(world: &World, name: &str) -> Resolved {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    if let Some(ip) = reversed(&name) {
        return names_of(world, ip);
    }
    let Some(labels) = below(world, &name) else { return Resolved::Foreign };
    let labels: Vec<&str> = labels.split('.').filter(|label| !label.is_empty()).collect();
    let found = match labels.as_slice() {
        [] | ["svc" | "pod" | "dns-version"] => Some(Records::default()),
        [namespace, "svc" | "pod"] => world.namespaces.contains(*namespace).then(Records::default),
        [service, namespace, "svc"] => of_service(world, namespace, service, &Asked::All),
        [host, service, namespace, "svc"] => of_service(world, namespace, service, &Asked::Host(host)),
        [port, protocol, service, namespace, "svc"] => {
            match (port.strip_prefix('_'), protocol.strip_prefix('_')) {
                (Some(port), Some(protocol)) => {
                    of_service(world, namespace, service, &Asked::Port(port, protocol))
                }
                _ => None,
            }
        }
        [ip, namespace, "pod"] => of_pod(world, namespace, ip),
        _ => None,
    };
    found.map_or(Resolved::Unknown, Resolved::Known)
}

fn below<'n>(world: &World, name: &'n str) -> Option<&'n str> {
    let rest = name.strip_suffix(world.settings.cluster_domain.as_str())?;
    (rest.is_empty() || rest.ends_with('.')).then_some(rest)
}

/// What of a Service is asked for.
enum Asked<'a> {
    All,
    Host(&'a str),
    /// By name and protocol.
    Port(&'a str, &'a str),
}

fn of_service(world: &World, namespace: &str, name: &str, asked: &Asked<'_>) -> Option<Records> {
    let Some(service) = world.services.get(&ObjectName::new(namespace, name)) else {
        return of_control_plane(world, namespace, name, asked);
    };
    let host = format!("{name}.{namespace}.svc.{}", world.settings.cluster_domain);
    if let Some(alias) = &service.external_name {
        return matches!(asked, Asked::All).then(|| aliased(world, alias));
    }
    match asked {
        Asked::All | Asked::Port(..) if !service.headless => by_cluster_ip(service, &host, asked),
        _ => by_endpoints(world, service, &host, asked),
    }
}

fn by_cluster_ip(service: &Service, host: &str, asked: &Asked<'_>) -> Option<Records> {
    let addresses: Vec<_> = service.cluster_ip.iter().chain(&service.other_ip).copied().collect();
    let ports = service.ports.iter().filter(|port| wanted(asked, &port.name, &port.protocol));
    let mut services: Vec<_> = ports
        .map(|port| ServiceRecord { target: host.to_owned(), port: port.port, addresses: addresses.clone() })
        .collect();
    services.sort_unstable();
    services.dedup();
    (matches!(asked, Asked::All) || !services.is_empty()).then(|| Records {
        addresses: if matches!(asked, Asked::All) { addresses } else { Vec::new() },
        services,
        ..Records::default()
    })
}

/// Without a ready endpoint the name of a headless Service does not exist.
fn by_endpoints(world: &World, service: &Service, host: &str, asked: &Asked<'_>) -> Option<Records> {
    let mut records = Records::default();
    for endpoint in world.endpoints_of(&service.name).filter(|endpoint| endpoint.ready) {
        let label = host_label(&endpoint);
        if matches!(asked, Asked::Host(wanted) if **wanted != label) {
            continue;
        }
        let ports = endpoint.ports.iter().filter(|port| wanted(asked, &port.name, &port.protocol));
        let services = ports.map(|port| ServiceRecord {
            target: format!("{label}.{host}"),
            port: port.port,
            addresses: vec![endpoint.ip],
        });
        records.services.extend(services);
        if !matches!(asked, Asked::Port(..)) {
            records.addresses.push(endpoint.ip);
        }
    }
    records.addresses.sort_unstable();
    records.addresses.dedup();
    records.services.sort_unstable();
    records.services.dedup();
    (records != Records::default()).then_some(records)
}

/// The host name, or the address with dashes.
fn host_label(endpoint: &ServiceEndpoint) -> String {
    endpoint.hostname.as_deref().map_or_else(|| dashed(endpoint.ip), str::to_owned)
}

fn dashed(ip: IpAddr) -> String {
    ip.to_string().replace(['.', ':'], "-")
}

fn wanted(asked: &Asked<'_>, name: &str, protocol: &str) -> bool {
    match asked {
        // One without a name has no record of its own.
        Asked::Port(port, of) => !name.is_empty() && *port == name && protocol.eq_ignore_ascii_case(of),
        _ => true,
    }
}

fn of_control_plane(world: &World, namespace: &str, name: &str, asked: &Asked<'_>) -> Option<Records> {
    let (_, port) = OWN_SERVICES.into_iter().find(|(own, _)| *own == name)?;
    let ip = world.settings.control_addr;
    let here = namespace == world.settings.control_namespace;
    let asked_for = match asked {
        Asked::All => true,
        Asked::Host(host) => *host == dashed(ip),
        Asked::Port(name, protocol) => *name == "grpc" && *protocol == "tcp",
    };
    if !here || !asked_for {
        return None;
    }
    let target = format!("{}.{name}.{namespace}.svc.{}", dashed(ip), world.settings.cluster_domain);
    let addresses = if matches!(asked, Asked::Port(..)) { Vec::new() } else { vec![ip] };
    Some(Records {
        addresses,
        services: vec![ServiceRecord { target, port, addresses: vec![ip] }],
        ..Records::default()
    })
}

/// ExternalNames that lead to each other end somewhere.
const LONGEST_CHAIN: usize = 8;

/// Follows an ExternalName as far as the names are the cluster's own.
fn aliased(world: &World, alias: &str) -> Records {
    let mut aliases = vec![alias.trim_end_matches('.').to_ascii_lowercase()];
    while let Some(last) = aliases.last() {
        let labels: Vec<&str> = below(world, last).unwrap_or_default().split('.').collect();
        let next = match labels.as_slice() {
            [service, namespace, "svc", ""] => world.services.get(&ObjectName::new(namespace, service)),
            _ => None,
        };
        match next.and_then(|service| service.external_name.as_ref()) {
            Some(next) if aliases.len() < LONGEST_CHAIN => {
                aliases.push(next.trim_end_matches('.').to_ascii_lowercase());
            }
            Some(_) => return Records { aliases, ..Records::default() },
            None => match resolve(world, last) {
                Resolved::Known(records) => return Records { aliases, ..records },
                _ => return Records { aliases, ..Records::default() },
            },
        }
    }
    Records::default()
}

/// The pod need not exist, only its namespace.
fn of_pod(world: &World, namespace: &str, ip: &str) -> Option<Records> {
    let v4 = ip.replace('-', ".").parse::<Ipv4Addr>().map(IpAddr::V4);
    let ip = v4.or_else(|_| ip.replace('-', ":").parse::<Ipv6Addr>().map(IpAddr::V6)).ok()?;
    let records = Records { addresses: vec![ip], ..Records::default() };
    world.namespaces.contains(namespace).then_some(records)
}

/// The address that `9.1.43.10.in-addr.arpa` or its twin with nibbles stands for.
fn reversed(name: &str) -> Option<IpAddr> {
    if let Some(octets) = name.strip_suffix(".in-addr.arpa") {
        let octets: Vec<&str> = octets.rsplit('.').collect();
        return octets.join(".").parse::<Ipv4Addr>().ok().map(IpAddr::V4);
    }
    let nibbles: Vec<&str> = name.strip_suffix(".ip6.arpa")?.rsplit('.').collect();
    if nibbles.len() != 32 || nibbles.iter().any(|nibble| nibble.len() != 1) {
        return None;
    }
    u128::from_str_radix(&nibbles.concat(), 16).ok().map(|bits| IpAddr::V6(bits.into()))
}

/// Of Services by their cluster IP; else of the hosts behind those that select a pod with the address, or that are headless
/// and have it in a list.
fn names_of(world: &World, ip: IpAddr) -> Resolved {
    let domain = &world.settings.cluster_domain;
    let host = |name: &ObjectName| format!("{}.{}.svc.{domain}", name.name, name.namespace);
    let services = world.services_at(ip);
    let mut names: Vec<_> = services.map(|service| host(&service.name)).collect();
    if names.is_empty() {
        let pods: Vec<_> = world.pods_at(ip).collect();
        let behind = |service: &&Service| match service.selector.is_empty() {
            true => service.headless,
            false => pods
                .iter()
                .any(|pod| pod.name.namespace == service.name.namespace && service.selects(&pod.labels)),
        };
        for service in world.services.values().filter(behind) {
            let found = world.endpoints_at(service, ip).filter(|endpoint| endpoint.ready);
            names.extend(found.map(|endpoint| format!("{}.{}", host_label(&endpoint), host(&service.name))));
        }
    }
    match names.is_empty() {
        true => Resolved::Foreign,
        false => Resolved::Known(Records { names, ..Records::default() }),
    }
}
