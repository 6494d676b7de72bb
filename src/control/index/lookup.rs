//! The forms in which clients name what they ask about, and who they are.

use std::net::SocketAddr;

use serde::Deserialize;

use super::{ObjectName, Settings};

/// Who asks the destination service (controlplane 2.2, `context_token`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    pub namespace: String,
    pub node_name: String,
    pub pod: String,
}

impl Context {
    /// Reads JSON `{"ns","nodeName","pod"}` or the old `ns:<namespace>`; anything else is empty.
    pub fn parse(token: &str) -> Self {
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        struct Token {
            ns: String,
            node_name: String,
            pod: String,
        }
        if let Some(namespace) = token.strip_prefix("ns:") {
            return Self { namespace: namespace.trim().into(), ..Self::default() };
        }
        let token: Token = serde_json::from_str(token).unwrap_or_default();
        Self { namespace: token.ns, node_name: token.node_name, pod: token.pod }
    }
}

/// Whose policy is asked for (controlplane 3.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Workload {
    Pod(ObjectName),
    External(ObjectName),
}

impl Workload {
    pub fn namespace(&self) -> &str {
        let (Self::Pod(name) | Self::External(name)) = self;
        &name.namespace
    }

    /// Reads JSON `{"ns","pod"}` (or `external_workload`) or the old `<ns>:<pod>`.
    pub fn parse(token: &str) -> Result<Self, LookupError> {
        #[derive(Deserialize)]
        struct Token {
            ns: String,
            #[serde(default)]
            pod: String,
            #[serde(default)]
            external_workload: String,
        }
        let invalid = || LookupError::InvalidArgument("expected a workload as {\"ns\":…,\"pod\":…}".into());
        if let Ok(token) = serde_json::from_str::<Token>(token) {
            return match (token.pod.as_str(), token.external_workload.as_str()) {
                ("", "") => Err(invalid()),
                ("", external) => Ok(Self::External(ObjectName::new(&token.ns, external))),
                (pod, _) => Ok(Self::Pod(ObjectName::new(&token.ns, pod))),
            };
        }
        match token.trim().split_once(':') {
            Some((namespace, pod)) if !namespace.is_empty() && !pod.is_empty() && !pod.contains(':') => {
                Ok(Self::Pod(ObjectName::new(namespace, pod)))
            }
            _ => Err(invalid()),
        }
    }
}

/// What outbound policy is asked about (controlplane 3.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    Addr(SocketAddr),
    /// As typed by the client; a trailing dot and a missing port are fine.
    Authority(&'a str),
}

/// Why a question has no answer; each variant is the gRPC code of that name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    #[error("{0}")]
    InvalidArgument(String),
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    FailedPrecondition(String),
    #[error("{0}")]
    Unknown(String),
}

/// The host of a destination path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PathHost {
    Addr(std::net::IpAddr),
    Service { instance: Option<String>, name: String, namespace: String },
}

/// Reads `host[:port]` as the destination service does (controlplane 2.2): port 80 by default, names
/// under `.svc.<domain>` without trailing dot.
pub(super) fn parse_path(path: &str, settings: &Settings) -> Result<(PathHost, u16), LookupError> {
    let invalid = |why: &str| LookupError::InvalidArgument(format!("{path:?}: {why}"));
    if let Ok(addr) = path.parse::<SocketAddr>() {
        return Ok((PathHost::Addr(addr.ip()), addr.port()));
    }
    if let Ok(ip) = path.parse() {
        return Ok((PathHost::Addr(ip), 80));
    }
    let (host, port) = match path.split_once(':') {
        Some((host, port)) => (host, port.parse().ok().filter(|port| *port > 0)),
        None => (path, Some(80)),
    };
    let port = port.ok_or_else(|| invalid("expected a port from 1 to 65535"))?;
    if let Ok(ip) = host.parse() {
        return Ok((PathHost::Addr(ip), port));
    }
    let host = host.to_ascii_lowercase();
    let suffix = format!(".svc.{}", settings.cluster_domain);
    let labels = host.strip_suffix(&suffix).ok_or_else(|| invalid(&format!("not a name under {suffix}")))?;
    let parts: Vec<&str> = labels.split('.').collect();
    let (instance, name, namespace) = match parts.as_slice() {
        [name, namespace] => (None, name, namespace),
        [instance, name, namespace] => (Some((*instance).to_owned()), name, namespace),
        _ => return Err(invalid("expected <service>.<namespace> before the domain")),
    };
    if parts.iter().any(|part| part.is_empty()) {
        return Err(invalid("expected <service>.<namespace> before the domain"));
    }
    let host = PathHost::Service { instance, name: (*name).into(), namespace: (*namespace).into() };
    Ok((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_tokens_are_read() {
        let json = "{\"ns\":\"a\", \"nodeName\":\"n\", \"pod\":\"p\"}\n";
        assert_eq!(
            Context::parse(json),
            Context { namespace: "a".into(), node_name: "n".into(), pod: "p".into() }
        );
        assert_eq!(Context::parse("ns:a").namespace, "a");
        assert_eq!(Context::parse("what"), Context::default());
        let workload = Workload::Pod(ObjectName::new("a", "p"));
        let external = Workload::External(ObjectName::new("a", "w"));
        assert_eq!(Workload::parse("{\"ns\":\"a\", \"external_workload\":\"w\"}"), Ok(external));
        assert_eq!(Workload::parse("{\"ns\":\"a\", \"pod\":\"p\"}\n"), Ok(workload.clone()));
        assert_eq!(Workload::parse("a:p"), Ok(workload));
        for bad in ["", "a", ":p", "a:", "{\"ns\":\"a\"}", "a:b:c"] {
            assert!(Workload::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn paths_follow_the_destination_service() {
        let settings = Settings::default();
        let (host, port) = parse_path("bb.d.svc.cluster.local", &settings).unwrap();
        assert_eq!(port, 80);
        assert_eq!(host, PathHost::Service { instance: None, name: "bb".into(), namespace: "d".into() });
        let (host, _) = parse_path("x.bb.d.svc.cluster.local:8080", &settings).unwrap();
        assert!(matches!(host, PathHost::Service { instance: Some(x), .. } if x == "x"));
        assert_eq!(parse_path("10.0.0.1:8", &settings).unwrap().1, 8);
        for bad in [
            "bb.d.svc.cluster.local.",
            "bb.d.svc.cluster.local:0",
            "bb.d:80",
            "bb.svc.cluster.local",
            "a.b.c.d.svc.cluster.local",
            ".d.svc.cluster.local",
            "example.com:80",
        ] {
            assert!(matches!(parse_path(bad, &settings), Err(LookupError::InvalidArgument(_))), "{bad}");
        }
    }
}
