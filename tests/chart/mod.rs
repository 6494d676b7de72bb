//! The proxy's environment as the injector's chart renders it and the kubelet completes it, written down from the
//! template itself (linkerd2: `charts/partials/templates/_proxy.tpl` and the values of `linkerd-control-plane`), so that
//! nothing here follows our own injector.

/// A pod, as the downward API tells of it.
#[derive(Clone, Debug)]
pub(crate) struct Pod {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) uid: String,
    /// All of its addresses, its first one first.
    pub(crate) ips: Vec<String>,
    pub(crate) node: String,
    pub(crate) account: String,
}

/// The chart's values, as far as tests change them.
#[derive(Clone, Debug)]
pub(crate) struct Values {
    pub(crate) pod: Pod,
    /// `podInboundPorts`, which the injector finds out.
    pub(crate) ports: String,
    pub(crate) trust_anchors: String,
    /// `disableIPv6: false`.
    pub(crate) ipv6: bool,
    pub(crate) kind: Kind,
}

/// Which of the template's conditions hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Those that hold by default.
    Default,
    /// With the annotations of the multicluster extension's gateway.
    Gateway,
    /// All, but for gateways and ingresses.
    EveryOption,
}

/// Names and values in the template's order, in which the later refer to the earlier.
pub(crate) type Variables = Vec<(&'static str, String)>;

const NETWORKS: &str = "10.0.0.0/8,100.64.0.0/10,172.16.0.0/12,192.168.0.0/16,fd00::/8";
const CONTROLLER: &str = "linkerd-destination.linkerd.serviceaccount.identity.linkerd.cluster.local";

impl Values {
    /// What the container's `env` says; `$(…)` is left to the kubelet.
    pub(crate) fn rendered(&self) -> Variables {
        let mut env = self.runtime();
        env.extend(self.control_plane());
        env.extend(self.data_plane());
        if self.kind == Kind::EveryOption {
            env.extend(tracing());
        }
        env.extend(http2_and_opaque_ports());
        env.extend(self.identity());
        if self.kind == Kind::EveryOption {
            env.push(("LINKERD2_PROXY_ACCESS_LOG", "apache".into()));
            env.push(("LINKERD2_PROXY_SHUTDOWN_GRACE_PERIOD", "30s".into()));
            // `additionalEnv`, and what the injector of the viz extension adds.
            env.push(("LINKERD2_PROXY_SOMETHING_NEWER", "??".into()));
            let tap = "tap.linkerd-viz.serviceaccount.identity.linkerd.cluster.local";
            env.push(("LINKERD2_PROXY_TAP_SVC_NAME", tap.into()));
        }
        env
    }

    fn runtime(&self) -> Variables {
        let Pod { name, namespace, uid, ips, node, .. } = &self.pod;
        let mut env = vec![
            ("_pod_name", name.clone()),
            ("_pod_ns", namespace.clone()),
            ("_pod_uid", uid.clone()),
            ("_pod_ip", ips[0].clone()),
            ("_pod_nodeName", node.clone()),
            ("_pod_containerName", "linkerd-proxy".into()),
            ("LINKERD2_PROXY_CORES", "1".into()),
            ("LINKERD2_PROXY_CORES_MIN", "1".into()),
        ];
        match self.kind {
            Kind::Default => {}
            Kind::Gateway => env.push(("LINKERD2_PROXY_INBOUND_PORTS_REQUIRE_IDENTITY", "4143".into())),
            Kind::EveryOption => env.extend([
                ("LINKERD2_PROXY_CORES_MAX", "2".into()),
                ("LINKERD2_PROXY_CORES_MAX_RATIO", "1".into()),
                ("LINKERD2_PROXY_INBOUND_PORTS_REQUIRE_IDENTITY", "8080".into()),
                ("LINKERD2_PROXY_INBOUND_PORTS_REQUIRE_TLS", "9090".into()),
            ]),
        }
        let format = if self.kind == Kind::EveryOption { "json" } else { "plain" };
        env.extend([
            ("LINKERD2_PROXY_SHUTDOWN_ENDPOINT_ENABLED", "false".into()),
            ("LINKERD2_PROXY_LOG", "warn,linkerd=info,hickory=error,[{headers}]=off,[{request}]=off".into()),
            ("LINKERD2_PROXY_LOG_FORMAT", format.into()),
        ]);
        env
    }

    fn control_plane(&self) -> Variables {
        let gateway = self.kind == Kind::Gateway;
        let policy = if gateway { "all-authenticated" } else { "all-unauthenticated" };
        let env = [
            ("LINKERD2_PROXY_DESTINATION_SVC_ADDR", "linkerd-dst-headless.linkerd.svc.cluster.local.:8086"),
            ("LINKERD2_PROXY_DESTINATION_PROFILE_NETWORKS", NETWORKS),
            ("LINKERD2_PROXY_POLICY_SVC_ADDR", "linkerd-policy.linkerd.svc.cluster.local.:8090"),
            ("LINKERD2_PROXY_POLICY_WORKLOAD", "{\"ns\":\"$(_pod_ns)\", \"pod\":\"$(_pod_name)\"}\n"),
            ("LINKERD2_PROXY_INBOUND_DEFAULT_POLICY", policy),
            ("LINKERD2_PROXY_POLICY_CLUSTER_NETWORKS", NETWORKS),
            ("LINKERD2_PROXY_CONTROL_STREAM_INITIAL_TIMEOUT", "3s"),
            ("LINKERD2_PROXY_CONTROL_STREAM_IDLE_TIMEOUT", "5m"),
            ("LINKERD2_PROXY_CONTROL_STREAM_LIFETIME", "1h"),
            ("LINKERD2_PROXY_INBOUND_CONNECT_TIMEOUT", "100ms"),
            ("LINKERD2_PROXY_OUTBOUND_CONNECT_TIMEOUT", "1000ms"),
            ("LINKERD2_PROXY_OUTBOUND_DISCOVERY_IDLE_TIMEOUT", "5s"),
            ("LINKERD2_PROXY_INBOUND_DISCOVERY_IDLE_TIMEOUT", "90s"),
        ];
        let undetected = [
            ("LINKERD2_PROXY_OUTBOUND_DETECT_TIMEOUT", "365d"),
            ("LINKERD2_PROXY_INBOUND_DETECT_TIMEOUT", "365d"),
        ];
        let undetected = undetected.into_iter().filter(|_| self.kind == Kind::EveryOption);
        env.into_iter().chain(undetected).map(|(name, value)| (name, value.to_owned())).collect()
    }

    fn data_plane(&self) -> Variables {
        let (any, also) = if self.ipv6 { ("[::]", ",[::1]:4140") } else { ("0.0.0.0", "") };
        let every_option = self.kind == Kind::EveryOption;
        let suffixes = if every_option { "." } else { "svc.cluster.local." };
        let mut env = vec![
            ("LINKERD2_PROXY_CONTROL_LISTEN_ADDR", format!("{any}:4190")),
            ("LINKERD2_PROXY_ADMIN_LISTEN_ADDR", format!("{any}:4191")),
            ("LINKERD2_PROXY_OUTBOUND_LISTEN_ADDR", "127.0.0.1:4140".into()),
            ("LINKERD2_PROXY_OUTBOUND_LISTEN_ADDRS", format!("127.0.0.1:4140{also}")),
            ("LINKERD2_PROXY_INBOUND_LISTEN_ADDR", format!("{any}:4143")),
            ("LINKERD2_PROXY_INBOUND_IPS", self.pod.ips.join(",")),
            ("LINKERD2_PROXY_INBOUND_PORTS", self.ports.clone()),
        ];
        if self.kind == Kind::Gateway {
            env.push(("LINKERD2_PROXY_INBOUND_GATEWAY_SUFFIXES", "svc.cluster.local.".into()));
        }
        env.extend([
            ("LINKERD2_PROXY_DESTINATION_PROFILE_SUFFIXES", suffixes.into()),
            ("LINKERD2_PROXY_INBOUND_ACCEPT_KEEPALIVE", "10000ms".into()),
            ("LINKERD2_PROXY_OUTBOUND_CONNECT_KEEPALIVE", "10000ms".into()),
            ("LINKERD2_PROXY_INBOUND_ACCEPT_USER_TIMEOUT", "30s".into()),
            ("LINKERD2_PROXY_OUTBOUND_CONNECT_USER_TIMEOUT", "30s".into()),
            ("LINKERD2_PROXY_OUTBOUND_METRICS_HOSTNAME_LABELS", every_option.to_string()),
        ]);
        env
    }

    fn identity(&self) -> Variables {
        let literal = |name, value: &str| (name, value.to_owned());
        let context =
            "{\"ns\":\"$(_pod_ns)\", \"nodeName\":\"$(_pod_nodeName)\", \"pod\":\"$(_pod_name)\"}\n";
        let local = "$(_pod_sa).$(_pod_ns).serviceaccount.identity.linkerd.cluster.local";
        let issuer = "linkerd-identity.linkerd.serviceaccount.identity.linkerd.cluster.local";
        vec![
            literal("LINKERD2_PROXY_DESTINATION_CONTEXT", context),
            literal("_pod_sa", &self.pod.account),
            literal("_l5d_ns", "linkerd"),
            literal("_l5d_trustdomain", "cluster.local"),
            literal("LINKERD2_PROXY_IDENTITY_DIR", "/var/run/linkerd/identity/end-entity"),
            ("LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS", format!("{}\n", self.trust_anchors.trim())),
            literal("LINKERD2_PROXY_IDENTITY_TOKEN_FILE", "/var/run/secrets/tokens/linkerd-identity-token"),
            literal(
                "LINKERD2_PROXY_IDENTITY_SVC_ADDR",
                "linkerd-identity-headless.linkerd.svc.cluster.local.:8080",
            ),
            literal("LINKERD2_PROXY_IDENTITY_LOCAL_NAME", local),
            literal("LINKERD2_PROXY_IDENTITY_SVC_NAME", issuer),
            literal("LINKERD2_PROXY_DESTINATION_SVC_NAME", CONTROLLER),
            literal("LINKERD2_PROXY_POLICY_SVC_NAME", CONTROLLER),
        ]
    }
}

fn tracing() -> Variables {
    let collector = "collector.tracing.serviceaccount.identity.linkerd.cluster.local";
    let attributes =
        "k8s.container.name=$(_pod_containerName)\nk8s.pod.ip=$(_pod_ip)\nk8s.pod.uid=$(_pod_uid)\n";
    [
        ("LINKERD2_PROXY_TRACE_ATTRIBUTES_PATH", "/var/run/linkerd/podinfo/labels"),
        ("LINKERD2_PROXY_TRACE_ANNOTATIONS_PATH", "/var/run/linkerd/podinfo/annotations"),
        ("LINKERD2_PROXY_TRACE_PROTOCOL", "opentelemetry"),
        ("LINKERD2_PROXY_TRACE_SERVICE_NAME", "linkerd-proxy"),
        ("LINKERD2_PROXY_TRACE_COLLECTOR_SVC_ADDR", "collector.tracing.svc.cluster.local:4317"),
        ("LINKERD2_PROXY_TRACE_COLLECTOR_SVC_NAME", collector),
        ("LINKERD2_PROXY_TRACE_EXTRA_ATTRIBUTES", attributes),
    ]
    .map(|(name, value)| (name, value.to_owned()))
    .into()
}

fn http2_and_opaque_ports() -> Variables {
    [
        ("LINKERD2_PROXY_INBOUND_SERVER_HTTP2_KEEP_ALIVE_INTERVAL", "10s"),
        ("LINKERD2_PROXY_INBOUND_SERVER_HTTP2_KEEP_ALIVE_TIMEOUT", "3s"),
        ("LINKERD2_PROXY_OUTBOUND_SERVER_HTTP2_KEEP_ALIVE_INTERVAL", "10s"),
        ("LINKERD2_PROXY_OUTBOUND_SERVER_HTTP2_KEEP_ALIVE_TIMEOUT", "3s"),
        ("LINKERD2_PROXY_INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION", "25,587,3306,4444,5432,6379,9300,11211"),
    ]
    .map(|(name, value)| (name, value.to_owned()))
    .into()
}

/// `$(NAME)` of what stands before becomes its value, as the kubelet does it; of a name that comes again the last value
/// stays.
pub(crate) fn completed(rendered: Variables) -> Vec<(String, String)> {
    let mut env: Vec<(String, String)> = Vec::new();
    for (name, mut value) in rendered {
        for (known, its) in &env {
            value = value.replace(&format!("$({known})"), its);
        }
        env.retain(|(known, _)| known != name);
        env.push((name.to_owned(), value));
    }
    env
}
