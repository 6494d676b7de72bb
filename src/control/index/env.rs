//! The proxy's environment as the injector writes it, and what the kubelet makes of it.

use super::inject::{
    ADMIN_PORT, Asked, CONTROL_PORT, DEFAULT_INBOUND_POLICY, ENABLE_GATEWAY, INBOUND_PORT, INJECT,
    OUTBOUND_PORT, REQUIRE_IDENTITY_PORTS,
};
use super::{Container, EnvValue, EnvVar, Pod, Settings};
use crate::control::manifest::labelled::Labels;

/// Variables in the order of controlplane 5.4's source: later ones refer to earlier ones.
pub(super) fn proxy_env(asked: &Asked, settings: &Settings) -> Vec<EnvVar> {
    let mut env = Env(Vec::new());
    identify_pod(&mut env);
    runtime(&mut env, asked);
    discovery(&mut env, asked, settings);
    listeners(&mut env, asked, settings);
    env.literal(
        "LINKERD2_PROXY_DESTINATION_CONTEXT",
        "{\"ns\":\"$(_pod_ns)\", \"nodeName\":\"$(_pod_nodeName)\", \"pod\":\"$(_pod_name)\"}\n",
    );
    identity(&mut env, settings);
    optional(&mut env, asked);
    env.0
}

struct Env(Vec<EnvVar>);

impl Env {
    fn literal(&mut self, name: &str, value: impl Into<String>) {
        self.0.push(EnvVar { name: name.into(), value: EnvValue::Literal(value.into()) });
    }

    fn field(&mut self, name: &str, path: &str) {
        self.0.push(EnvVar { name: name.into(), value: EnvValue::Field(path.into()) });
    }
}

fn identify_pod(env: &mut Env) {
    env.field("_pod_name", "metadata.name");
    env.field("_pod_ns", "metadata.namespace");
    env.field("_pod_uid", "metadata.uid");
    env.field("_pod_ip", "status.podIP");
    env.field("_pod_nodeName", "spec.nodeName");
    env.literal("_pod_containerName", super::PROXY_CONTAINER);
}

fn runtime(env: &mut Env, asked: &Asked) {
    env.literal("LINKERD2_PROXY_CORES", "1");
    env.literal("LINKERD2_PROXY_CORES_MIN", "1");
    if let Some(ports) = asked.annotations.get(REQUIRE_IDENTITY_PORTS) {
        env.literal("LINKERD2_PROXY_INBOUND_PORTS_REQUIRE_IDENTITY", ports);
    }
    let shutdown =
        asked.annotations.get("config.linkerd.io/proxy-admin-shutdown").is_some_and(|v| v == "enabled");
    env.literal("LINKERD2_PROXY_SHUTDOWN_ENDPOINT_ENABLED", shutdown.to_string());
    let level = asked.annotations.get("config.linkerd.io/proxy-log-level");
    let level = level.map_or("warn,linkerd=info,hickory=error", String::as_str);
    let headers = asked.annotations.get("config.linkerd.io/proxy-log-http-headers");
    let quiet =
        if headers.is_some_and(|v| v == "insecure") { "" } else { ",[{headers}]=off,[{request}]=off" };
    env.literal("LINKERD2_PROXY_LOG", format!("{level}{quiet}"));
    let format = asked.annotations.get("config.linkerd.io/proxy-log-format");
    env.literal("LINKERD2_PROXY_LOG_FORMAT", format.map_or("plain", String::as_str));
}

fn discovery(env: &mut Env, asked: &Asked, settings: &Settings) {
    let service = format!("{}.svc.{}.", settings.control_namespace, settings.cluster_domain);
    let networks: Vec<_> = settings.cluster_networks.iter().map(ToString::to_string).collect();
    let networks = networks.join(",");
    env.literal("LINKERD2_PROXY_DESTINATION_SVC_ADDR", format!("linkerd-dst-headless.{service}:8086"));
    env.literal("LINKERD2_PROXY_DESTINATION_PROFILE_NETWORKS", networks.as_str());
    env.literal("LINKERD2_PROXY_POLICY_SVC_ADDR", format!("linkerd-policy.{service}:8090"));
    env.literal("LINKERD2_PROXY_POLICY_WORKLOAD", "{\"ns\":\"$(_pod_ns)\", \"pod\":\"$(_pod_name)\"}\n");
    let policy = asked.annotations.get(DEFAULT_INBOUND_POLICY);
    let policy = policy.map_or(settings.default_policy.as_str(), String::as_str);
    env.literal("LINKERD2_PROXY_INBOUND_DEFAULT_POLICY", policy);
    env.literal("LINKERD2_PROXY_POLICY_CLUSTER_NETWORKS", networks);
    env.literal("LINKERD2_PROXY_CONTROL_STREAM_INITIAL_TIMEOUT", "3s");
    env.literal("LINKERD2_PROXY_CONTROL_STREAM_IDLE_TIMEOUT", "5m");
    env.literal("LINKERD2_PROXY_CONTROL_STREAM_LIFETIME", "1h");
    let configured = |key: &str, default: &str| {
        asked.annotations.get(&format!("config.linkerd.io/{key}")).map_or(default, String::as_str).to_owned()
    };
    env.literal(
        "LINKERD2_PROXY_INBOUND_CONNECT_TIMEOUT",
        configured("proxy-inbound-connect-timeout", "100ms"),
    );
    env.literal(
        "LINKERD2_PROXY_OUTBOUND_CONNECT_TIMEOUT",
        configured("proxy-outbound-connect-timeout", "1000ms"),
    );
    let outbound = configured("proxy-outbound-discovery-cache-unused-timeout", "5s");
    env.literal("LINKERD2_PROXY_OUTBOUND_DISCOVERY_IDLE_TIMEOUT", outbound);
    let inbound = configured("proxy-inbound-discovery-cache-unused-timeout", "90s");
    env.literal("LINKERD2_PROXY_INBOUND_DISCOVERY_IDLE_TIMEOUT", inbound);
    for (side, key) in [("OUTBOUND", "outbound"), ("INBOUND", "inbound")] {
        if configured(&format!("proxy-disable-{key}-protocol-detect-timeout"), "") == "true" {
            env.literal(&format!("LINKERD2_PROXY_{side}_DETECT_TIMEOUT"), "365d");
        }
    }
}

fn listeners(env: &mut Env, asked: &Asked, settings: &Settings) {
    let ipv6 = settings.pod_network.addr().is_ipv6();
    let (any, also) =
        if ipv6 { ("[::]", format!(",[::1]:{OUTBOUND_PORT}")) } else { ("0.0.0.0", String::new()) };
    env.literal("LINKERD2_PROXY_CONTROL_LISTEN_ADDR", format!("{any}:{CONTROL_PORT}"));
    env.literal("LINKERD2_PROXY_ADMIN_LISTEN_ADDR", format!("{any}:{ADMIN_PORT}"));
    env.literal("LINKERD2_PROXY_OUTBOUND_LISTEN_ADDR", format!("127.0.0.1:{OUTBOUND_PORT}"));
    env.literal("LINKERD2_PROXY_OUTBOUND_LISTEN_ADDRS", format!("127.0.0.1:{OUTBOUND_PORT}{also}"));
    env.literal("LINKERD2_PROXY_INBOUND_LISTEN_ADDR", format!("{any}:{INBOUND_PORT}"));
    env.field("LINKERD2_PROXY_INBOUND_IPS", "status.podIPs");
    let ports = asked.annotations.get("config.linkerd.io/pod-inbound-ports").cloned();
    env.literal("LINKERD2_PROXY_INBOUND_PORTS", ports.unwrap_or_else(|| asked.inbound_ports.clone()));
    if asked.annotations.get(ENABLE_GATEWAY).is_some_and(|value| value == "true") {
        env.literal("LINKERD2_PROXY_INBOUND_GATEWAY_SUFFIXES", format!("svc.{}.", settings.cluster_domain));
    }
    if asked.annotations.get(INJECT).is_some_and(|value| value == "ingress") {
        env.literal("LINKERD2_PROXY_INGRESS_MODE", "true");
    }
    env.literal("LINKERD2_PROXY_DESTINATION_PROFILE_SUFFIXES", format!("svc.{}.", settings.cluster_domain));
    env.literal("LINKERD2_PROXY_INBOUND_ACCEPT_KEEPALIVE", "10000ms");
    env.literal("LINKERD2_PROXY_OUTBOUND_CONNECT_KEEPALIVE", "10000ms");
    env.literal("LINKERD2_PROXY_INBOUND_ACCEPT_USER_TIMEOUT", "30s");
    env.literal("LINKERD2_PROXY_OUTBOUND_CONNECT_USER_TIMEOUT", "30s");
    env.literal("LINKERD2_PROXY_OUTBOUND_METRICS_HOSTNAME_LABELS", "false");
    for side in ["INBOUND", "OUTBOUND"] {
        env.literal(&format!("LINKERD2_PROXY_{side}_SERVER_HTTP2_KEEP_ALIVE_INTERVAL"), "10s");
        env.literal(&format!("LINKERD2_PROXY_{side}_SERVER_HTTP2_KEEP_ALIVE_TIMEOUT"), "3s");
    }
    if !asked.opaque_ports.is_empty() {
        env.literal("LINKERD2_PROXY_INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION", asked.opaque_ports.as_str());
    }
}

fn identity(env: &mut Env, settings: &Settings) {
    let Settings { control_namespace: ns, trust_domain, cluster_domain, .. } = settings;
    let account = |name: &str| format!("{name}.{ns}.serviceaccount.identity.{ns}.{trust_domain}");
    env.field("_pod_sa", "spec.serviceAccountName");
    env.literal("_l5d_ns", ns.as_str());
    env.literal("_l5d_trustdomain", trust_domain.as_str());
    env.literal("LINKERD2_PROXY_IDENTITY_DIR", "/var/run/linkerd/identity/end-entity");
    let anchors = settings.trust_anchors_pem.trim();
    env.literal("LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS", format!("{anchors}\n"));
    env.literal("LINKERD2_PROXY_IDENTITY_TOKEN_FILE", "/var/run/secrets/tokens/linkerd-identity-token");
    let addr = format!("linkerd-identity-headless.{ns}.svc.{cluster_domain}.:8080");
    env.literal("LINKERD2_PROXY_IDENTITY_SVC_ADDR", addr);
    let local = format!("$(_pod_sa).$(_pod_ns).serviceaccount.identity.{ns}.{trust_domain}");
    env.literal("LINKERD2_PROXY_IDENTITY_LOCAL_NAME", local);
    env.literal("LINKERD2_PROXY_IDENTITY_SVC_NAME", account("linkerd-identity"));
    env.literal("LINKERD2_PROXY_DESTINATION_SVC_NAME", account("linkerd-destination"));
    env.literal("LINKERD2_PROXY_POLICY_SVC_NAME", account("linkerd-destination"));
}

fn optional(env: &mut Env, asked: &Asked) {
    if let Some(format) = asked.annotations.get("config.linkerd.io/access-log") {
        env.literal("LINKERD2_PROXY_ACCESS_LOG", format);
    }
    if let Some(period) = asked.annotations.get("config.linkerd.io/shutdown-grace-period") {
        env.literal("LINKERD2_PROXY_SHUTDOWN_GRACE_PERIOD", period);
    }
}

/// A container's environment with downward fields filled in and `$(…)` expanded, in order.
pub(super) fn resolved(pod: &Pod, container: &Container) -> Vec<(String, String)> {
    let mut env: Vec<(String, String)> = Vec::new();
    for var in &container.env {
        let value = match &var.value {
            EnvValue::Literal(text) => expanded(text, &env),
            EnvValue::Field(path) => field(pod, path),
            EnvValue::Elsewhere => continue,
        };
        env.retain(|(name, _)| *name != var.name);
        env.push((var.name.clone(), value));
    }
    env
}

/// `$(NAME)` of a known variable becomes its value, `$$` one dollar; anything else stays.
fn expanded(text: &str, env: &[(String, String)]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("$$") {
            out.push('$');
            rest = after;
            continue;
        }
        let name = rest.strip_prefix("$(").and_then(|inner| inner.split_once(')'));
        match name.and_then(|(name, after)| Some((env.iter().find(|(n, _)| n == name)?, after))) {
            Some(((_, value), after)) => {
                out.push_str(value);
                rest = after;
            }
            None => {
                out.push('$');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

fn field(pod: &Pod, path: &str) -> String {
    let ip = || pod.ip.map(|ip| ip.to_string()).unwrap_or_default();
    match path {
        "metadata.name" => pod.name.name.to_string(),
        "metadata.namespace" => pod.name.namespace.to_string(),
        "metadata.uid" => pod.uid(),
        "spec.nodeName" => pod.host.name.to_string(),
        "spec.serviceAccountName" => pod.service_account.clone(),
        "status.podIP" | "status.podIPs" => ip(),
        other => keyed(other, "metadata.labels", &pod.labels)
            .or_else(|| keyed(other, "metadata.annotations", &pod.annotations))
            .unwrap_or_default(),
    }
}

/// `metadata.labels['key']`.
fn keyed(path: &str, map: &str, values: &Labels) -> Option<String> {
    let key = path.strip_prefix(map)?.strip_prefix("['")?.strip_suffix("']")?;
    values.get(key).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_expand_as_the_kubelet_does() {
        let env = [("A".to_owned(), "x".to_owned())];
        assert_eq!(expanded("$(A)-$(B)-$$(A)-$A-$(A", &env), "x-$(B)-$(A)-$A-$(A");
        assert_eq!(expanded("plain", &env), "plain");
    }
}
