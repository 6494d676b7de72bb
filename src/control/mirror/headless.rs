//! Headless Services: a mirror without a cluster IP, and an endpoint mirror for each host behind it, so
//! that hosts keep their names (controlplane 1.10).

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::export::{Export, Exported};
use super::mode::mirror_name;
use super::{
    Address, AddressOf, Endpoints, Metadata, Ports, ServiceEndpoint, SlicePort, Source, Subset, metadata,
    mirror_service,
};
use crate::control::hash;

/// Follows the target's endpoints.
pub(super) fn mirror(export: &mut Export<'_, '_>, exported: Exported<'_>, remotely: bool) {
    let endpoints: Vec<_> = export.target_endpoints(exported).map(Cow::into_owned).collect();
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
    let subset = export.has_gateway(exported).then(|| export.gateway_subset(exported)).flatten();
    let mut subsets: BTreeMap<Vec<SlicePort>, Vec<Address>> = BTreeMap::new();
    let mut hosts = BTreeSet::new();
    for endpoint in endpoints.iter().filter(|endpoint| endpoint.ready) {
        let Some(hostname) = &endpoint.hostname else { continue };
        let name = mirror_name(export.link, &exported.meta.name.beside(hostname));
        if !hosts.insert(hostname) {
            continue;
        }
        if let Err(why) = add_endpoint_mirror(export, exported, hostname, &version, subset.clone()) {
            export.note(format!("the host {hostname} of {} is not mirrored: {why}", exported.meta.name));
            continue;
        }
        let address = Address { hostname: Some(hostname.clone()), at: AddressOf::Service(name) };
        subsets.entry((*endpoint.ports).clone()).or_default().push(address);
    }
    let subset = |(ports, addresses): (_, Vec<_>)| Subset {
        addresses: addresses.into(),
        not_ready: Arc::default(),
        ports: Ports::Listed(ports),
    };
    let metadata = Metadata::copied(Source::Endpoints(export.origin(exported)));
    let endpoints = Endpoints { metadata, subsets: subsets.into_iter().map(subset).collect() };
    export.cluster.endpoints.push((mirror_name(export.link, &exported.meta.name), Arc::new(endpoints)));
}

/// `<hostname>-<cluster>`: a cluster IP whose only endpoints are the gateway's; or why it could not be added.
fn add_endpoint_mirror(
    export: &mut Export<'_, '_>,
    exported: Exported<'_>,
    hostname: &str,
    version: &str,
    subset: Option<Subset>,
) -> Result<(), String> {
    let parent = mirror_name(export.link, &exported.meta.name);
    let name = mirror_name(export.link, &exported.meta.name.beside(hostname));
    let mut service = mirror_service(exported.service);
    let mut labels = metadata::labels(export.link, exported.meta);
    labels.insert(metadata::PARENT.into(), parent.name.to_string());
    let labels = Arc::new(labels);
    let annotations = metadata::host_annotations(export.link, exported.meta, hostname, version);
    service.metadata = Metadata::given(labels.clone(), annotations.into());
    export.cluster.add(&name, service)?;
    let annotations = metadata::endpoints_annotations(export.link, exported.meta, Some(hostname));
    let metadata = Metadata::given(labels, annotations.into());
    let endpoints = Endpoints { metadata, subsets: subset.into_iter().collect() };
    export.cluster.endpoints.push((name, Arc::new(endpoints)));
    Ok(())
}
