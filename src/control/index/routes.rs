//! Routes of inbound ports: those that a Server accepted, else the defaults (controlplane 3.5).

use std::collections::BTreeSet;

use http::Method;

use crate::control::manifest::RouteKind;
use crate::control::manifest::route::Rule;
use crate::model::ResourceRef;
use crate::model::filter::Filter;
use crate::model::inbound::{Authentication, Authorization, InboundRoute, InboundRule};
use crate::model::matching::{PathMatch, RequestMatch};

use super::authorizations::{self, plain_networks};
use super::world::World;
use super::{ObjectName, Pod, PortRef, ProbeAction, Settings};

/// Those of some kinds that count for a Server, with their own authorizations.
pub(super) fn attached(
    world: &World,
    server: &ObjectName,
    wanted: fn(RouteKind) -> bool,
) -> Vec<InboundRoute> {
    let routes = world.routes.get(server).map(Vec::as_slice).unwrap_or_default();
    let routes = routes.iter().filter(|(_, route)| wanted(route.kind));
    let made = routes.map(|(meta, route)| InboundRoute {
        meta: ResourceRef::object(route.kind.group(), route.kind.name(), &meta.name.name),
        hosts: route.hosts.clone(),
        rules: route.rules.iter().map(inbound_rule).collect(),
        authorizations: authorizations::of_route(world, meta, route.kind),
    });
    made.collect()
}

/// Headers of answers are not changed on this side.
fn inbound_rule(rule: &Rule) -> InboundRule {
    let of_requests = |filter: &&Filter| !matches!(filter, Filter::ResponseHeaders(_));
    InboundRule {
        matches: rule.matches.clone(),
        filters: rule.filters.iter().filter(of_requests).cloned().collect(),
    }
}

/// Everything for whom the server lets in; and the kubelet's probes from the probe networks.
pub(super) fn default(settings: &Settings, probes: &BTreeSet<String>) -> Vec<InboundRoute> {
    let path = |path| RequestMatch { path: Some(path), ..RequestMatch::default() };
    let everything = path(PathMatch::Prefix("/".into()));
    let mut routes = vec![named("default", vec![everything].into(), Vec::new())];
    if !probes.is_empty() && !settings.probe_networks.is_empty() {
        let matches = probes
            .iter()
            .map(|exact| RequestMatch { method: Some(Method::GET), ..path(PathMatch::Exact(exact.clone())) });
        let authorization = Authorization {
            meta: ResourceRef::default_named("probe"),
            networks: plain_networks(&settings.probe_networks),
            authentication: Authentication::Unauthenticated,
        };
        routes.push(named("probe", matches.collect::<Vec<_>>().into(), vec![authorization]));
    }
    routes
}

/// Every call.
pub(super) fn grpc_default() -> InboundRoute {
    named("default", InboundRule::default(), Vec::new())
}

/// Paths of the `httpGet` probes that a port gets, the proxy's own included.
pub(super) fn probe_paths(pod: &Pod, port: u16) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    for container in pod.all_containers() {
        for probe in container.probes() {
            let ProbeAction::HttpGet { path, port: target, .. } = &probe.action else { continue };
            let number = match target {
                PortRef::Number(number) => Some(*number),
                PortRef::Name(name) => container.named_port(name, "TCP"),
            };
            if number == Some(port) {
                let path = path.split('?').next().unwrap_or_default();
                paths.insert(if path.is_empty() { "/".into() } else { path.to_owned() });
            }
        }
    }
    paths
}

fn named(name: &str, rule: InboundRule, authorizations: Vec<Authorization>) -> InboundRoute {
    InboundRoute {
        meta: ResourceRef::default_named(name),
        hosts: Vec::new(),
        rules: vec![rule],
        authorizations,
    }
}
