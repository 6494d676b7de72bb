//! Folders in, answers out: each case is a folder of clusters beside the answers they give.
//!
//! `INSTA_UPDATE=always cargo test --test manifests` writes the answers anew; read the difference.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as the test does")]

use std::fmt::{Debug, Write};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use causeway::api;
use causeway::control::Snapshot;
use causeway::control::files::Folder;
use causeway::control::index::{
    Context, ObjectName, Pod, ProfileAnswer, RouteStatus, Service, Settings, Target, Workload,
};
use causeway::control::mirror::print;
use causeway::model::endpoint::Endpoint;
use causeway::model::filter::Filter;
use causeway::model::inbound::{Authorization, InboundRoute};
use causeway::model::outbound::{
    Backend, BackendKind, Distribution, HttpRoutes, OpaqueRoute, OutboundProtocol,
};
use causeway::model::{Profile, ResourceRef};

#[test]
fn guide() {
    case("guide", "examples/guide");
}

#[test]
fn policies() {
    case("policies", "tests/manifests/policies");
}

/// Routes and rate limits of ports, and who may use them.
#[test]
fn inbound() {
    compare(
        "inbound",
        "tests/manifests/inbound",
        |_| {},
        |answers| {
            answers.snapshot.route_faults().for_each(|fault| answers.line(0, fault.message));
            let name = |name: &str| ObjectName::new("shop", name);
            for port in [8080, 9090, 7070, 3306, 9999] {
                answers.line(0, "");
                answers.server(&Workload::Pod(name("web")), port);
            }
            for port in [80, 81] {
                answers.line(0, "");
                answers.server(&Workload::External(name("vm")), port);
            }
        },
    );
}

#[test]
fn printed_by_kubectl() {
    case("printed", "tests/manifests/printed");
}

#[test]
fn workloads() {
    compare(
        "workloads",
        "tests/manifests/workloads",
        |_| {},
        |answers| {
            answers.discovery();
            let asked = [
                "10.100.1.9:8080",
                "10.100.1.9:4191",
                "192.168.5.1:9100",
                "192.168.5.1:8080",
                "192.168.9.1:3306",
                "192.168.9.1:1",
                "192.168.9.2:8089",
                "10.1.2.3:25",
                "joiner.ring.d.svc.cluster.local:7000",
                "nobody.ring.d.svc.cluster.local:7000",
                "nothing.d.svc.cluster.local",
            ];
            answers.line(0, "");
            asked.iter().for_each(|path| answers.profile(path));
        },
    );
}

#[test]
fn zones() {
    compare(
        "zones",
        "tests/manifests/zones",
        |_| {},
        |answers| {
            answers.context = Context { node_name: "node-a".into(), ..Context::default() };
            answers.discovery();
        },
    );
}

/// Which ServiceProfile speaks for a Service depends on who asks.
#[test]
fn profiles() {
    compare(
        "profiles",
        "tests/manifests/profiles",
        |_| {},
        |answers| {
            for client in ["", "shop", "client"] {
                answers.context = Context { namespace: client.into(), ..Context::default() };
                answers.line(0, format!("\nasked from {client:?}"));
                ["web.shop.svc.cluster.local:80", "10.200.1.1:81", "plain.shop.svc.cluster.local:80"]
                    .iter()
                    .for_each(|path| answers.profile(path));
            }
            let ports = answers.snapshot.service("shop", "names").unwrap();
            answers.service_briefly(ports);
            for target in ["10.200.1.3:53", "10.200.1.3:514", "10.200.1.3:515"] {
                answers.profile(target);
                answers.outbound("shop", target);
            }
            answers.line(0, "\nnames");
            for name in NAMES {
                answers.debug(1, name, answers.snapshot.resolve(&format!("{name}.svc.cluster.local.")));
            }
        },
    );
}

/// Which routes count depends on who asks, and on what for.
#[test]
fn outbound() {
    compare(
        "outbound",
        "tests/manifests/outbound",
        |_| {},
        |answers| {
            let statuses = answers.snapshot.route_statuses().iter();
            for RouteStatus { name, kind, parent, accepted, resolved, .. } in statuses {
                let (kind, of) = (kind.name(), parent.kind.name());
                let port = parent.port;
                answers.line(
                    0,
                    format!("{kind} {name} of {of} {} {port:?}: {accepted:?} {resolved:?}", parent.name),
                );
            }
            for (client, target) in ASKED {
                answers.outbound(client, target);
            }
        },
    );
}

/// Mirrors are backends, and parents, like any other Service.
#[test]
fn split() {
    compare(
        "split",
        "tests/manifests/split",
        |_| {},
        |answers| {
            answers.outbound("mc-demo", "bb.mc-demo.svc:8080");
            answers.outbound("mc-demo", "flat-target.mc-demo.svc:8080");
            answers.outbound("client", "flat-target.mc-demo.svc:8080");
        },
    );
}

const ASKED: [(&str, &str); 21] = [
    ("shop", "web.shop.svc.cluster.local:80"),
    ("buyer", "web.shop.svc:80"),
    ("shop", "web.shop.svc:81"),
    ("shop", "next.shop.svc:80"),
    ("shop", "calls.shop.svc:90"),
    ("shop", "calls.shop.svc:91"),
    ("shop", "calls.shop.svc:92"),
    ("shop", "calls.shop.svc:93"),
    ("shop", "db.shop.svc:5000"),
    ("shop", "db.shop.svc:5001"),
    ("shop", "db.shop.svc:5002"),
    ("shop", "nowhere.shop.svc:80"),
    ("shop", "192.0.2.1:80"),
    ("shop", "192.0.2.1:90"),
    ("shop", "192.0.2.1:443"),
    ("shop", "192.0.2.1:9000"),
    ("shop", "192.0.2.1:3306"),
    ("shop", "198.51.100.1:80"),
    ("shop", "198.51.100.200:80"),
    ("buyer", "203.0.113.1:80"),
    ("buyer", "192.0.2.1:80"),
];

const NAMES: [&str; 8] = [
    "web.shop",
    "_http._tcp.web.shop",
    "_http._tcp.hosts.shop",
    "_dns._udp.names.shop",
    "_log._tcp.names.shop",
    "one.hosts.shop",
    "old.shop",
    "none.shop",
];

#[test]
fn gateway() {
    mirroring("gateway", "tests/manifests/gateway", |_| {});
}

#[test]
fn federated() {
    mirroring("federated", "tests/manifests/federated", |_| {});
}

#[test]
fn three_clusters() {
    mirroring("three-clusters", "examples/three-clusters", |_| {});
}

#[test]
fn headless() {
    mirroring("headless", "tests/manifests/headless", |settings| {
        settings.enable_headless_services = true;
        settings.enable_namespace_creation = true;
    });
}

/// What is mirrored, and what is answered about it.
fn mirroring(name: &str, clusters: &str, change: fn(&mut Settings)) {
    compare(name, clusters, change, |answers| {
        for service in answers.snapshot.services().filter(|service| service.mirrored) {
            answers.service(service);
        }
    });
}

/// Asks everything there is to ask.
fn case(name: &str, clusters: &str) {
    compare(name, clusters, |_| {}, |answers| answers.all());
}

/// Copies a case's clusters, lets each give out its addresses, and compares what `ask` finds.
fn compare(name: &str, clusters: &str, change: fn(&mut Settings), ask: fn(&mut Answers<'_>)) {
    let settings = |number| {
        let mut settings = settings(number);
        change(&mut settings);
        settings
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let copy = tempfile::tempdir().unwrap();
    let mut folders: Vec<PathBuf> = subfolders(&root.join(clusters));
    folders.sort();
    let mut opened = Vec::new();
    for (number, folder) in folders.iter().enumerate() {
        let target = copy.path().join(folder.file_name().unwrap());
        copy_manifests(folder, &target);
        opened.push((target.clone(), Folder::open(&target, &settings(number)).unwrap()));
    }
    let mut answers = String::new();
    for (number, (folder, _)) in opened.iter().enumerate() {
        // Read again now that every cluster has given its addresses.
        let (report, snapshot) = causeway::control::files::look(folder, &settings(number)).unwrap();
        writeln!(answers, "==== {}", folder.file_name().unwrap().display()).unwrap();
        for note in &report.notes {
            writeln!(answers, "note: {}", note.message).unwrap();
        }
        let (out, snapshot) = (&mut answers, &*snapshot.unwrap());
        let mut answers = Answers { out, snapshot, context: Context::default() };
        answers.mirrored();
        ask(&mut answers);
    }
    let answers = answers.replace(concat!("causeway-", env!("CARGO_PKG_VERSION")), "causeway-(version)");
    let mut insta = insta::Settings::clone_current();
    insta.set_snapshot_path(root.join("tests/manifests").join(name));
    insta.set_prepend_module_to_snapshot(false);
    insta.set_omit_expression(true);
    insta.bind(|| insta::assert_snapshot!("answers", answers));
}

fn settings(number: usize) -> Settings {
    let net = |second: usize| format!("10.{}.0.0/16", second + number).parse().unwrap();
    Settings {
        pod_network: net(100),
        service_network: net(200),
        control_addr: "172.16.0.1".parse().unwrap(),
        trust_anchors_pem: "(anchors)\n".into(),
        ..Settings::default()
    }
}

fn subfolders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_dir()).collect()
}

fn copy_manifests(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    }
}

struct Answers<'a> {
    out: &'a mut String,
    snapshot: &'a Snapshot,
    /// Who asks.
    context: Context,
}

impl Answers<'_> {
    /// As `causeway mirror` prints it.
    fn mirrored(&mut self) {
        let cluster_ip = |name: &_| self.snapshot.cluster_ip(name);
        self.out.push_str(&print::manifests(self.snapshot.mirrored(), cluster_ip));
    }

    fn all(&mut self) {
        for pod in self.snapshot.pods() {
            self.pod(pod);
        }
        for service in self.snapshot.services() {
            self.service(service);
        }
    }

    /// What clients are told, of Services by name and of everything by address.
    fn discovery(&mut self) {
        for pod in self.snapshot.pods() {
            let ips: Vec<_> = pod.ip.into_iter().chain(pod.other_ip()).collect();
            self.line(
                0,
                format!(
                    "pod {} {ips:?} on {:?} {:?} ready {}",
                    pod.name, pod.host.name, pod.phase, pod.ready
                ),
            );
        }
        for service in self.snapshot.services() {
            self.service_briefly(service);
        }
    }

    fn line(&mut self, indent: usize, text: impl AsRef<str>) {
        writeln!(self.out, "{:indent$}{}", "", text.as_ref(), indent = indent * 2).unwrap();
    }

    fn debug(&mut self, indent: usize, what: &str, value: impl Debug) {
        self.line(indent, format!("{what}: {value:?}"));
    }

    fn pod(&mut self, pod: &Pod) {
        self.line(0, format!("\npod {}", pod.name));
        let ip = pod.ip.map(|ip| ip.to_string()).unwrap_or_default();
        self.line(
            1,
            format!("ip {ip} node {} ready {} account {}", pod.host.name, pod.ready, pod.service_account),
        );
        self.debug(1, "owner", &pod.owner);
        self.debug(1, "labels", &pod.labels);
        self.debug(1, "annotations", &pod.annotations);
        for container in pod.init_containers.iter().chain(pod.containers.iter()) {
            self.line(
                1,
                format!("container {} {} {:?}", container.name, container.command.join(" "), container.args),
            );
        }
        for (name, value) in pod.proxy_env() {
            self.line(1, format!("env {name}={value:?}"));
        }
        let ports = pod.containers.iter().chain(pod.proxy()).flat_map(|container| &container.ports);
        let mut ports: Vec<u16> = ports.map(|port| port.port).chain([4191]).collect();
        ports.sort_unstable();
        ports.dedup();
        for port in ports {
            self.server(&Workload::Pod(pod.name.clone()), port);
        }
    }

    fn server(&mut self, workload: &Workload, port: u16) {
        let Some(policy) = self.snapshot.server(workload, port) else {
            return self.line(1, format!("server {port}: unknown"));
        };
        let read = api::inbound::server(api::inbound::encode_server(&policy));
        assert!(read.is_ok(), "a proxy refuses it: {read:?}");
        self.line(1, format!("server {port}: {} {}", policy.meta.kind(), policy.meta.name()));
        let authorizations: Vec<_> = policy.authorizations.iter().map(authorization).collect();
        for authorization in authorizations {
            self.line(2, authorization);
        }
        match policy.protocol.routes() {
            None => self.debug(2, "protocol", &policy.protocol),
            Some(routes) => routes.iter().for_each(|route| self.route(route)),
        }
        policy.rate_limit.iter().for_each(|limit| self.debug(2, "rate limit", limit));
    }

    fn route(&mut self, route: &InboundRoute) {
        let names: Vec<_> = route.authorizations.iter().map(|a| a.meta.name()).collect();
        self.line(2, format!("route {} {:?} authorized by {names:?}", route.meta.name(), route.rules));
        if !route.hosts.is_empty() {
            self.debug(3, "hosts", &route.hosts);
        }
    }

    fn service(&mut self, service: &Service) {
        let (name, namespace) = (&service.name.name, &service.name.namespace);
        self.line(
            0,
            format!("\nservice {}{}", service.name, if service.mirrored { " (mirror)" } else { "" }),
        );
        self.debug(1, "labels", service.labels());
        self.debug(1, "annotations", service.annotations());
        let host = format!("{name}.{namespace}.svc.cluster.local");
        self.debug(1, "dns", self.snapshot.dns(&format!("{host}.")));
        for port in service.ports.iter().map(|port| port.port).chain([1]) {
            self.line(1, format!("port {port}"));
            let path = format!("{host}:{port}");
            match self.snapshot.destination(&path, &self.context) {
                Err(error) => self.debug(2, "destination", error),
                Ok(set) => {
                    self.debug(2, "destination", &set.labels);
                    set.endpoints.values().for_each(|found| self.endpoint(found));
                }
            }
            match self.snapshot.profile(&path, &self.context) {
                Err(error) => self.debug(2, "profile", Err::<(), _>(error)),
                Ok(ProfileAnswer { profile, parent, .. }) => {
                    let Profile { name, opaque, service, endpoint } = profile;
                    let http = !service.routes.is_empty();
                    self.line(
                        2,
                        format!("profile: Ok(ProfileAnswer {{ profile: Profile {{ name: {name:?}, opaque: {opaque}, http: {http}, endpoint: {endpoint:?} }}, parent: {parent:?} }})"),
                    );
                }
            }
            if let Some(ip) = service.cluster_ip {
                let target = Target::Addr(SocketAddr::new(ip, port));
                self.debug(2, "outbound", self.snapshot.outbound(namespace, target));
            }
        }
    }

    /// Without what is the same for every Service.
    fn service_briefly(&mut self, service: &Service) {
        let opaque = service.annotations().get("config.linkerd.io/opaque-ports");
        self.line(0, format!("\nservice {} at {:?} opaque {opaque:?}", service.name, service.cluster_ip));
        let host = format!("{}.{}.svc.cluster.local", service.name.name, service.name.namespace);
        for port in service.ports.iter().map(|port| port.port) {
            let path = format!("{host}:{port}");
            self.profile(&path);
            match self.snapshot.destination(&path, &self.context) {
                Err(error) => self.debug(1, "destination", error),
                Ok(set) => {
                    self.debug(1, "destination", &set.labels);
                    set.endpoints.values().for_each(|found| self.endpoint(found));
                }
            }
        }
    }

    fn outbound(&mut self, client: &str, target: &str) {
        self.line(0, format!("\noutbound {target} from {client}"));
        let asked = target.parse().map_or(Target::Authority(target), Target::Addr);
        let policy = match self.snapshot.outbound(client, asked) {
            Ok(policy) => policy,
            Err(error) => return self.debug(1, "none", error),
        };
        let read = api::outbound::policy(api::outbound::encode_policy(&policy));
        assert!(read.is_ok(), "a proxy refuses it: {read:?}");
        self.line(1, format!("of {}", meta(&policy.parent)));
        match &policy.protocol {
            OutboundProtocol::Detect { http1, http2, opaque } => {
                assert_eq!(http1, http2);
                self.http("detect", http1);
                self.connections("else opaque", opaque);
            }
            OutboundProtocol::Http1(routes) => self.http("HTTP/1", routes),
            OutboundProtocol::Http2(routes) => self.http("HTTP/2", routes),
            OutboundProtocol::Grpc(routes) => self.http("gRPC", routes),
            OutboundProtocol::Opaque(routes) => self.connections("opaque", routes),
            OutboundProtocol::Tls(routes) => self.connections("TLS", routes),
        }
    }

    fn http(&mut self, protocol: &str, routes: &HttpRoutes) {
        self.line(1, protocol);
        routes.breaker.iter().for_each(|breaker| self.debug(2, "breaker", breaker));
        for route in &routes.routes {
            self.line(2, format!("route {} {:?}", meta(&route.meta), route.hosts));
            for rule in &route.rules {
                self.debug(3, "rule", &rule.matches);
                rule.filters.iter().for_each(|filter| self.debug(4, "filter", filter));
                if !rule.terms.are_none() {
                    self.debug(4, "terms", &rule.terms);
                }
                self.backends(&rule.backends, |to| (&to.backend, &to.filters));
            }
        }
    }

    fn connections(&mut self, protocol: &str, routes: &[OpaqueRoute]) {
        self.line(1, protocol);
        for route in routes {
            self.line(2, format!("route {} {:?} {:?}", meta(&route.meta), route.snis, route.refusal));
            self.backends(&route.backends, |to| (to, &[]));
        }
    }

    fn backends<B>(&mut self, all: &Distribution<B>, of: fn(&B) -> (&Backend, &[Filter])) {
        let mut show = |weight: String, to: &B| {
            let (backend, filters) = of(to);
            let kind = match &backend.kind {
                BackendKind::Balance { authority, load } => format!("balance {authority} {:?}", load.penalty),
                BackendKind::Forward(to) => format!("forward {}", to.addr),
                BackendKind::Fail => "fail".into(),
            };
            self.line(4, format!("{weight} {} {kind} {filters:?}", meta(&backend.meta)));
        };
        match all {
            Distribution::Empty => self.line(4, "to nobody"),
            Distribution::FirstAvailable(all) => all.iter().for_each(|to| show("first".into(), to)),
            Distribution::RandomAvailable(all) => {
                all.iter().for_each(|(to, weight)| show(weight.to_string(), to));
            }
        }
    }

    fn profile(&mut self, path: &str) {
        match self.snapshot.profile(path, &self.context) {
            Err(error) => self.line(0, format!("profile {path}: {error:?}")),
            Ok(ProfileAnswer { profile, parent, source }) => {
                let name = profile.name.map(|name| name.to_string());
                let parent = parent.map(|of| format!("{} {}:{}", of.kind(), of.name(), of.port()));
                self.line(0, format!("profile {path}: {name:?} opaque {} of {parent:?}", profile.opaque));
                profile.endpoint.iter().for_each(|endpoint| self.endpoint(endpoint));
                if source.is_some() {
                    self.debug(1, "from", source);
                    profile.service.routes.iter().for_each(|route| self.debug(2, "route", route));
                    profile.service.overrides.iter().for_each(|to| self.debug(2, "override", to));
                    self.debug(2, "budget", profile.service.budget);
                }
            }
        }
    }

    fn endpoint(&mut self, endpoint: &Endpoint) {
        let tls = endpoint.tls.as_ref().map(|tls| format!("{} sni {}", tls.id, tls.server_name));
        self.line(3, format!("{} {:?} inbound {:?}", endpoint.addr, endpoint.hint, endpoint.inbound_port));
        self.line(4, tls.unwrap_or_else(|| "plain".into()));
        self.debug(4, "labels", &endpoint.labels);
        if endpoint.weight != 10_000 {
            self.line(4, format!("weight {}", endpoint.weight));
        }
        if let Some(name) = &endpoint.authority_override {
            self.line(4, format!("override {name}"));
        }
    }
}

fn meta(meta: &ResourceRef) -> String {
    match meta.is_default() {
        true => format!("default {}", meta.name()),
        false => {
            format!("{}/{} {}/{}:{}", meta.group(), meta.kind(), meta.namespace(), meta.name(), meta.port())
        }
    }
}

fn authorization(authorization: &Authorization) -> String {
    let networks: Vec<_> = authorization
        .networks
        .iter()
        .map(|network| format!("{} except {:?}", network.net, network.except))
        .collect();
    let (kind, name) = (authorization.meta.kind(), authorization.meta.name());
    format!("allow {kind}/{name} {networks:?} {:?}", authorization.authentication)
}
