//! What clients are told of Services, and of addresses: names, endpoints, profiles.

use std::net::SocketAddr;

use causeway::control::index::{ProfileAnswer, Service, Target};
use causeway::model::Profile;
use causeway::model::endpoint::Endpoint;

use super::Answers;

impl Answers<'_> {
    pub fn service(&mut self, service: &Service) {
        self.line(
            0,
            format!("\nservice {}{}", service.name, if service.mirrored { " (mirror)" } else { "" }),
        );
        self.debug(1, "labels", service.labels());
        self.debug(1, "annotations", service.annotations());
        let host = host(service);
        self.debug(1, "dns", self.snapshot.dns(&format!("{host}.")));
        for port in service.ports.iter().map(|port| port.port).chain([1]) {
            self.line(1, format!("port {port}"));
            let path = format!("{host}:{port}");
            self.destination(2, &path);
            self.profile_in_short(&path);
            if let Some(ip) = service.cluster_ip {
                let target = Target::Addr(SocketAddr::new(ip, port));
                self.debug(2, "outbound", self.snapshot.outbound(&service.name.namespace, target));
            }
        }
    }

    /// Without what is the same for every Service.
    pub fn service_briefly(&mut self, service: &Service) {
        let opaque = service.annotations().get("config.linkerd.io/opaque-ports");
        self.line(0, format!("\nservice {} at {:?} opaque {opaque:?}", service.name, service.cluster_ip));
        for port in service.ports.iter().map(|port| port.port) {
            let path = format!("{}:{port}", host(service));
            self.profile(&path);
            self.destination(1, &path);
        }
    }

    fn destination(&mut self, indent: usize, path: &str) {
        match self.snapshot.destination(path, &self.context) {
            Err(error) => self.debug(indent, "destination", error),
            Ok(set) => {
                self.debug(indent, "destination", &set.labels);
                set.endpoints.values().for_each(|found| self.endpoint(found));
            }
        }
    }

    fn profile_in_short(&mut self, path: &str) {
        match self.snapshot.profile(path, &self.context) {
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
    }

    pub fn profile(&mut self, path: &str) {
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

fn host(service: &Service) -> String {
    format!("{}.{}.svc.cluster.local", service.name.name, service.name.namespace)
}
