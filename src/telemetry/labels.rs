//! Which labels does a metric carry, and how are they written?
//!
//! Group by group as contract 6.1 lists them, in the order in which they appear in a scrape. Values are
//! escaped here and nowhere else.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Write};
use std::net::SocketAddr;
use std::ops::Range;

use crate::model::endpoint::{EndpointTls, Labels as MetricLabels};
use crate::model::peer::{NoServerTls, NoTls};
use crate::model::{Authority, Endpoint, Peer, ResourceRef};

/// Label text under construction: `a="1",b="2"`, without braces.
#[derive(Clone, Debug, Default)]
pub struct Labels {
    text: String,
    /// Where the values stand that callers can multiply.
    chosen: Vec<Range<usize>>,
    unproven: bool,
}

/// What stands for values that a full family no longer tells apart.
const OTHER: &str = "other";

/// Where on the inbound side something happened: the port, its policy and who called.
#[derive(Clone, Copy, Debug)]
pub struct InboundTarget<'a> {
    /// The address the client meant, after any transport header.
    pub target: SocketAddr,
    pub server: &'a ResourceRef,
    pub peer: &'a Peer,
}

impl Labels {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// One label. `key` must already be a label name.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Display) -> Self {
        self.push(key, value);
        self
    }

    /// One label whose value discovery, policy or a certificate vouches for, and of which there can still
    /// be many.
    #[must_use]
    pub fn chosen(mut self, key: &str, value: impl Display) -> Self {
        let value = self.push(key, value);
        self.chosen.push(value);
        self
    }

    /// One label whose value a peer has made up.
    #[must_use]
    pub fn unproven_value(mut self, key: &str, value: impl Display) -> Self {
        self.unproven = true;
        self.chosen(key, value)
    }

    /// Whether nobody vouches for one of the values.
    pub fn unproven(&self) -> bool {
        self.unproven
    }

    /// The same labels with `other` for every value that callers can multiply.
    #[must_use]
    pub fn absorbed(&self) -> Self {
        let mut text = String::with_capacity(self.text.len());
        let mut copied = 0;
        for value in &self.chosen {
            text.push_str(&self.text[copied..value.start]);
            text.push_str(OTHER);
            copied = value.end;
        }
        text.push_str(&self.text[copied..]);
        Self { text, ..Self::default() }
    }

    /// Returns where the value stands.
    fn push(&mut self, key: &str, value: impl Display) -> Range<usize> {
        if !self.text.is_empty() {
            self.text.push(',');
        }
        // Writing to a string cannot fail.
        let _ = write!(self.text, "{key}=\"");
        let start = self.text.len();
        let _ = write!(Escaping(&mut self.text), "{value}");
        let end = self.text.len();
        self.text.push('"');
        start..end
    }

    #[must_use]
    pub fn inbound(self) -> Self {
        self.with("direction", "inbound")
    }

    #[must_use]
    pub fn outbound(self) -> Self {
        self.with("direction", "outbound")
    }

    /// TARGET.
    #[must_use]
    pub fn target(self, addr: SocketAddr) -> Self {
        self.chosen("target_addr", addr).chosen("target_ip", addr.ip()).chosen("target_port", addr.port())
    }

    /// SERVER_TLS: what an accepted connection proved.
    #[must_use]
    pub fn server_tls(self, peer: &Peer) -> Self {
        match peer {
            Peer::Identified(id) => self.with("tls", "true").chosen("client_id", id),
            Peer::Anonymous => self.with("tls", "true").with("client_id", ""),
            Peer::Passthrough(sni) => self.with("tls", "opaque").unproven_value("sni", sni),
            Peer::Plaintext(why) => self.no_identity(match why {
                NoTls::Loopback => "loopback",
                NoTls::PortSkipped => "port_skipped",
                NoTls::NoTlsFromRemote => "no_tls_from_remote",
            }),
        }
    }

    /// CLIENT_TLS: whom a dialled connection expects; `otherwise` says why nobody.
    #[must_use]
    pub fn client_tls(self, tls: Option<&EndpointTls>, otherwise: NoServerTls) -> Self {
        match (tls, otherwise) {
            (Some(tls), _) => self.with("tls", "true").chosen("server_id", &tls.id),
            (None, NoServerTls::Loopback) => self.no_identity("loopback"),
            (None, NoServerTls::NotProvidedByServiceDiscovery) => {
                self.no_identity("not_provided_by_service_discovery")
            }
        }
    }

    fn no_identity(self, reason: &str) -> Self {
        self.with("tls", "no_identity").with("no_tls_reason", reason)
    }

    /// SRV.
    #[must_use]
    pub fn srv(self, server: &ResourceRef, port: u16) -> Self {
        self.resource("srv", server).chosen("srv_port", port)
    }

    /// ROUTE.
    #[must_use]
    pub fn route(self, route: &ResourceRef) -> Self {
        self.resource("route", route)
    }

    /// AUTHZ.
    #[must_use]
    pub fn authz(self, authz: &ResourceRef) -> Self {
        self.resource("authz", authz)
    }

    /// Which policy limits a rate.
    #[must_use]
    pub fn rate_limit(self, limit: &ResourceRef) -> Self {
        self.resource("ratelimit", limit)
    }

    fn resource(self, prefix: &str, meta: &ResourceRef) -> Self {
        self.with(&format!("{prefix}_group"), meta.group())
            .with(&format!("{prefix}_kind"), meta.kind())
            .with(&format!("{prefix}_name"), meta.name())
    }

    /// The parent of contract 6.2's inbound families: a server and the port it is for.
    #[must_use]
    pub fn server_parent(self, server: &ResourceRef, port: u16) -> Self {
        self.resource("parent", server).chosen("parent_port", port)
    }

    /// PARENT.
    #[must_use]
    pub fn parent(self, parent: &ResourceRef) -> Self {
        self.service("parent", parent)
    }

    /// BACKEND.
    #[must_use]
    pub fn backend(self, backend: &ResourceRef) -> Self {
        self.service("backend", backend)
    }

    /// ROUTE_N.
    #[must_use]
    pub fn namespaced_route(self, route: &ResourceRef) -> Self {
        self.namespaced("route", route)
    }

    fn namespaced(self, prefix: &str, meta: &ResourceRef) -> Self {
        self.with(&format!("{prefix}_group"), meta.group())
            .with(&format!("{prefix}_kind"), meta.kind())
            .with(&format!("{prefix}_namespace"), meta.namespace())
            .with(&format!("{prefix}_name"), meta.name())
    }

    /// A port that is not named is empty, not 0.
    fn service(self, prefix: &str, meta: &ResourceRef) -> Self {
        let port = Some(meta.port()).filter(|port| *port != 0).map(|port| port.to_string());
        self.namespaced(prefix, meta)
            .with(&format!("{prefix}_port"), port.unwrap_or_default())
            .with(&format!("{prefix}_section_name"), meta.section())
    }

    /// What discovery says of the endpoint, each key behind `dst_`. Keys become label names by turning
    /// other characters into `_`; of two that become one, the first stays, since a name that occurs
    /// twice would make the whole scrape unreadable.
    #[must_use]
    pub fn dst(self, labels: &MetricLabels) -> Self {
        self.told("dst_", labels)
    }

    /// The same of a profile's route, behind `rt_`.
    #[must_use]
    pub fn rt(self, labels: &BTreeMap<String, String>) -> Self {
        self.told("rt_", labels)
    }

    fn told(mut self, prefix: &str, labels: &BTreeMap<String, String>) -> Self {
        let mut seen = Vec::with_capacity(labels.len());
        for (key, value) in labels {
            let key = label_name(prefix, key);
            if !seen.contains(&key) {
                self = self.chosen(&key, value);
                seen.push(key);
            }
        }
        self
    }

    /// TARGET and SRV.
    #[must_use]
    pub fn port_policy(self, at: &InboundTarget<'_>) -> Self {
        self.target(at.target).srv(at.server, at.target.port())
    }

    /// ENDPOINT inbound.
    #[must_use]
    pub fn inbound_endpoint(self, at: &InboundTarget<'_>, route: &ResourceRef, authz: &ResourceRef) -> Self {
        self.inbound()
            .target(at.target)
            .server_tls(at.peer)
            .srv(at.server, at.target.port())
            .route(route)
            .authz(authz)
    }

    /// ENDPOINT outbound, without the direction. `authority` names the balanced backend; its port is
    /// left out when it is 80.
    #[must_use]
    pub fn endpoint(mut self, authority: Option<&Authority>, to: &Endpoint, otherwise: NoServerTls) -> Self {
        if let Some(authority) = authority {
            let port = authority.port.filter(|port| *port != 80);
            self = self.with("authority", Authority { host: authority.host.clone(), port });
        }
        self.target(to.addr).client_tls(to.tls.as_ref(), otherwise).dst(&to.labels)
    }
}

fn label_name(prefix: &str, key: &str) -> String {
    let legal = key.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' });
    prefix.chars().chain(legal).collect()
}

/// Writes label values: backslash, quote and line feed are escaped, as Prometheus text wants it.
struct Escaping<'a>(&'a mut String);

impl Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '\\' => self.0.push_str("\\\\"),
                '"' => self.0.push_str("\\\""),
                '\n' => self.0.push_str("\\n"),
                c => self.0.push(c),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn values_are_escaped() {
        let labels = Labels::new().with("a", "q\"b\\n\nend").with("b", 1);
        assert_eq!(labels.as_str(), r#"a="q\"b\\n\nend",b="1""#);
    }

    #[test]
    fn every_peer_has_its_labels() {
        let text = |peer| Labels::new().server_tls(&peer).text;
        assert_eq!(
            text(Peer::Identified("web.ns.td".parse().unwrap())),
            r#"tls="true",client_id="web.ns.td""#
        );
        assert_eq!(text(Peer::Anonymous), r#"tls="true",client_id="""#);
        assert_eq!(text(Peer::Passthrough("x.example".parse().unwrap())), r#"tls="opaque",sni="x.example""#);
        for (why, reason) in [
            (NoTls::Loopback, "loopback"),
            (NoTls::PortSkipped, "port_skipped"),
            (NoTls::NoTlsFromRemote, "no_tls_from_remote"),
        ] {
            assert_eq!(text(Peer::Plaintext(why)), format!(r#"tls="no_identity",no_tls_reason="{reason}""#));
        }
    }

    #[test]
    fn inbound_endpoints_carry_the_labels_of_a_scrape_in_its_order() {
        let (peer, server) = (
            Peer::Identified("west.lab.serviceaccount.identity.linkerd.cluster.local".parse().unwrap()),
            ResourceRef::object("policy.linkerd.io", "server", "web-http"),
        );
        let at = InboundTarget { target: "10.77.0.20:8080".parse().unwrap(), server: &server, peer: &peer };
        let authz = ResourceRef::object("policy.linkerd.io", "authorizationpolicy", "all-unauth");
        let labels = Labels::new().inbound_endpoint(&at, &ResourceRef::default_named("default"), &authz);
        assert_eq!(
            labels.as_str(),
            r#"direction="inbound",target_addr="10.77.0.20:8080",target_ip="10.77.0.20",target_port="8080",tls="true",client_id="west.lab.serviceaccount.identity.linkerd.cluster.local",srv_group="policy.linkerd.io",srv_kind="server",srv_name="web-http",srv_port="8080",route_group="",route_kind="default",route_name="default",authz_group="policy.linkerd.io",authz_kind="authorizationpolicy",authz_name="all-unauth""#
        );
    }

    #[test]
    fn outbound_endpoints_carry_the_labels_of_a_scrape_in_its_order() {
        let mut to = Endpoint::plain("10.77.0.20:8080".parse().unwrap());
        to.tls = Some(EndpointTls {
            id: "east.lab.serviceaccount.identity.linkerd.cluster.local".parse().unwrap(),
            server_name: "east.lab".parse().unwrap(),
        });
        let dst = [("namespace", "lab"), ("pod", "pod-10-77-0-20"), ("service", "web")];
        to.labels = Arc::new(dst.map(|(k, v)| (k.to_string(), v.to_string())).into());
        let authority = "web.lab.svc.cluster.local:8080".parse().unwrap();
        let labels = Labels::new().outbound().endpoint(Some(&authority), &to, NoServerTls::Loopback);
        assert_eq!(
            labels.as_str(),
            r#"direction="outbound",authority="web.lab.svc.cluster.local:8080",target_addr="10.77.0.20:8080",target_ip="10.77.0.20",target_port="8080",tls="true",server_id="east.lab.serviceaccount.identity.linkerd.cluster.local",dst_namespace="lab",dst_pod="pod-10-77-0-20",dst_service="web""#
        );
    }

    #[test]
    fn plain_endpoints_say_why_and_port_80_goes_unsaid() {
        let to = Endpoint::plain("10.0.0.1:80".parse().unwrap());
        let authority = "web.lab:80".parse().unwrap();
        let labels =
            Labels::new().endpoint(Some(&authority), &to, NoServerTls::NotProvidedByServiceDiscovery);
        assert_eq!(
            labels.as_str(),
            r#"authority="web.lab",target_addr="10.0.0.1:80",target_ip="10.0.0.1",target_port="80",tls="no_identity",no_tls_reason="not_provided_by_service_discovery""#
        );
    }

    #[test]
    fn discovered_keys_become_label_names_that_occur_once() {
        let dst = [("a.b/c", "1"), ("a_b_c", "2"), ("zone", "é\"")];
        let dst = Arc::new(dst.map(|(k, v)| (k.to_string(), v.to_string())).into());
        assert_eq!(Labels::new().dst(&dst).as_str(), r#"dst_a_b_c="1",dst_zone="é\"""#);
    }
}
