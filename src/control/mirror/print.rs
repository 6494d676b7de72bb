//! What was derived as manifests, in the order in which they can be applied: namespaces, then Services
//! with their Endpoints, by name.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::metadata::MIRRORED;
use super::{Address, AddressOf, Endpoints, Metadata, Mirrored, ObjectName, Service, ServicePort, SlicePort};
use crate::control::index::CLUSTER_NAME;
use crate::control::manifest::labelled::Labels;
use crate::control::manifest::workload::PortRef;
use crate::control::yaml::Yaml;

/// YAML for `kubectl apply`; empty where nothing was derived. `cluster_ip` says which address a Service
/// was given: the Endpoints of a headless mirror hold those of its hosts' mirrors, which therefore ask
/// for them.
pub fn manifests(mirrored: &Mirrored, cluster_ip: impl Fn(&ObjectName) -> Option<IpAddr>) -> String {
    let asked: BTreeSet<&ObjectName> =
        mirrored.endpoints.values().flat_map(|endpoints| referred(endpoints)).collect();
    let mut documents: Vec<Yaml> =
        mirrored.namespaces.iter().map(|(name, cluster)| namespace(name, cluster)).collect();
    for (name, made) in &mirrored.services {
        let ip = cluster_ip(name).filter(|_| asked.contains(name));
        documents.push(service(made, ip));
        documents.extend(mirrored.endpoints.get(name).map(|found| endpoints(name, found, &cluster_ip)));
    }
    documents.iter().map(|document| format!("---\n{document}")).collect()
}

fn referred(endpoints: &Endpoints) -> impl Iterator<Item = &ObjectName> {
    endpoints.subsets.iter().flat_map(|subset| &*subset.addresses).filter_map(|address| match &address.at {
        AddressOf::Service(name) => Some(name),
        AddressOf::Ip(_) => None,
    })
}

fn namespace(name: &str, cluster: &str) -> Yaml {
    let labels = [(CLUSTER_NAME, cluster), (MIRRORED, "true")];
    let labels = Yaml::map(labels.map(|(key, value)| (key, Yaml::text(value))));
    let meta = Yaml::map([("labels", labels), ("name", Yaml::text(name))]);
    Yaml::map([("apiVersion", Yaml::text("v1")), ("kind", Yaml::text("Namespace")), ("metadata", meta)])
}

fn service(service: &Service, ip: Option<IpAddr>) -> Yaml {
    let ip = if service.headless { Some("None".to_owned()) } else { ip.map(|ip| ip.to_string()) };
    let ports = Yaml::List(service.ports.iter().map(service_port).collect());
    let spec = ip.map(|ip| ("clusterIP", Yaml::Text(ip))).into_iter().chain([("ports", ports)]);
    object("Service", metadata(&service.name, &service.metadata), ("spec", Yaml::map(spec)))
}

fn service_port(port: &ServicePort) -> Yaml {
    let target = match &port.target {
        PortRef::Number(number) => Yaml::number(*number),
        PortRef::Name(name) => Yaml::text(name),
    };
    let named = named(&port.name);
    Yaml::map(named.into_iter().chain([
        ("port", Yaml::number(port.port)),
        ("protocol", Yaml::text(&port.protocol)),
        ("targetPort", target),
    ]))
}

fn endpoints(
    name: &ObjectName,
    endpoints: &Endpoints,
    cluster_ip: &impl Fn(&ObjectName) -> Option<IpAddr>,
) -> Yaml {
    let address = |address: &Address| {
        let ip = match &address.at {
            AddressOf::Ip(ip) => *ip,
            AddressOf::Service(name) => cluster_ip(name)?,
        };
        let hostname = address.hostname.as_ref().map(|name| ("hostname", Yaml::text(name)));
        Some(Yaml::map(hostname.into_iter().chain([("ip", Yaml::Text(ip.to_string()))])))
    };
    let subsets = endpoints.subsets.iter().map(|subset| {
        let lists = [("addresses", &subset.addresses), ("notReadyAddresses", &subset.not_ready)];
        let lists = lists.into_iter().filter(|(_, list)| !list.is_empty());
        let lists = lists.map(|(key, list)| (key, Yaml::List(list.iter().filter_map(address).collect())));
        let ports = subset.ports().iter().map(endpoint_port).collect();
        Yaml::map(lists.chain([("ports", Yaml::List(ports))]))
    });
    let subsets = Yaml::List(subsets.collect());
    object("Endpoints", metadata(name, &endpoints.metadata), ("subsets", subsets))
}

fn endpoint_port(port: &SlicePort) -> Yaml {
    let rest = [("port", Yaml::number(port.port)), ("protocol", Yaml::text(&port.protocol))];
    Yaml::map(named(&port.name).into_iter().chain(rest))
}

fn named(name: &str) -> Option<(&'static str, Yaml)> {
    (!name.is_empty()).then(|| ("name", Yaml::text(name)))
}

fn object(kind: &str, metadata: Yaml, body: (&str, Yaml)) -> Yaml {
    let head = [("apiVersion", Yaml::text("v1")), ("kind", Yaml::text(kind)), ("metadata", metadata)];
    Yaml::map(head.into_iter().chain([body]))
}

fn metadata(name: &ObjectName, metadata: &Metadata) -> Yaml {
    let texts = |map: &Labels| Yaml::map(map.iter().map(|(key, value)| (key, Yaml::text(value))));
    let maps = [("annotations", metadata.annotations()), ("labels", metadata.labels())];
    let maps = maps.into_iter().filter(|(_, map)| !map.is_empty()).map(|(key, map)| (key, texts(map)));
    Yaml::map(maps.chain([("name", Yaml::text(&name.name)), ("namespace", Yaml::text(&name.namespace))]))
}
