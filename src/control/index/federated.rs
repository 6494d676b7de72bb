//! Federated Services: the endpoints of all members, near and far, as one set (controlplane 2.7).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::endpoints::{Query, REMOTE_DISCOVERY, set_labels};
use super::world::Services;
use super::{EndpointSet, ObjectName, Service, Snapshot};

/// Annotation with this cluster's own member (controlplane 1.5).
pub(in crate::control) const LOCAL_DISCOVERY: &str = "multicluster.linkerd.io/local-discovery";

/// By either annotation, empty ones too; the label of the same name means something else.
pub(in crate::control) fn is_federated(service: &Service) -> bool {
    [REMOTE_DISCOVERY, LOCAL_DISCOVERY].iter().any(|key| service.annotations().contains_key(key))
}

/// The union. A member whose cluster or Service is not known contributes nothing.
pub(super) fn union(snapshot: &Snapshot, service: &Service, query: &Query<'_>) -> EndpointSet {
    let mut sets = Vec::new();
    if let Some(local) = member(&snapshot.own.services, service, service.annotations().get(LOCAL_DISCOVERY)) {
        sets.push(query.near(&snapshot.own, local));
    }
    let remote = service.annotations().get(REMOTE_DISCOVERY).map(String::as_str).unwrap_or_default();
    for item in remote.split(',') {
        let Some((name, cluster)) = item.split_once('@').filter(|(_, cluster)| !cluster.contains('@')) else {
            continue;
        };
        let Some(world) = snapshot.remotes.get(cluster) else { continue };
        if let Some(member) = member(&world.services, service, Some(&name.to_owned())) {
            sets.push(query.far(world, member));
        }
    }
    merge(sets, service)
}

/// Members lie in the federated Service's own namespace.
fn member<'a>(services: &'a Services, federated: &Service, name: Option<&String>) -> Option<&'a Service> {
    services.get(&ObjectName::new(&federated.name.namespace, name?))
}

/// Members have one name, so that their sets' labels are the same; where somebody wrote the annotation
/// by hand, an endpoint carries its own set's labels where they differ.
fn merge(sets: Vec<EndpointSet>, service: &Service) -> EndpointSet {
    let labels = sets.first().map_or_else(|| set_labels(&service.name, None), |set| set.labels.clone());
    let mut endpoints = BTreeMap::new();
    for set in sets {
        for (addr, mut endpoint) in set.endpoints {
            if set.labels != labels {
                let mut own = (*set.labels).clone();
                own.append(Arc::make_mut(&mut endpoint.labels));
                endpoint.labels = Arc::new(own);
            }
            endpoints.insert(addr, endpoint);
        }
    }
    EndpointSet { labels, endpoints, federated: true }
}
