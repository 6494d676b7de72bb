//! The endpoints behind a Service, when somebody asks: those that are listed, those that its selector draws from
//! pods, which follow from both, and those that the mirror writes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::control::manifest::service::Family;
use crate::control::manifest::slice::SlicePort;
use crate::control::mirror::{AddressOf, Endpoints, Texts};
use crate::control::ordered::InOrder;

use super::slices::{self, Backing, Part, ServiceEndpoint};
use super::world::{Services, World};
use super::{ObjectName, Phase, Pod, Service, Template};

impl World {
    /// In their order. Each is shared where it is listed, and made where it is not.
    pub(in crate::control) fn endpoints_of(
        &self,
        service: &ObjectName,
    ) -> impl Iterator<Item = Cow<'_, ServiceEndpoint>> {
        self.expand(self.services.get(service), self.endpoints.get(service), |_| true)
    }

    /// For whoever asks for Services in the order of their names, each once.
    pub(in crate::control) fn endpoints_in_order(&self) -> EndpointsInOrder<'_> {
        let (services, parts) = (InOrder::of(&self.services), InOrder::of(&self.endpoints));
        EndpointsInOrder { world: self, services, parts }
    }

    /// Those of one address, without the others being made.
    pub(super) fn endpoints_at<'w>(
        &'w self,
        service: &'w Service,
        ip: IpAddr,
    ) -> impl Iterator<Item = Cow<'w, ServiceEndpoint>> {
        let parts = self.endpoints.get(&service.name);
        let one = move |pod: &Pod| pod.ip == Some(ip) || pod.other_ip() == Some(ip);
        self.expand(Some(service), parts, one).filter(move |endpoint| endpoint.ip == ip)
    }

    /// Of pods, those alone that are `wanted`.
    fn expand<'w, F: Fn(&Pod) -> bool + Copy + 'w>(
        &'w self,
        service: Option<&'w Service>,
        parts: Option<&'w Vec<Part>>,
        wanted: F,
    ) -> impl Iterator<Item = Cow<'w, ServiceEndpoint>> + use<'w, F> {
        parts.into_iter().flatten().flat_map(move |part| {
            let (mut listed, mut drawn, mut mirrored) = (&[][..], None, None);
            match part {
                Part::Listed(endpoints) => listed = endpoints.as_slice(),
                Part::Drawn(places) => {
                    let pods = self.pods.within(places);
                    drawn = service.map(|service| of_pods(service, pods, &self.zones, wanted));
                }
                Part::Mirrored(endpoints) => mirrored = Some(of_mirror(endpoints, &self.services)),
            }
            let made = drawn.into_iter().flatten().chain(mirrored.into_iter().flatten());
            listed.iter().map(Cow::Borrowed).chain(made.map(Cow::Owned))
        })
    }
}

pub(in crate::control) struct EndpointsInOrder<'w> {
    world: &'w World,
    services: InOrder<'w, ObjectName, Service>,
    parts: InOrder<'w, ObjectName, Vec<Part>>,
}

impl<'w> EndpointsInOrder<'w> {
    pub(in crate::control) fn of(
        &mut self,
        service: &ObjectName,
    ) -> impl Iterator<Item = Cow<'w, ServiceEndpoint>> + use<'w> {
        self.world.expand(self.services.get(service), self.parts.get(service), |_| true)
    }
}

/// What a Service has in living pods that share a template.
fn of_pods<'w>(
    service: &'w Service,
    pods: &'w [Pod],
    zones: &'w BTreeMap<Arc<str>, Arc<str>>,
    wanted: impl Fn(&Pod) -> bool + Copy + 'w,
) -> impl Iterator<Item = ServiceEndpoint> + 'w {
    let first = pods.first().map(|first| (ports(service, &first.template), slices::head(service)));
    let living = pods.iter().filter(move |pod| pod.phase != Phase::Finished && wanted(pod));
    first.into_iter().flat_map(move |(ports, head)| {
        living.clone().flat_map(move |pod| of_pod(service, pod, ports.clone(), zones, head.clone()))
    })
}

/// What the ports of a Service are in pods of a template.
fn ports(service: &Service, pods: &Template) -> Arc<Vec<SlicePort>> {
    let found = service.ports.iter().filter_map(|port| Some(port.at(pods.target(port)?)));
    Arc::new(found.collect())
}

/// One for each of the pod's addresses that is of a family that the Service has.
fn of_pod<'a>(
    service: &'a Service,
    pod: &'a Pod,
    ports: Arc<Vec<SlicePort>>,
    zones: &BTreeMap<Arc<str>, Arc<str>>,
    head: Arc<Texts>,
) -> impl Iterator<Item = ServiceEndpoint> + use<'a> {
    let zone = zones.get(&pod.host.name).cloned();
    let named = pod.subdomain.as_deref() == Some(&*service.name.name);
    let listed = |ip: &IpAddr| service.families.contains(&Family::of(*ip));
    let counts =
        move |ip: &IpAddr| if service.families.is_empty() { pod.ip == Some(*ip) } else { listed(ip) };
    let ips = [pod.ip, pod.other_ip()].into_iter().flatten().filter(counts);
    ips.map(move |ip| ServiceEndpoint {
        ip,
        ready: pod.ready || service.publish_not_ready,
        hostname: pod.hostname.clone().filter(|_| named),
        backing: Backing::Pod(pod.name.clone()),
        ports: ports.clone(),
        for_zones: zone.clone().filter(|_| service.same_zone).into_iter().collect(),
        zone: zone.clone(),
        slice: head.clone(),
    })
}

/// As Kubernetes copies hand-made Endpoints into slices, labels and annotations included.
fn of_mirror<'w>(
    endpoints: &'w Endpoints,
    services: &'w Services,
) -> impl Iterator<Item = ServiceEndpoint> + use<'w> {
    let head = Arc::new(endpoints.metadata.texts().clone());
    endpoints.subsets.iter().flat_map(move |subset| {
        let ports = Arc::new(subset.ports());
        let ready = subset.addresses.iter().map(|address| (address, true));
        let all = ready.chain(subset.not_ready.iter().map(|address| (address, false)));
        let head = head.clone();
        all.filter_map(move |(address, ready)| {
            let ip = match &address.at {
                AddressOf::Ip(ip) => *ip,
                AddressOf::Service(name) => services.get(name)?.cluster_ip?,
            };
            Some(ServiceEndpoint {
                ip,
                ready,
                hostname: address.hostname.clone(),
                backing: Backing::Plain,
                ports: ports.clone(),
                zone: None,
                for_zones: Vec::new(),
                slice: head.clone(),
            })
        })
    })
}
