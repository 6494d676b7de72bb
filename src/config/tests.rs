use std::collections::BTreeMap;

use super::*;

/// What an injector sets for a pod, as far as it has no default.
fn injected() -> BTreeMap<&'static str, String> {
    let dst = "linkerd-destination.linkerd.serviceaccount.identity.linkerd.cluster.local";
    [
        ("LINKERD2_PROXY_POLICY_SVC_ADDR", "linkerd-policy.linkerd.svc.cluster.local.:8090"),
        ("LINKERD2_PROXY_POLICY_SVC_NAME", dst),
        ("LINKERD2_PROXY_POLICY_WORKLOAD", "{\"ns\":\"shop\", \"pod\":\"web\"}\n"),
        ("LINKERD2_PROXY_DESTINATION_SVC_ADDR", "linkerd-dst-headless.linkerd.svc.cluster.local.:8086"),
        ("LINKERD2_PROXY_DESTINATION_SVC_NAME", dst),
        ("LINKERD2_PROXY_DESTINATION_CONTEXT", "{\"ns\":\"shop\", \"nodeName\":\"n\", \"pod\":\"web\"}\n"),
        ("LINKERD2_PROXY_IDENTITY_DIR", "/var/run/linkerd/identity/end-entity"),
        ("LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS", "-----BEGIN CERTIFICATE-----\n"),
        ("LINKERD2_PROXY_IDENTITY_TOKEN_FILE", "/var/run/secrets/tokens/linkerd-identity-token"),
        ("LINKERD2_PROXY_IDENTITY_SVC_ADDR", "linkerd-identity-headless.linkerd.svc.cluster.local.:8080"),
        (
            "LINKERD2_PROXY_IDENTITY_SVC_NAME",
            "linkerd-identity.linkerd.serviceaccount.identity.linkerd.cluster.local",
        ),
        ("LINKERD2_PROXY_IDENTITY_LOCAL_NAME", "web.shop.serviceaccount.identity.linkerd.cluster.local"),
    ]
    .map(|(name, value)| (name, value.to_owned()))
    .into()
}

fn read(env: &BTreeMap<&'static str, String>) -> Result<Config, ConfigErrors> {
    Config::from_env(&|name| env.get(name).cloned())
}

fn read_with(changes: &[(&'static str, &str)]) -> Result<Config, ConfigErrors> {
    let mut env = injected();
    env.extend(changes.iter().map(|(name, value)| (*name, (*value).to_owned())));
    read(&env)
}

fn mistakes(changes: &[(&'static str, &str)]) -> Vec<String> {
    read_with(changes).unwrap_err().to_string().lines().map(str::to_owned).collect()
}

#[test]
fn every_default_of_the_table_can_be_read() {
    assert_eq!(variables::unreadable_defaults(), Vec::<&str>::new());
}

#[test]
fn the_table_names_each_variable_once() {
    let rows = variables::rows();
    let names: BTreeSet<_> = rows.iter().map(|row| row.name).collect();
    assert_eq!(names.len(), rows.len());
    assert!(rows.iter().all(|row| !row.meaning.is_empty() && !row.expected.is_empty()));
}

#[test]
fn what_is_not_set_has_the_defaults_of_the_contract() {
    let config = read(&injected()).unwrap();
    assert_eq!(config.outbound.listen, ["127.0.0.1:4140".parse().unwrap()]);
    assert_eq!(config.inbound.listen, "0.0.0.0:4143".parse().unwrap());
    assert_eq!(config.inbound.connect.timeout, Duration::from_millis(300));
    assert_eq!(config.outbound.connect.backoff.max(), Duration::from_secs(60));
    assert_eq!(config.inbound.connect.backoff.max(), Duration::from_secs(10));
    assert_eq!(config.outbound.connect.h2_connection_window, 1_048_576);
    assert_eq!(
        config.inbound.server_http2.flow_control,
        FlowControl::Fixed { stream_window: 65_535, connection_window: 1_048_576 }
    );
    assert_eq!(config.inbound.ports, [4191].into());
    assert_eq!(config.inbound.default_policy, DefaultPolicy::AllUnauthenticated);
    assert!(config.outbound.profile_networks.is_empty());
    assert!(config.outbound.profile_suffixes.contains(&"web.shop.svc.cluster.local".parse().unwrap()));
    assert!(config.outbound.informational_headers);
    assert_eq!(config.shutdown, Shutdown { grace_period: Duration::from_secs(120), endpoint_enabled: false });
    assert_eq!(config.policy.control.limits, StreamLimits::default());
    assert_eq!(config.runtime.workers(8), 1);
    assert_eq!(
        (config.log.filter.as_str(), config.log.format),
        ("warn,linkerd=info,hickory=error", LogFormat::Plain)
    );
    assert_eq!((config.mark, config.ignored), (None, vec![]));
}

#[test]
fn what_the_injector_sets_is_taken() {
    let config = read_with(&[
        ("LINKERD2_PROXY_OUTBOUND_LISTEN_ADDRS", "127.0.0.1:4140,[::1]:4140"),
        ("LINKERD2_PROXY_OUTBOUND_LISTEN_ADDR", "127.0.0.1:9"),
        ("LINKERD2_PROXY_INBOUND_IPS", "10.42.0.7,fd00::7"),
        ("LINKERD2_PROXY_INBOUND_PORTS", "8080,9090"),
        ("LINKERD2_PROXY_INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION", "25,587,3306"),
        ("LINKERD2_PROXY_INBOUND_DEFAULT_POLICY", "cluster-authenticated"),
        ("LINKERD2_PROXY_POLICY_CLUSTER_NETWORKS", "10.0.0.0/8,fd00::/8"),
        ("LINKERD2_PROXY_CONTROL_STREAM_INITIAL_TIMEOUT", "3s"),
        ("LINKERD2_PROXY_CONTROL_STREAM_IDLE_TIMEOUT", "5m"),
        ("LINKERD2_PROXY_CONTROL_STREAM_LIFETIME", ""),
        ("LINKERD2_PROXY_INBOUND_ACCEPT_KEEPALIVE", "10000ms"),
        ("LINKERD2_PROXY_INBOUND_ACCEPT_USER_TIMEOUT", "30s"),
        ("LINKERD2_PROXY_INBOUND_SERVER_HTTP2_KEEP_ALIVE_INTERVAL", "10s"),
        ("LINKERD2_PROXY_INBOUND_SERVER_HTTP2_KEEP_ALIVE_TIMEOUT", "3s"),
        ("LINKERD2_PROXY_LOG_FORMAT", "JSON"),
        ("LINKERD2_PROXY_SOMETHING_NEWER", "?"),
        ("CAUSEWAY_MARK", "2102"),
    ])
    .unwrap();
    assert_eq!(config.outbound.listen.len(), 2);
    assert_eq!(config.inbound.ips.len(), 2);
    assert_eq!(config.inbound.ports, [4191, 8080, 9090].into());
    assert!(config.inbound.default_server(3306).protocol.routes().is_none());
    assert_eq!(config.inbound.default_server(80).authorizations[0].networks.len(), 2);
    assert_eq!(config.policy.control.limits.idle, Some(Duration::from_secs(300)));
    assert_eq!(config.policy.control.limits.lifetime, None);
    assert_eq!(config.identity.certify().unwrap().control.limits, StreamLimits::default());
    assert_eq!(config.inbound.accept.socket.user_timeout, Some(Duration::from_secs(30)));
    assert_eq!(config.inbound.server_http2.keep_alive.unwrap().timeout, Duration::from_secs(3));
    assert_eq!((config.log.format, config.mark), (LogFormat::Json, Some(2102)));
}

#[test]
fn opaque_tokens_keep_their_trailing_newline() {
    let config = read(&injected()).unwrap();
    assert_eq!(config.policy.workload, "{\"ns\":\"shop\", \"pod\":\"web\"}\n");
    assert!(config.destination.context.ends_with("}\n"));
}

#[test]
fn all_mistakes_are_reported_at_once_each_with_value_and_expected_form() {
    let lines = mistakes(&[
        ("LINKERD2_PROXY_INBOUND_LISTEN_ADDR", "localhost:4143"),
        ("LINKERD2_PROXY_OUTBOUND_CONNECT_TIMEOUT", "1"),
        ("LINKERD2_PROXY_INBOUND_IPS", ""),
        ("LINKERD2_PROXY_IDENTITY_LOCAL_NAME", "web.\n"),
        ("LINKERD2_PROXY_SHUTDOWN_ENDPOINT_ENABLED", "yes"),
    ]);
    assert_eq!(lines.len(), 5, "{lines:#?}");
    for line in [
        "LINKERD2_PROXY_OUTBOUND_CONNECT_TIMEOUT=\"1\" is not valid: expected an integer with a unit: ms, s, m, h or d (such as 300ms), or 0",
        "LINKERD2_PROXY_SHUTDOWN_ENDPOINT_ENABLED=\"yes\" is not valid: expected true or false",
        "LINKERD2_PROXY_INBOUND_LISTEN_ADDR=\"localhost:4143\" is not valid: expected IP:PORT (IPv6 in brackets)",
    ] {
        assert!(lines.iter().any(|seen| seen == line), "{line}\nnot in {lines:#?}");
    }
}

#[test]
fn what_must_be_set_is_named() {
    let errors = read(&BTreeMap::new()).unwrap_err();
    let mut missing: Vec<_> = errors
        .0
        .iter()
        .map(|error| match error {
            ConfigError::Missing { name, .. } => name.trim_start_matches("LINKERD2_PROXY_"),
            _ => panic!("{error}"),
        })
        .collect();
    missing.sort_unstable();
    assert_eq!(
        missing,
        [
            "DESTINATION_SVC_ADDR",
            "IDENTITY_DIR",
            "IDENTITY_LOCAL_NAME",
            "IDENTITY_SVC_ADDR",
            "IDENTITY_TOKEN_FILE",
            "IDENTITY_TRUST_ANCHORS",
            "POLICY_SVC_ADDR",
            "POLICY_WORKLOAD",
        ]
    );
}

#[test]
fn a_controller_elsewhere_needs_a_name_and_one_on_loopback_gets_no_tls_and_no_limits() {
    let mut env = injected();
    env.remove("LINKERD2_PROXY_POLICY_SVC_NAME");
    assert!(read(&env).unwrap_err().to_string().starts_with("LINKERD2_PROXY_POLICY_SVC_NAME is not set"));
    let config = read_with(&[
        ("LINKERD2_PROXY_POLICY_SVC_ADDR", "localhost.:8090"),
        ("LINKERD2_PROXY_CONTROL_STREAM_INITIAL_TIMEOUT", "3s"),
    ])
    .unwrap();
    assert_eq!((config.policy.control.name, config.policy.control.limits), (None, StreamLimits::default()));
    assert_eq!(config.policy.control.addr.to_string(), "127.0.0.1:8090");
    assert!(config.destination.control.name.is_some());
}

#[test]
fn values_that_contradict_each_other_are_refused() {
    for (changes, place) in [
        (&[("LINKERD2_PROXY_INBOUND_DEFAULT_POLICY", "audit")][..], "INBOUND_DEFAULT_POLICY"),
        (
            &[
                ("LINKERD2_PROXY_CONTROL_STREAM_INITIAL_TIMEOUT", "3s"),
                ("LINKERD2_PROXY_CONTROL_STREAM_IDLE_TIMEOUT", "1s"),
            ],
            "CONTROL_STREAM_INITIAL_TIMEOUT",
        ),
        (&[("LINKERD2_PROXY_INBOUND_CONNECT_EXP_BACKOFF_MIN", "1s")], "INBOUND_CONNECT_EXP_BACKOFF_MAX"),
        (
            &[
                ("LINKERD2_PROXY_INBOUND_CONNECT_EXP_BACKOFF_MIN", "2s"),
                ("LINKERD2_PROXY_INBOUND_CONNECT_EXP_BACKOFF_MAX", "1s"),
            ],
            "INBOUND_CONNECT_EXP_BACKOFF_MAX",
        ),
        (&[("LINKERD2_PROXY_IDENTITY_LOCAL_NAME", "spiffe://td/web")], "IDENTITY_LOCAL_NAME"),
        (&[("LINKERD2_PROXY_IDENTITY_DISABLED", "true")], "IDENTITY_DISABLED"),
        (&[("LINKERD2_PROXY_IDENTITY_SPIRE_SOCKET", "/run/spire.sock")], "IDENTITY_LOCAL_NAME"),
        (&[("LINKERD2_PROXY_TRACE_COLLECTOR_SVC_NAME", "collector")], "TRACE_COLLECTOR_SVC_ADDR"),
    ] {
        let lines = mistakes(changes);
        assert_eq!(lines.len(), 1, "{lines:#?}");
        assert!(lines[0].starts_with(&format!("LINKERD2_PROXY_{place}")), "{lines:#?}");
    }
}

#[test]
fn a_jitter_is_set_with_both_bounds_and_they_are_set_without_it() {
    let lines = mistakes(&[("LINKERD2_PROXY_OUTBOUND_CONNECT_EXP_BACKOFF_JITTER", "0.5")]);
    assert_eq!(lines.len(), 2, "{lines:#?}");
    let config = read_with(&[
        ("LINKERD2_PROXY_OUTBOUND_CONNECT_EXP_BACKOFF_MIN", "1s"),
        ("LINKERD2_PROXY_OUTBOUND_CONNECT_EXP_BACKOFF_MAX", "2s"),
    ]);
    assert_eq!(config.unwrap().outbound.connect.backoff.jitter(), 0.0);
}

#[test]
fn windows_that_are_not_used_are_not_fatal() {
    let config = read_with(&[
        ("LINKERD2_PROXY_INBOUND_SERVER_HTTP2_ADAPTIVE_FLOW_CONTROL", "true"),
        ("LINKERD2_PROXY_INBOUND_SERVER_HTTP2_INITIAL_STREAM_WINDOW_SIZE", "wide"),
    ])
    .unwrap();
    assert_eq!(config.inbound.server_http2.flow_control, FlowControl::Adaptive);
    assert_eq!(config.ignored.len(), 1, "{:?}", config.ignored);
}

#[test]
fn ingress_mode_keeps_our_headers_from_applications_unless_told_otherwise() {
    let ingress = ("LINKERD2_PROXY_INGRESS_MODE", "true");
    let loud = ("LINKERD2_PROXY_OUTBOUND_DISABLE_INFORMATIONAL_HEADERS", "false");
    assert!(!read_with(&[ingress]).unwrap().outbound.informational_headers);
    assert!(read_with(&[ingress, loud]).unwrap().outbound.informational_headers);
}

#[test]
fn wrong_cores_and_half_a_pair_are_ignored_but_told() {
    let config = read_with(&[
        ("LINKERD2_PROXY_CORES", "many"),
        ("LINKERD2_PROXY_INBOUND_SERVER_HTTP2_KEEP_ALIVE_INTERVAL", "10s"),
    ])
    .unwrap();
    assert_eq!(config.runtime.workers(8), 1);
    assert_eq!(config.inbound.server_http2.keep_alive, None);
    assert_eq!(config.ignored.len(), 2, "{:?}", config.ignored);
}

#[test]
fn trust_anchors_do_not_fill_the_log() {
    let config = read(&injected()).unwrap();
    assert!(!format!("{config:?}").contains("BEGIN"));
}
