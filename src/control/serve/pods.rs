//! What a kubelet or an operator would ask an API server: pods and Services as JSON, over HTTP/1.
//!
//! `GET /api/v1/pods` and `/api/v1/services` are arrays of what is in force, `/problems` says what
//! is wrong with the folder, `/ready` and `/live` answer as soon as this serves. The shapes are
//! this project's own: flat, with environments already expanded.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::control::Snapshot;
use crate::control::files::Report;
use crate::control::index::{Container, Pod, PortRef, Probe, ProbeAction, Service};
use crate::drain::Drain;

/// A client that has not sent its request by then is cut off.
const HEADERS: Duration = Duration::from_secs(10);

const PAUSE: Duration = Duration::from_millis(50);

/// What there is to tell.
#[derive(Clone, Debug)]
pub struct Views {
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    pub reports: watch::Receiver<Arc<Report>>,
}

/// Binds `addr` and serves until drained. Returns the bound address.
pub async fn start(addr: SocketAddr, views: Views, drain: &Drain) -> io::Result<SocketAddr> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("cannot listen on {addr}: {error}"));
    let listener = TcpListener::bind(addr).await.map_err(named)?;
    let bound = listener.local_addr()?;
    drain.spawn(serve(listener, views, drain.clone()));
    Ok(bound)
}

async fn serve(listener: TcpListener, views: Views, drain: Drain) {
    loop {
        let accepted = tokio::select! {
            () = drain.signaled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((io, _)) = accepted else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let (views, ending) = (views.clone(), drain.clone());
        drain.spawn(async move {
            let answer = service_fn(move |req| {
                let answer = respond(&req, &views);
                async { Ok::<_, Infallible>(answer) }
            });
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(HEADERS);
            let connection = builder.serve_connection(TokioIo::new(io), answer);
            tokio::pin!(connection);
            tokio::select! {
                _ = &mut connection => return,
                () = ending.signaled() => connection.as_mut().graceful_shutdown(),
            }
            let _ = connection.await;
        });
    }
}

fn respond(req: &Request<Incoming>, views: &Views) -> Response<Full<Bytes>> {
    if req.method() != Method::GET {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered\n");
    }
    let snapshot = views.snapshots.borrow().clone();
    match req.uri().path() {
        "/ready" => text(StatusCode::OK, "ready\n"),
        "/live" => text(StatusCode::OK, "live\n"),
        "/api/v1/pods" => list(snapshot.pods().map(pod)),
        "/api/v1/services" => list(snapshot.services().map(service)),
        "/problems" => {
            let report = views.reports.borrow().clone();
            list(report.problems.iter().chain(&report.linked).map(|problem| {
                json!({
                    "file": problem.at.file.display().to_string(),
                    "line": problem.at.line,
                    "column": problem.at.column,
                    "message": problem.message,
                    "expected": problem.expected,
                })
            }))
        }
        _ => text(StatusCode::NOT_FOUND, "not found\n"),
    }
}

fn list(items: impl Iterator<Item = Value>) -> Response<Full<Bytes>> {
    let body = Value::Array(items.collect()).to_string();
    let mut rsp = Response::new(Full::from(body));
    rsp.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    rsp
}

fn text(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut rsp = Response::new(Full::from(text));
    *rsp.status_mut() = status;
    rsp
}

fn pod(pod: &Pod) -> Value {
    let containers: Vec<_> = pod.applications().map(|c| container(pod, c)).collect();
    json!({
        "namespace": pod.name.namespace,
        "name": pod.name.name,
        "uid": pod.uid,
        "ip": pod.ip,
        "node": pod.node_name,
        "labels": pod.labels,
        "annotations": pod.annotations,
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
        PortRef::Name(name) => container.tcp_port(name),
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
        "namespace": service.name.namespace,
        "name": service.name.name,
        "labels": service.labels,
        "annotations": service.annotations,
        "cluster_ip": service.cluster_ip,
        "mirrored": service.mirrored,
        "ports": ports.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests;
