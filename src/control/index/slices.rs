//! Endpoints of Services: given by slices or Endpoints, drawn from selectors and readiness where they are
//! not, or written by the mirror.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

use crate::control::manifest::labelled::Labelled;
use crate::control::manifest::slice::SlicePort;
use crate::control::manifest::{Documents, EndpointSlice, ExternalWorkload, Meta, Object};
use crate::control::mirror::{Endpoints, Texts};
use crate::control::ordered::{InOrder, Ordered};

use super::external::{self, ZONE};
use super::pods::Pods;
use super::world::Services;
use super::{ObjectName, Pod, Service};

/// One address of a Service, before it is known which port is asked for.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::control) struct ServiceEndpoint {
    pub(super) ip: IpAddr,
    pub(in crate::control) ready: bool,
    pub(in crate::control) hostname: Option<Arc<str>>,
    pub(super) backing: Backing,
    /// With the names of the Service's ports.
    pub(in crate::control) ports: Arc<Vec<SlicePort>>,
    pub(super) zone: Option<Arc<str>>,
    /// Zones whose clients it is meant for; empty without hints.
    pub(super) for_zones: Vec<Arc<str>>,
    /// Of its slice (controlplane 2.4): who answers at a gateway, and for which name.
    pub(super) slice: Arc<Texts>,
}

impl ServiceEndpoint {
    /// The number of a Service's port here.
    pub(super) fn port(&self, name: &str) -> Option<u16> {
        self.ports.iter().find(|port| port.name == name).map(|port| port.port)
    }
}

/// By Service. A Service that can have no endpoints has no entry.
pub(super) type ByService = Ordered<ObjectName, Vec<Part>>;

/// Some of a Service's endpoints.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Part {
    Listed(Vec<ServiceEndpoint>),
    /// Those of pods that share a template, at these places among all: they follow from the Service and the pods,
    /// of which there are too many to write down each once more.
    Drawn(Range<u32>),
    /// Those that the mirror writes, as it wrote them: of most nobody asks which slices they would be.
    Mirrored(Arc<Endpoints>),
}

/// What runs at an address.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Backing {
    /// Nothing that is known of, such as another cluster's gateway.
    Plain,
    Pod(ObjectName),
    External(ObjectName),
}

/// What a controller writes on the slices of a Service, whose labels it copies.
pub(super) fn head(service: &Service) -> Arc<Texts> {
    Arc::new(Texts { labels: service.labels().clone(), annotations: Arc::default() })
}

/// Who wrote a slice.
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// For pods, for Endpoints and for external workloads.
const POD_CONTROLLER: &str = "endpointslice-controller.k8s.io";
const MIRRORING_CONTROLLER: &str = "endpointslicemirroring-controller.k8s.io";
const EXTERNAL_CONTROLLER: &str = "linkerd-external-workloads-controller";

/// Every Service's endpoints; `mirrored` are those that the mirror writes. A Service that can have none has no entry.
/// What a controller printed stands for what is worked out here.
pub(super) fn endpoints(
    documents: &Documents,
    services: &Services,
    pods: &Pods,
    mirrored: &Ordered<ObjectName, Arc<Endpoints>>,
) -> ByService {
    let mut written = written(documents).into_iter().peekable();
    let alike: Vec<Alike<'_>> =
        pods.alike().filter_map(|places| Some((pods.within(&places).first()?, places))).collect();
    let drawn = Drawn::new(documents, services, &alike);
    let (mut copies, mut mirrors) = (InOrder::of(&documents.endpoints), InOrder::of(mirrored));
    let mut all = Vec::new();
    for (name, service) in services {
        // Of Services that are not there.
        while let Some((missing, written)) = written.next_if(|(known, _)| known < name) {
            all.extend(written.parts().map(|parts| (missing, parts)));
        }
        let written = written.next_if(|(known, _)| known == name).map(|(_, written)| written);
        let Written { endpoints, controllers } = written.unwrap_or_default();
        let mut parts = Vec::new();
        list(&mut parts, endpoints);
        // An ExternalName gets no endpoints by its selector.
        if !service.selector.is_empty() && service.external_name.is_none() {
            drawn.add(service, &controllers, &mut parts);
        } else if !controllers.contains(&MIRRORING_CONTROLLER) {
            list(&mut parts, copies.get(name).map(copied).unwrap_or_default());
        }
        parts.extend(mirrors.get(name).filter(|made| !made.subsets.is_empty()).cloned().map(Part::Mirrored));
        if !parts.is_empty() {
            all.push((name.clone(), parts));
        }
    }
    all.extend(written.filter_map(|(missing, written)| Some((missing, written.parts()?))));
    all.into_iter().collect()
}

fn list(parts: &mut Vec<Part>, endpoints: Vec<ServiceEndpoint>) {
    if !endpoints.is_empty() {
        parts.push(Part::Listed(endpoints));
    }
}

/// The slices of one Service that are among the documents, and who wrote them.
#[derive(Default)]
struct Written<'a> {
    endpoints: Vec<ServiceEndpoint>,
    controllers: Vec<&'a str>,
}

impl Written<'_> {
    fn parts(self) -> Option<Vec<Part>> {
        (!self.endpoints.is_empty()).then(|| vec![Part::Listed(self.endpoints)])
    }
}

fn written(documents: &Documents) -> BTreeMap<ObjectName, Written<'_>> {
    let mut written: BTreeMap<ObjectName, Written<'_>> = BTreeMap::new();
    for (meta, slice) in documents.endpoint_slices.values() {
        let Some(service) = service_of(meta) else { continue };
        let of_service = written.entry(service).or_default();
        of_service.controllers.extend(meta.labels.get(MANAGED_BY).map(String::as_str));
        of_service.endpoints.extend(given(&meta.name.namespace, slice, &Arc::new(Texts::of(meta))));
    }
    written
}

/// What selectors draw from: pods of one template beside each other, and external workloads.
struct Drawn<'a> {
    alike: Labelled<'a, Alike<'a>>,
    external: Labelled<'a, Object<ExternalWorkload>>,
}

/// The first of pods that share a template, and the places of all.
type Alike<'a> = (&'a Pod, Range<u32>);

impl<'a> Drawn<'a> {
    fn new(documents: &'a Documents, services: &'a Services, alike: &'a [Alike<'a>]) -> Self {
        let keys =
            services.values().flat_map(|service| service.selector.keys()).map(String::as_str).collect();
        let of_first = |pods: &'a Alike<'a>| (&*pods.0.name.namespace, &*pods.0.labels, pods);
        let external = documents.external_workloads.values();
        let external = external.map(|workload| (&*workload.0.name.namespace, &*workload.0.labels, workload));
        Self {
            alike: Labelled::of(alike.iter().map(of_first), &keys),
            external: Labelled::of(external, &keys),
        }
    }

    /// What a Service's selector takes, where none of these `controllers` has written it.
    fn add(&self, service: &Service, controllers: &[&str], parts: &mut Vec<Part>) {
        if !controllers.contains(&POD_CONTROLLER) {
            let candidates = self.alike.candidates(&service.name.namespace, &service.selector).iter();
            let chosen = candidates.filter(|(first, _)| service.selects(&first.labels));
            parts.extend(chosen.map(|(_, places)| Part::Drawn(places.clone())));
        }
        if !controllers.contains(&EXTERNAL_CONTROLLER) {
            list(parts, external::endpoints(&self.external, service));
        }
    }
}

/// Zones of nodes, by name.
pub(super) fn zones(documents: &Documents) -> BTreeMap<Arc<str>, Arc<str>> {
    let nodes = documents.nodes.values();
    nodes
        .filter_map(|(meta, _)| Some((meta.name.name.clone(), meta.labels.get(ZONE)?.as_str().into())))
        .collect()
}

/// Hand-made Endpoints as slices, labels and annotations included; of Services without a selector only.
fn copied((meta, slices): &Object<Vec<EndpointSlice>>) -> Vec<ServiceEndpoint> {
    if meta.labels.get("endpointslice.kubernetes.io/skip-mirror").is_some_and(|skip| skip == "true") {
        return Vec::new();
    }
    let head = Arc::new(Texts::of(meta));
    slices.iter().flat_map(|slice| given(&meta.name.namespace, slice, &head)).collect()
}

/// The Service of a slice: its label, else an owner (controlplane 2.4).
fn service_of(meta: &Meta) -> Option<ObjectName> {
    let owner = || meta.owners.iter().find(|owner| owner.kind == "Service").map(|owner| &owner.name);
    let name = meta.labels.get("kubernetes.io/service-name").or_else(owner)?;
    Some(ObjectName::new(&meta.name.namespace, name))
}

fn given(namespace: &str, slice: &EndpointSlice, head: &Arc<Texts>) -> Vec<ServiceEndpoint> {
    let ports = Arc::new(slice.ports.clone());
    let mut endpoints = Vec::new();
    for endpoint in &slice.endpoints {
        let backing = match &endpoint.target {
            None => Backing::Plain,
            Some(target) if target.kind == "Pod" => {
                let namespace = target.namespace.as_deref().unwrap_or(namespace);
                Backing::Pod(ObjectName::new(namespace, &target.name))
            }
            Some(target) if target.kind == "ExternalWorkload" => {
                Backing::External(ObjectName::new(namespace, &target.name))
            }
            Some(_) => continue,
        };
        endpoints.extend(endpoint.addresses.iter().map(|ip| ServiceEndpoint {
            ip: *ip,
            ready: endpoint.ready,
            hostname: endpoint.hostname.clone(),
            backing: backing.clone(),
            ports: ports.clone(),
            zone: endpoint.zone.clone(),
            for_zones: endpoint.for_zones.clone(),
            slice: head.clone(),
        }));
    }
    endpoints
}
