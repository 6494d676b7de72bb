//! Headless Services: a mirror without a cluster IP, and an endpoint mirror for each host behind it, so
//! that hosts keep their names (controlplane 1.10).

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::export::{Export, Exported};
use super::{
    Address, AddressOf, EndpointPort, Endpoints, ObjectName, ServiceEndpoint, Subset, metadata,
    mirror_service,
};
use crate::control::hash;

/// Follows the target's endpoints. The selector for remote discovery alone mirrors nothing here.
pub(super) fn mirror(export: &mut Export<'_, '_>, exported: Exported<'_>, by_gateway: bool, remotely: bool) {
    let endpoints: Vec<_> = export.target_endpoints(exported).map(Cow::into_owned).collect();
    if !by_gateway {
        return export.left_out(exported, "headless Services are mirrored through a gateway only");
    }
    if endpoints.is_empty() {
        return export.left_out(exported, "it is headless, and its endpoints are not known yet");
    }
    if !export.has_namespace(exported) {
        return;
    }
    // Without names there is nothing to keep: an ordinary mirror, which remote discovery wins.
    let named = endpoints.iter().any(|endpoint| endpoint.hostname.is_some());
    let Some(mirror) = export.add_mirror(exported, named) else { return };
    if named {
        add_hosts(export, exported, &endpoints);
    } else if !remotely {
        let ready = endpoints.iter().any(|endpoint| endpoint.ready);
        export.add_gateway_endpoints(exported, mirror, ready);
    }
}

/// An endpoint mirror for each ready host, and the mirror's own Endpoints with their addresses.
fn add_hosts(export: &mut Export<'_, '_>, exported: Exported<'_>, endpoints: &[ServiceEndpoint]) {
    let version = hash::version(&format!("{endpoints:?}"));
    let gateway = export.gateway(exported);
    let mut subsets: BTreeMap<Vec<EndpointPort>, Vec<Address>> = BTreeMap::new();
    let mut hosts = BTreeSet::new();
    for endpoint in endpoints.iter().filter(|endpoint| endpoint.ready) {
        let Some(hostname) = &endpoint.hostname else { continue };
        let name = export.mirror_name(&ObjectName::new(&exported.meta.name.namespace, hostname));
        if !hosts.insert(hostname) {
            continue;
        }
        let subset = gateway
            .and_then(|gateway| export.cluster.gateways.subset(&export.meta.name, gateway, exported.service));
        if let Err(why) = add_endpoint_mirror(export, exported, hostname, &version, subset) {
            export.note(format!("the host {hostname} of {} is not mirrored: {why}", exported.meta.name));
            continue;
        }
        let ports = endpoint.ports.iter().map(|(name, port)| EndpointPort {
            name: name.clone(),
            protocol: "TCP".into(),
            port: *port,
        });
        let address = Address { hostname: Some(hostname.clone()), at: AddressOf::Service(name) };
        subsets.entry(ports.collect()).or_default().push(address);
    }
    let endpoints = Endpoints {
        labels: Arc::new(metadata::endpoints_labels(export.link, exported.meta)),
        annotations: Arc::new(metadata::endpoints_annotations(export.link, exported.meta, None)),
        subsets: subsets
            .into_iter()
            .map(|(ports, addresses)| Subset { addresses, not_ready: Vec::new(), ports })
            .collect(),
    };
    export.cluster.endpoints.push((export.mirror_name(&exported.meta.name), endpoints));
}

/// `<hostname>-<cluster>`: a cluster IP whose only endpoints are the gateway's; or why it could not be added.
fn add_endpoint_mirror(
    export: &mut Export<'_, '_>,
    exported: Exported<'_>,
    hostname: &str,
    version: &str,
    subset: Option<Subset>,
) -> Result<(), String> {
    let parent = export.mirror_name(&exported.meta.name);
    let name = export.mirror_name(&ObjectName::new(&exported.meta.name.namespace, hostname));
    let mut service = mirror_service(exported.service);
    let mut labels = metadata::mirror_labels(export.link, exported.meta);
    labels.insert("mirror.linkerd.io/headless-mirror-svc-name".into(), parent.name.to_string());
    let labels = Arc::new(labels);
    service.labels = labels.clone();
    service.annotations = Arc::new(metadata::host_annotations(export.link, exported.meta, hostname, version));
    export.cluster.add(&name, service)?;
    let endpoints = Endpoints {
        labels,
        annotations: Arc::new(metadata::endpoints_annotations(export.link, exported.meta, Some(hostname))),
        subsets: subset.into_iter().collect(),
    };
    export.cluster.endpoints.push((name, endpoints));
    Ok(())
}
