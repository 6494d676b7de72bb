//! What a cluster answers, as text: here the whole, and its pods.

mod policy;
mod service;

use std::fmt::{Debug, Write};

use causeway::control::Snapshot;
use causeway::control::index::{Context, Pod, Workload};
use causeway::control::mirror::print;

pub struct Answers<'a> {
    pub out: &'a mut String,
    pub snapshot: &'a Snapshot,
    /// Who asks.
    pub context: Context,
}

impl Answers<'_> {
    /// As `causeway mirror` prints it.
    pub fn mirrored(&mut self) {
        let cluster_ip = |name: &_| self.snapshot.cluster_ip(name);
        self.out.push_str(&print::manifests(self.snapshot.mirrored(), cluster_ip));
    }

    pub fn all(&mut self) {
        for pod in self.snapshot.pods() {
            self.pod(pod);
        }
        for service in self.snapshot.services() {
            self.service(service);
        }
    }

    /// What clients are told, of Services by name and of everything by address.
    pub fn discovery(&mut self) {
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

    pub fn line(&mut self, indent: usize, text: impl AsRef<str>) {
        writeln!(self.out, "{:indent$}{}", "", text.as_ref(), indent = indent * 2).unwrap();
    }

    pub fn debug(&mut self, indent: usize, what: &str, value: impl Debug) {
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
        self.containers(pod);
        let ports = pod.containers.iter().chain(pod.proxy()).flat_map(|container| &container.ports);
        let mut ports: Vec<u16> = ports.map(|port| port.port).chain([4191]).collect();
        ports.sort_unstable();
        ports.dedup();
        for port in ports {
            self.server(&Workload::Pod(pod.name.clone()), port);
        }
    }

    fn containers(&mut self, pod: &Pod) {
        for container in pod.init_containers.iter().chain(pod.containers.iter()) {
            self.line(
                1,
                format!("container {} {} {:?}", container.name, container.command.join(" "), container.args),
            );
        }
        for (name, value) in pod.proxy_env() {
            self.line(1, format!("env {name}={value:?}"));
        }
    }
}
