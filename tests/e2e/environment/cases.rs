//! What each variable takes, and what comes of it. A variable without a case fails the table's test.

use std::fmt::Debug;

use causeway::config::Config;

/// What comes of a value.
#[derive(Clone, Copy, Debug)]
pub enum Outcome {
    /// It is what `get` shows.
    Is(&'static str),
    /// It is what `get` shows, and the log says that the value has no effect.
    Warned(&'static str),
    /// Exit code 64. The problem names the form of the table, or this.
    Fatal(Option<&'static str>),
}

use Outcome::{Is, Warned};

const FATAL: Outcome = Outcome::Fatal(None);

#[derive(Clone, Copy)]
pub struct Case {
    pub name: &'static str,
    /// Shows what the value became.
    pub get: fn(&Config) -> String,
    pub good: (&'static str, Outcome),
    /// `None` where nothing is wrong enough.
    pub bad: Option<(&'static str, Outcome)>,
    pub empty: Outcome,
    /// Set as well.
    pub with: &'static [(&'static str, &'static str)],
    /// Not set.
    pub without: &'static [&'static str],
}

impl Case {
    fn with(self, with: &'static [(&'static str, &'static str)]) -> Self {
        Self { with, ..self }
    }

    fn without(self, without: &'static [&'static str]) -> Self {
        Self { without, ..self }
    }
}

fn case(
    name: &'static str,
    get: fn(&Config) -> String,
    good: (&'static str, Outcome),
    bad: (&'static str, Outcome),
    empty: Outcome,
) -> Case {
    Case { name, get, good, bad: Some(bad), empty, with: &[], without: &[] }
}

/// Any text is right.
fn text(
    name: &'static str,
    get: fn(&Config) -> String,
    good: (&'static str, &'static str),
    empty: &'static str,
) -> Case {
    Case { name, get, good: (good.0, Is(good.1)), bad: None, empty: Is(empty), with: &[], without: &[] }
}

fn duration(name: &'static str, get: fn(&Config) -> String) -> Case {
    case(name, get, (" 42s ", Is("42s")), ("42", FATAL), FATAL)
}

fn maybe_duration(name: &'static str, get: fn(&Config) -> String) -> Case {
    case(name, get, ("1500ms", Is("Some(1.5s)")), ("1.5s", FATAL), FATAL)
}

fn boolean(name: &'static str, get: fn(&Config) -> String) -> Case {
    case(name, get, ("true", Is("true")), ("TRUE", FATAL), FATAL)
}

fn count(name: &'static str, get: fn(&Config) -> String) -> Case {
    case(name, get, ("7", Is("7")), ("-7", FATAL), FATAL)
}

fn maybe_count(name: &'static str, get: fn(&Config) -> String) -> Case {
    case(name, get, ("70000", Is("Some(70000)")), ("4294967296", FATAL), FATAL)
}

fn window(name: &'static str, get: fn(&Config) -> String) -> Case {
    case(name, get, ("70000", Is("70000")), ("2147483648", FATAL), FATAL)
}

fn show(value: impl Debug) -> String {
    format!("{value:?}")
}

macro_rules! get {
    ($($path:tt)+) => { |config: &Config| show(&config.$($path)+) };
}

pub fn cases() -> Vec<Case> {
    let mut all = process();
    all.extend(listeners());
    all.extend(control());
    all.extend(identity());
    all.extend(times());
    all.extend(http());
    all.extend(observed());
    all
}

fn process() -> Vec<Case> {
    vec![
        text("LINKERD2_PROXY_LOG", get!(log.filter), ("linkerd=debug", "\"linkerd=debug\""), "\"\""),
        case("LINKERD2_PROXY_LOG_FORMAT", get!(log.format), ("JSON", Is("Json")), ("xml", Warned("Plain")), Warned("Plain")),
        case("LINKERD2_PROXY_ACCESS_LOG", get!(log.access), ("apache", Warned("Some(Apache)")), ("nginx", Warned("None")), Warned("None")),
        case("LINKERD2_PROXY_CORES", get!(runtime.min), ("2", Is("2")), ("0", Warned("1")), Warned("1")),
        case("LINKERD2_PROXY_CORES_MIN", get!(runtime.min), ("3", Is("3")), ("many", Warned("2")), Warned("2"))
            .with(&[("LINKERD2_PROXY_CORES", "2")]),
        case("LINKERD2_PROXY_CORES_MAX", get!(runtime.max), ("4", Is("Some(4)")), ("-1", Warned("None")), Warned("None")),
        case("LINKERD2_PROXY_CORES_MAX_RATIO", get!(runtime.max_ratio), ("0.5", Is("Some(0.5)")), ("1.5", Warned("None")), Warned("None")),
        boolean("LINKERD2_PROXY_SHUTDOWN_ENDPOINT_ENABLED", get!(shutdown.endpoint_enabled)),
        duration("LINKERD2_PROXY_SHUTDOWN_GRACE_PERIOD", get!(shutdown.grace_period)),
        case("CAUSEWAY_LOCAL_FIRST_REQUESTS", get!(outbound.local_first[0]), ("4-8", Is("Some(LoadBand { low: 4, high: 8 })")), ("8-4", FATAL), FATAL),
        case("CAUSEWAY_LOCAL_FIRST_CONNECTIONS", get!(outbound.local_first[1]), ("50-100", Is("Some(LoadBand { low: 50, high: 100 })")), ("100", FATAL), FATAL),
        case("CAUSEWAY_OUTBOUND_PING_AFTER", get!(outbound.ping.map(|ping| ping.after)), ("0", Is("None")), ("1", FATAL), FATAL),
        case("CAUSEWAY_OUTBOUND_PING_TIMEOUT", get!(outbound.ping.map(|ping| ping.timeout)), ("1s", Is("Some(1s)")), ("1", FATAL), FATAL),
        case(
            "CAUSEWAY_SERVER_FIRST_AFTER",
            get!(server_first),
            ("0", Is("None")),
            ("20", FATAL),
            FATAL,
        ),
        case("CAUSEWAY_MARK", get!(mark), ("2102", Is("Some(2102)")), ("0x2", FATAL), FATAL),
    ]
}

fn listeners() -> Vec<Case> {
    const PORTS: &str = "LINKERD2_PROXY_INBOUND_PORTS";
    vec![
        case("LINKERD2_PROXY_OUTBOUND_LISTEN_ADDRS", get!(outbound.listen),
            ("127.0.0.1:1,[::1]:1", Is("[127.0.0.1:1, [::1]:1]")), ("1.1.1.1:1,1.1.1.2:1,1.1.1.3:1", FATAL), FATAL)
            .with(&[("LINKERD2_PROXY_OUTBOUND_LISTEN_ADDR", "127.0.0.1:2")]),
        case("LINKERD2_PROXY_OUTBOUND_LISTEN_ADDR", get!(outbound.listen), ("127.0.0.1:2", Is("[127.0.0.1:2]")), ("localhost:2", FATAL), FATAL),
        case("LINKERD2_PROXY_INBOUND_LISTEN_ADDR", get!(inbound.listen), ("[::]:4143", Is("[::]:4143")), ("::4143:", FATAL), FATAL),
        case("LINKERD2_PROXY_CONTROL_LISTEN_ADDR", get!(tap.as_ref().map(|tap| tap.listen)),
            ("[::]:4190", Is("Some([::]:4190)")), ("4190", FATAL), FATAL)
            .with(&[("LINKERD2_PROXY_TAP_SVC_NAME", "tap.viz")]),
        case("LINKERD2_PROXY_ADMIN_LISTEN_ADDR", get!(inbound.ports), ("0.0.0.0:5", Is("{5}")), ("admin:5", FATAL), FATAL),
        maybe_count("LINKERD2_PROXY_OUTBOUND_TCP_LISTEN_BACKLOG", get!(outbound.accept.backlog)),
        maybe_count("LINKERD2_PROXY_INBOUND_TCP_LISTEN_BACKLOG", get!(inbound.accept.backlog)),
        case("LINKERD2_PROXY_INBOUND_IPS", get!(inbound.ips), ("10.0.0.1,fd00::1", Is("{10.0.0.1, fd00::1}")), ("10.0.0.1, fd00::1", FATAL), FATAL),
        case(PORTS, get!(inbound.ports), ("80, 90-92,,", Is("{80, 90, 91, 92, 4191}")), ("92-90", FATAL), Is("{4191}")),
        case("LINKERD2_PROXY_INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION", get!(inbound.opaque_ports), ("25,587", Is("{25, 587}")), ("smtp", FATAL), Is("{}")),
        text("LINKERD2_PROXY_INBOUND_PORTS_REQUIRE_IDENTITY", get!(inbound.ports), ("80", "{4191}"), "{4191}"),
        text("LINKERD2_PROXY_INBOUND_PORTS_REQUIRE_TLS", get!(inbound.ports), ("not looked at", "{4191}"), "{4191}"),
        case("LINKERD2_PROXY_INBOUND_GATEWAY_SUFFIXES", get!(inbound.gateway_suffixes),
            ("svc.cluster.local.", Is("Suffixes { every_name: false, names: [DnsName(\"svc.cluster.local\")] }")),
            ("a b", FATAL), Is("Suffixes { every_name: false, names: [] }")),
        case("LINKERD2_PROXY_INGRESS_MODE", |c| show((c.outbound.ingress_mode, c.outbound.informational_headers)),
            ("true", Is("(true, false)")), ("yes", FATAL), FATAL),
        case("LINKERD2_PROXY_INBOUND_DEFAULT_POLICY", get!(inbound.default_policy), ("deny", Is("Deny")), ("Deny", FATAL), FATAL),
        case("LINKERD2_PROXY_OUTBOUND_DISABLE_INFORMATIONAL_HEADERS", get!(outbound.informational_headers), ("true", Is("false")), ("1", FATAL), FATAL),
    ]
}

fn control() -> Vec<Case> {
    const OTHER_LIMITS: &[(&str, &str)] = &[("LINKERD2_PROXY_CONTROL_STREAM_LIFETIME", "1h")];
    let limit = |name, get| case(name, get, ("5m", Is("Some(300s)")), ("5", FATAL), Is("None"));
    let addr = |name, get| case(name, get, ("localhost.:1", Is("\"127.0.0.1:1\"")), ("10.0.0:80", FATAL), FATAL);
    let name = |name, get| case(name, get, ("A.b.", Is("Some(DnsName(\"a.b\"))")), ("10.0.0.1", FATAL), FATAL);
    vec![
        addr("LINKERD2_PROXY_POLICY_SVC_ADDR", get!(policy.control.addr.to_string())),
        name("LINKERD2_PROXY_POLICY_SVC_NAME", get!(policy.control.name)),
        text("LINKERD2_PROXY_POLICY_WORKLOAD", get!(policy.workload), ("{\"ns\":\"a\"}\n", "\"{\\\"ns\\\":\\\"a\\\"}\\n\""), "\"\""),
        case("LINKERD2_PROXY_POLICY_CLUSTER_NETWORKS", get!(inbound.cluster_networks), ("10.0.0.0/8, fd00::/8", Is("[10.0.0.0/8, fd00::/8]")), ("10.0.0.0", FATAL), Is("[]")),
        addr("LINKERD2_PROXY_DESTINATION_SVC_ADDR", get!(destination.control.addr.to_string())),
        name("LINKERD2_PROXY_DESTINATION_SVC_NAME", get!(destination.control.name)),
        text("LINKERD2_PROXY_DESTINATION_CONTEXT", get!(destination.context), ("{}\n", "\"{}\\n\""), "\"\""),
        case("LINKERD2_PROXY_DESTINATION_PROFILE_SUFFIXES", get!(outbound.profile_suffixes), (".", Is("Suffixes { every_name: true, names: [] }")),
            ("a b", FATAL), Is("Suffixes { every_name: false, names: [] }")),
        case("LINKERD2_PROXY_DESTINATION_PROFILE_NETWORKS", get!(outbound.profile_networks), ("10.0.0.0/8", Is("[10.0.0.0/8]")), ("10.0.0.0/33", FATAL), Is("[]")),
        duration("LINKERD2_PROXY_DESTINATION_PROFILE_INITIAL_TIMEOUT", get!(destination.profile_timeout)),
        limit("LINKERD2_PROXY_CONTROL_STREAM_INITIAL_TIMEOUT", get!(policy.control.limits.initial)).with(OTHER_LIMITS),
        limit("LINKERD2_PROXY_CONTROL_STREAM_IDLE_TIMEOUT", get!(policy.control.limits.idle)).with(OTHER_LIMITS),
        limit("LINKERD2_PROXY_CONTROL_STREAM_LIFETIME", get!(policy.control.limits.lifetime)),
        maybe_duration("LINKERD2_PROXY_DNS_MIN_TTL", get!(dns.min_ttl)),
        maybe_duration("LINKERD2_PROXY_DNS_MAX_TTL", get!(dns.max_ttl)),
    ]
}

fn identity() -> Vec<Case> {
    const LOCAL: &str = "LINKERD2_PROXY_IDENTITY_LOCAL_NAME";
    const SPIRE: &[(&str, &str)] = &[
        ("LINKERD2_PROXY_IDENTITY_SERVER_ID", "spiffe://td/web"),
        ("LINKERD2_PROXY_IDENTITY_SERVER_NAME", "web.shop"),
    ];
    let spire = |name| {
        // Looked at in SPIRE mode alone; without it nothing is wrong with any value.
        let get = get!(identity.id.to_string());
        let id = "\"web.shop.serviceaccount.identity.linkerd.cluster.local\"";
        Case { bad: Some(("?", Is(id))), ..text(name, get, ("1s", id), id) }
    };
    let socket = |name| {
        case(name, get!(identity.certify().is_none()), ("unix:/run/spire.sock", Is("true")), ("unix:", FATAL), FATAL)
            .with(SPIRE)
            .without(&[LOCAL])
    };
    vec![
        case("LINKERD2_PROXY_IDENTITY_DIR", get!(identity.certify().unwrap().dir), ("/tmp", Is("\"/tmp\"")), ("", FATAL), FATAL),
        case("LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS", get!(identity.trust_anchors), ("-----B\n-----E\n", Is("Text(Anchors(14 bytes))")), (" \n", FATAL), FATAL),
        case("CAUSEWAY_TRUST_ANCHORS_FILE", get!(identity.trust_anchors), ("/etc/passwd", Is("File(\"/etc/passwd\")")), ("", FATAL), FATAL),
        case("CAUSEWAY_EXPIRED_PEERS", get!(identity.expired_peers), ("close", Is("Close")), ("Close", FATAL), FATAL),
        case("LINKERD2_PROXY_IDENTITY_TOKEN_FILE", get!(identity.certify().unwrap().token_file), ("/etc/passwd", Is("\"/etc/passwd\"")), ("", FATAL), FATAL),
        case("LINKERD2_PROXY_IDENTITY_SVC_ADDR", get!(identity.certify().unwrap().control.addr.to_string()), ("[::1]:1", Is("\"[::1]:1\"")), ("identity", FATAL), FATAL),
        case("LINKERD2_PROXY_IDENTITY_SVC_NAME", get!(identity.certify().unwrap().control.name), ("a.b", Is("Some(DnsName(\"a.b\"))")), ("a_b-.c", FATAL), FATAL),
        case(LOCAL, get!(identity.id.to_string()), ("web.shop", Is("\"web.shop\"")), ("web.shop.", FATAL), FATAL),
        case("LINKERD2_PROXY_IDENTITY_SERVER_ID", get!(identity.id.to_string()), ("web.shop", Is("\"web.shop\"")), ("web shop", FATAL), FATAL)
            .with(&[("LINKERD2_PROXY_IDENTITY_SERVER_NAME", "web.shop")]).without(&[LOCAL]),
        case("LINKERD2_PROXY_IDENTITY_SERVER_NAME", get!(identity.server_name.to_string()), ("web.shop", Is("\"web.shop\"")), ("web/shop", FATAL), FATAL)
            .with(&[("LINKERD2_PROXY_IDENTITY_SERVER_ID", "web.shop")]).without(&[LOCAL]),
        duration("LINKERD2_PROXY_IDENTITY_MIN_REFRESH", get!(identity.certify().unwrap().min_refresh)),
        duration("LINKERD2_PROXY_IDENTITY_MAX_REFRESH", get!(identity.certify().unwrap().max_refresh)),
        case("LINKERD2_PROXY_IDENTITY_DISABLED", get!(identity.id.to_string()), ("", Is("\"web.shop.serviceaccount.identity.linkerd.cluster.local\"")),
            ("1", FATAL), Is("\"web.shop.serviceaccount.identity.linkerd.cluster.local\"")),
        socket("LINKERD2_PROXY_IDENTITY_SPIRE_WORKLOAD_API_ADDRESS"),
        socket("LINKERD2_PROXY_IDENTITY_SPIRE_SOCKET"),
        spire("LINKERD2_PROXY_LINKERD2_PROXY_IDENTITY_SPIRE_EXP_BACKOFF_MIN"),
        spire("LINKERD2_PROXY_LINKERD2_PROXY_IDENTITY_SPIRE_EXP_BACKOFF_MAX"),
        spire("LINKERD2_PROXY_LINKERD2_PROXY_IDENTITY_SPIRE_EXP_BACKOFF_JITTER"),
    ]
}

fn times() -> Vec<Case> {
    const OUT_MIN: &str = "LINKERD2_PROXY_OUTBOUND_CONNECT_EXP_BACKOFF_MIN";
    const OUT_MAX: &str = "LINKERD2_PROXY_OUTBOUND_CONNECT_EXP_BACKOFF_MAX";
    const IN_MIN: &str = "LINKERD2_PROXY_INBOUND_CONNECT_EXP_BACKOFF_MIN";
    const IN_MAX: &str = "LINKERD2_PROXY_INBOUND_CONNECT_EXP_BACKOFF_MAX";
    let jitter = |name, get| case(name, get, ("0.5", Is("0.5")), ("101", FATAL), FATAL);
    vec![
        duration("LINKERD2_PROXY_OUTBOUND_CONNECT_TIMEOUT", get!(outbound.connect.timeout)),
        duration("LINKERD2_PROXY_INBOUND_CONNECT_TIMEOUT", get!(inbound.connect.timeout)),
        duration("LINKERD2_PROXY_OUTBOUND_DETECT_TIMEOUT", get!(outbound.detect_timeout)),
        duration("LINKERD2_PROXY_INBOUND_DETECT_TIMEOUT", get!(inbound.detect_timeout)),
        duration("LINKERD2_PROXY_OUTBOUND_DISCOVERY_IDLE_TIMEOUT", get!(outbound.discovery_idle_timeout)),
        duration("LINKERD2_PROXY_INBOUND_DISCOVERY_IDLE_TIMEOUT", get!(inbound.discovery_idle_timeout)),
        duration("LINKERD2_PROXY_OUTBOUND_HTTP_FAILFAST_TIMEOUT", get!(outbound.http_queue.failfast)),
        duration("LINKERD2_PROXY_OUTBOUND_TCP_FAILFAST_TIMEOUT", get!(outbound.tcp_queue.failfast)),
        duration("LINKERD2_PROXY_INBOUND_HTTP_FAILFAST_TIMEOUT", get!(inbound.http_queue.failfast)),
        maybe_duration("LINKERD2_PROXY_OUTBOUND_ACCEPT_KEEPALIVE", get!(outbound.accept.socket.keepalive)),
        maybe_duration("LINKERD2_PROXY_OUTBOUND_CONNECT_KEEPALIVE", get!(outbound.connect.socket.keepalive)),
        maybe_duration("LINKERD2_PROXY_INBOUND_ACCEPT_KEEPALIVE", get!(inbound.accept.socket.keepalive)),
        maybe_duration("LINKERD2_PROXY_INBOUND_CONNECT_KEEPALIVE", get!(inbound.connect.socket.keepalive)),
        maybe_duration("LINKERD2_PROXY_OUTBOUND_ACCEPT_USER_TIMEOUT", get!(outbound.accept.socket.user_timeout)),
        maybe_duration("LINKERD2_PROXY_OUTBOUND_CONNECT_USER_TIMEOUT", get!(outbound.connect.socket.user_timeout)),
        maybe_duration("LINKERD2_PROXY_INBOUND_ACCEPT_USER_TIMEOUT", get!(inbound.accept.socket.user_timeout)),
        maybe_duration("LINKERD2_PROXY_INBOUND_CONNECT_USER_TIMEOUT", get!(inbound.connect.socket.user_timeout)),
        duration(OUT_MIN, get!(outbound.connect.backoff.min())).with(&[(OUT_MAX, "60s")]),
        duration(OUT_MAX, get!(outbound.connect.backoff.max())).with(&[(OUT_MIN, "100ms")]),
        jitter("LINKERD2_PROXY_OUTBOUND_CONNECT_EXP_BACKOFF_JITTER", get!(outbound.connect.backoff.jitter()))
            .with(&[(OUT_MIN, "100ms"), (OUT_MAX, "60s")]),
        duration(IN_MIN, get!(inbound.connect.backoff.min())).with(&[(IN_MAX, "60s")]),
        duration(IN_MAX, get!(inbound.connect.backoff.max())).with(&[(IN_MIN, "100ms")]),
        jitter("LINKERD2_PROXY_INBOUND_CONNECT_EXP_BACKOFF_JITTER", get!(inbound.connect.backoff.jitter()))
            .with(&[(IN_MIN, "100ms"), (IN_MAX, "60s")]),
    ]
}

/// The same ten variables for each side.
macro_rules! server_http2 {
    ($prefix:literal, $side:ident) => {
        [
            case(concat!($prefix, "_INITIAL_STREAM_WINDOW_SIZE"), get!($side.server_http2.flow_control),
                ("1", Is("Fixed { connection_window: 2, stream_window: 1 }")), ("2147483648", FATAL), FATAL)
                .with(&[(concat!($prefix, "_INITIAL_CONNECTION_WINDOW_SIZE"), "2")]),
            case(concat!($prefix, "_INITIAL_CONNECTION_WINDOW_SIZE"), get!($side.server_http2.flow_control),
                ("1", Is("Fixed { connection_window: 1, stream_window: 2 }")), ("1M", FATAL), FATAL)
                .with(&[(concat!($prefix, "_INITIAL_STREAM_WINDOW_SIZE"), "2")]),
            case(concat!($prefix, "_ADAPTIVE_FLOW_CONTROL"), get!($side.server_http2.flow_control), ("true", Is("Adaptive")), ("on", FATAL), FATAL),
            case(concat!($prefix, "_KEEP_ALIVE_INTERVAL"), get!($side.server_http2.keep_alive.map(|k| k.interval)),
                ("10s", Is("Some(10s)")), ("10", FATAL), FATAL).with(&[(concat!($prefix, "_KEEP_ALIVE_TIMEOUT"), "3s")]),
            case(concat!($prefix, "_KEEP_ALIVE_TIMEOUT"), get!($side.server_http2.keep_alive.map(|k| k.timeout)),
                ("3s", Is("Some(3s)")), ("3", FATAL), FATAL).with(&[(concat!($prefix, "_KEEP_ALIVE_INTERVAL"), "10s")]),
            maybe_count(concat!($prefix, "_MAX_CONCURRENT_STREAMS"), get!($side.server_http2.max_concurrent_streams)),
            case(concat!($prefix, "_MAX_FRAME_SIZE"), get!($side.server_http2.max_frame_size), ("16384", Is("Some(16384)")), ("16383", FATAL), FATAL),
            maybe_count(concat!($prefix, "_MAX_HEADER_LIST_SIZE"), get!($side.server_http2.max_header_list_size)),
            case(concat!($prefix, "_MAX_PENDING_ACCEPT_RESET_STREAMS"), get!($side.server_http2.max_pending_accept_reset_streams), ("9", Is("Some(9)")), ("-9", FATAL), FATAL),
            maybe_count(concat!($prefix, "_MAX_SEND_BUF_SIZE"), get!($side.server_http2.max_send_buf_size)),
        ]
    };
}

fn http() -> Vec<Case> {
    let mut all = vec![
        count("LINKERD2_PROXY_OUTBOUND_HTTP_QUEUE_CAPACITY", get!(outbound.http_queue.capacity)),
        count("LINKERD2_PROXY_OUTBOUND_TCP_QUEUE_CAPACITY", get!(outbound.tcp_queue.capacity)),
        count("LINKERD2_PROXY_INBOUND_HTTP_QUEUE_CAPACITY", get!(inbound.http_queue.capacity)),
        count("LINKERD2_PROXY_OUTBOUND_MAX_IN_FLIGHT", get!(outbound.max_in_flight)),
        count("LINKERD2_PROXY_INBOUND_MAX_IN_FLIGHT", get!(inbound.max_in_flight)),
        duration("LINKERD2_PROXY_OUTBOUND_HTTP1_CONNECTION_POOL_IDLE_TIMEOUT", get!(outbound.connect.h1_idle_timeout)),
        count("LINKERD2_PROXY_OUTBOUND_MAX_IDLE_CONNS_PER_ENDPOINT", get!(outbound.connect.h1_max_idle)),
        duration("LINKERD2_PROXY_INBOUND_HTTP1_CONNECTION_POOL_IDLE_TIMEOUT", get!(inbound.connect.h1_idle_timeout)),
        count("LINKERD2_PROXY_MAX_IDLE_CONNS_PER_ENDPOINT", get!(inbound.connect.h1_max_idle)),
        window("LINKERD2_PROXY_HTTP2_INITIAL_STREAM_WINDOW_SIZE", get!(outbound.connect.h2_stream_window)),
        window("LINKERD2_PROXY_HTTP2_INITIAL_CONNECTION_WINDOW_SIZE", get!(inbound.connect.h2_connection_window)),
    ];
    all.extend(server_http2!("LINKERD2_PROXY_OUTBOUND_SERVER_HTTP2", outbound));
    all.extend(server_http2!("LINKERD2_PROXY_INBOUND_SERVER_HTTP2", inbound));
    all
}

fn observed() -> Vec<Case> {
    const COLLECTOR: &[(&str, &str)] = &[("LINKERD2_PROXY_TRACE_COLLECTOR_SVC_ADDR", "localhost.:4317")];
    macro_rules! traced {
        ($name:literal, $field:ident) => {
            text($name, get!(tracing.as_ref().and_then(|t| t.$field.clone())), ("a=b\n", "Some(\"a=b\\n\")"), "Some(\"\")").with(COLLECTOR)
        };
    }
    vec![
        duration("LINKERD2_PROXY_METRICS_RETAIN_IDLE", get!(metrics.retain_idle)),
        case("LINKERD2_PROXY_OUTBOUND_METRICS_HOSTNAME_LABELS", get!(metrics.hostname_labels), ("true", Is("true")), ("no", FATAL), FATAL),
        case("LINKERD2_PROXY_INBOUND_METRICS_AUTHORITY_LABELS", get!(metrics.authority_labels), ("Unsafe", Warned("true")), ("true", FATAL), Is("false")),
        case("LINKERD2_PROXY_TAP_SVC_NAME", get!(tap.as_ref().map(|tap| tap.client.to_string())), ("tap.viz", Warned("Some(\"tap.viz\")")), ("tap.viz.", FATAL), FATAL),
        case("LINKERD2_PROXY_TRACE_COLLECTOR_SVC_ADDR", get!(tracing.as_ref().map(|t| t.collector.addr.to_string())),
            ("collector.tracing:4317", Warned("Some(\"collector.tracing:4317\")")), ("http://collector:4317", FATAL), FATAL)
            .with(&[("LINKERD2_PROXY_TRACE_COLLECTOR_SVC_NAME", "collector.tracing")]),
        case("LINKERD2_PROXY_TRACE_COLLECTOR_SVC_NAME", get!(tracing.as_ref().map(|t| t.collector.name.clone())),
            ("collector.tracing", Is("Some(Some(DnsName(\"collector.tracing\")))")), ("a..b", FATAL), FATAL)
            .with(&[("LINKERD2_PROXY_TRACE_COLLECTOR_SVC_ADDR", "collector.tracing:4317")]),
        traced!("LINKERD2_PROXY_TRACE_ATTRIBUTES_PATH", attributes_path),
        traced!("LINKERD2_PROXY_TRACE_EXTRA_ATTRIBUTES", extra_attributes),
        traced!("LINKERD2_PROXY_TRACE_SERVICE_NAME", service_name),
        traced!("OTEL_RESOURCE_ATTRIBUTES", otel_attributes),
        traced!("HOSTNAME", hostname),
    ]
}
