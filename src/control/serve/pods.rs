//! What a kubelet or an operator would ask an API server: pods and Services as JSON, over HTTP/1.
//!
//! `GET /api/v1/pods` and `/api/v1/services` are arrays of what is in force, `/api/v1/routes` has the statuses that a
//! policy controller would write into routes, `/api/v1/cluster` tells what the cluster is and whom it trusts, `/problems` says what is wrong with the folder, `/ready` and `/live` answer
//! as soon as this serves. The shapes are this project's own: flat, with environments already expanded.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use ::http::StatusCode;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::http::{self, Answer};
use crate::control::Snapshot;
use crate::control::ca::Issuing;
use crate::control::files::Report;
use crate::control::index::{Container, Pod, PortRef, Probe, ProbeAction, RouteStatus, Service, Settings};
use crate::drain::Drain;

/// What there is to tell.
#[derive(Clone, Debug)]
pub struct Views {
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    pub reports: watch::Receiver<Arc<Report>>,
    pub about: Arc<About>,
}

/// What a control plane was started with, as far as others may want to know.
#[derive(Clone, Debug)]
pub struct About {
    pub cluster_name: String,
    pub folder: PathBuf,
    pub issuing: Issuing,
    /// Where the metrics are.
    pub admin: SocketAddr,
}

/// Serves until drained.
pub fn start(listener: TcpListener, views: Views, drain: &Drain) {
    http::start(listener, move |path| answer(path, &views), drain);
}

fn answer(path: &str, views: &Views) -> Option<Answer> {
    let snapshot = views.snapshots.borrow().clone();
    Some(match path {
        "/ready" => http::text(StatusCode::OK, "ready\n"),
        "/live" => http::text(StatusCode::OK, "live\n"),
        "/api/v1/pods" => list(snapshot.pods().map(pod)),
        "/api/v1/services" => list(snapshot.services().map(service)),
        "/api/v1/routes" => list(snapshot.route_statuses().iter().map(route)),
        "/api/v1/cluster" => {
            http::content("application/json", cluster(&views.about, snapshot.settings()).to_string())
        }
        "/problems" => {
            let report = views.reports.borrow().clone();
            list(report.all_problems().map(|problem| {
                json!({
                    "file": problem.at.file.display().to_string(),
                    "line": problem.at.line,
                    "column": problem.at.column,
                    "message": problem.message,
                    "expected": problem.expected,
                })
            }))
        }
        _ => return None,
    })
}

fn list(items: impl Iterator<Item = Value>) -> Answer {
    http::content("application/json", Value::Array(items.collect()).to_string())
}

fn cluster(about: &About, settings: &Settings) -> Value {
    json!({
        "name": about.cluster_name,
        "folder": about.folder,
        "admin": about.admin,
        "issuer": about.issuing.now().issuer_pem(),
        "trust_anchors": settings.trust_anchors_pem,
        "trust_domain": settings.trust_domain,
        "cluster_domain": settings.cluster_domain,
        "control_namespace": settings.control_namespace,
        "mirror_namespace": settings.mirror_namespace,
        "pod_network": settings.pod_network.to_string(),
        "enable_headless_services": settings.enable_headless_services,
        "enable_namespace_creation": settings.enable_namespace_creation,
    })
}

fn pod(pod: &Pod) -> Value {
    let containers: Vec<_> = pod.applications().map(|c| container(pod, c)).collect();
    json!({
        "namespace": *pod.name.namespace,
        "name": *pod.name.name,
        "uid": pod.uid(),
        "ip": pod.ip,
        "node": *pod.host.name,
        "labels": *pod.labels,
        "annotations": *pod.annotations,
        "service_account": pod.service_account,
        "owner": { "kind": pod.owner.0, "name": pod.owner.1 },
        "ready": pod.ready,
        "meshed": pod.meshed(),
        "proxy_env": pod.proxy_env(),
        "containers": containers,
    })
}

fn container(pod: &Pod, container: &Container) -> Value {
    let probes: Vec<_> = [
        ("liveness", &container.liveness),
        ("readiness", &container.readiness),
        ("startup", &container.startup),
    ]
    .into_iter()
    .filter_map(|(kind, it)| it.as_ref().map(|it| probe(kind, container, it)))
    .collect();
    let ports = container.ports.iter();
    let ports: Vec<_> =
        ports.map(|p| json!({ "name": p.name, "port": p.port, "protocol": p.protocol })).collect();
    json!({
        "name": container.name,
        "image": container.image,
        "command": container.command,
        "args": container.args,
        "env": pod.env(container),
        "ports": ports,
        "probes": probes,
    })
}

/// Seconds for times; `http` with the port as a number, or nothing but `tcp`, or neither.
fn probe(kind: &str, container: &Container, probe: &Probe) -> Value {
    let number = |port: &PortRef| match port {
        PortRef::Number(number) => Some(*number),
        PortRef::Name(name) => container.named_port(name, "TCP"),
    };
    let mut value = json!({
        "kind": kind,
        "initial_delay": probe.initial_delay.as_secs_f64(),
        "period": probe.period.as_secs_f64(),
        "timeout": probe.timeout.as_secs_f64(),
        "failure_threshold": probe.failure_threshold,
    });
    match &probe.action {
        ProbeAction::HttpGet { path, port, https } => {
            value["http"] = json!({ "path": path, "port": number(port), "https": https });
        }
        ProbeAction::TcpSocket(port) => value["tcp"] = json!({ "port": number(port) }),
        ProbeAction::Other => {}
    }
    value
}

fn service(service: &Service) -> Value {
    let target = |port: &PortRef| match port {
        PortRef::Number(number) => json!(number),
        PortRef::Name(name) => json!(name),
    };
    let ports = service.ports.iter().map(|p| {
        json!({ "name": p.name, "port": p.port, "protocol": p.protocol, "target_port": target(&p.target) })
    });
    json!({
        "namespace": *service.name.namespace,
        "name": *service.name.name,
        "labels": **service.labels(),
        "annotations": **service.annotations(),
        "cluster_ip": service.cluster_ip,
        "mirrored": service.mirrored,
        "ports": ports.collect::<Vec<_>>(),
    })
}

/// A route and one of its parents, with conditions in the form that Kubernetes gives them (controlplane 3.6).
fn route(status: &RouteStatus) -> Value {
    let RouteStatus { name, kind, parent, accepted, resolved, .. } = status;
    let condition = |of: &str, fault: Option<(&str, &str)>| {
        let (reason, message) = fault.unwrap_or((of, ""));
        let status = if fault.is_none() { "True" } else { "False" };
        json!({ "type": of, "status": status, "reason": reason, "message": message })
    };
    let refused = accepted.err().map(|why| (why.reason(), why.message()));
    let lost = resolved.as_ref().err().map(|why| (why.reason(), why.message()));
    json!({
        "group": kind.group(),
        "kind": kind.name(),
        "namespace": *name.namespace,
        "name": *name.name,
        "controllerName": "linkerd.io/policy-controller",
        "parentRef": {
            "group": parent.kind.group(),
            "kind": parent.kind.name(),
            "namespace": *parent.name.namespace,
            "name": *parent.name.name,
            "port": parent.port,
        },
        "conditions": [condition("Accepted", refused), condition("ResolvedRefs", lost)],
    })
}

#[cfg(test)]
mod tests;
