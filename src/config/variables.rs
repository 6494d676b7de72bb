//! The table of variables: name, form, default, meaning (contract 1.3).
//!
//! Names and defaults are those that the injector and Linkerd's proxy agree on. A value that asks for what
//! is not carried yet says so. Settings of our own stand last.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::environment::{Row, Setting};
use super::{AccessLog, Anchors, ControlAddr, DefaultPolicy, ExpiredPeers, LogFormat, Suffixes, value};
use crate::model::outbound::LoadBand;
use crate::model::{DnsName, WorkloadId};

macro_rules! settings {
    ($($name:ident: $type:ty = $form:ident, $default:expr, $meaning:literal;)*) => {
        $(
            #[doc = $meaning]
            pub const $name: Setting<$type> =
                Setting { name: stringify!($name), form: value::$form, default: $default, meaning: $meaning };
        )*

        /// Every variable that is read, in the order of this file.
        pub fn rows() -> Vec<Row> {
            vec![$($name.row()),*]
        }

        #[cfg(test)]
        pub(super) fn unreadable_defaults() -> Vec<&'static str> {
            let mut names = Vec::new();
            $(
                if $name.default.is_some_and(|text| ($name.form.parse)(text).is_none()) {
                    names.push($name.name);
                }
            )*
            names
        }
    };
}

settings! {
    LINKERD2_PROXY_LOG: String = TEXT, Some("warn,linkerd=info,hickory=error"), "log filter; off disables logging";
    LINKERD2_PROXY_LOG_FORMAT: LogFormat = LOG_FORMAT, Some("plain"), "how log lines are written";
    LINKERD2_PROXY_ACCESS_LOG: AccessLog = ACCESS_LOG, None, "log of inbound requests; not written yet";
    LINKERD2_PROXY_CORES: usize = CORES, Some("1"), "fewest worker threads, where CORES_MIN is not set";
    LINKERD2_PROXY_CORES_MIN: usize = CORES, None, "fewest worker threads";
    LINKERD2_PROXY_CORES_MAX: usize = CORES, None, "most worker threads";
    LINKERD2_PROXY_CORES_MAX_RATIO: f64 = CORES_RATIO, None, "most worker threads, as a part of the available cores";

    LINKERD2_PROXY_OUTBOUND_LISTEN_ADDRS: Vec<SocketAddr> = SOCKET_ADDRS, None, "outbound listeners; wins over OUTBOUND_LISTEN_ADDR";
    LINKERD2_PROXY_OUTBOUND_LISTEN_ADDR: SocketAddr = SOCKET_ADDR, Some("127.0.0.1:4140"), "outbound listener";
    LINKERD2_PROXY_INBOUND_LISTEN_ADDR: SocketAddr = SOCKET_ADDR, Some("0.0.0.0:4143"), "inbound listener; its port takes transport headers";
    LINKERD2_PROXY_CONTROL_LISTEN_ADDR: SocketAddr = SOCKET_ADDR, Some("0.0.0.0:4190"), "tap listener; not bound yet";
    LINKERD2_PROXY_ADMIN_LISTEN_ADDR: SocketAddr = SOCKET_ADDR, Some("127.0.0.1:4191"), "admin listener";
    LINKERD2_PROXY_OUTBOUND_TCP_LISTEN_BACKLOG: u32 = U32, None, "listen backlog; unset: the platform's";
    LINKERD2_PROXY_INBOUND_TCP_LISTEN_BACKLOG: u32 = U32, None, "listen backlog; unset: the platform's";

    LINKERD2_PROXY_INBOUND_IPS: BTreeSet<IpAddr> = IPS, None, "the pod's addresses, the only ones served; unset: any";
    LINKERD2_PROXY_INBOUND_PORTS: BTreeSet<u16> = PORTS, None, "ports whose policy is watched from the start";
    LINKERD2_PROXY_INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION: BTreeSet<u16> = PORTS, None, "ports that are opaque until the controller answers";
    LINKERD2_PROXY_INBOUND_PORTS_REQUIRE_IDENTITY: BTreeSet<u16> = PORTS, None, "not looked at: the policy controller applies it";
    LINKERD2_PROXY_INBOUND_PORTS_REQUIRE_TLS: BTreeSet<u16> = PORTS, None, "not looked at: the policy controller applies it";
    LINKERD2_PROXY_INBOUND_GATEWAY_SUFFIXES: Suffixes = SUFFIXES, None, "names that a gateway leads others to; unset: it is none";
    LINKERD2_PROXY_INGRESS_MODE: bool = BOOL, Some("false"), "requests go where their `l5d-dst-override` says";
    LINKERD2_PROXY_INBOUND_DEFAULT_POLICY: DefaultPolicy = POLICY, Some("all-unauthenticated"), "policy of a port until the controller answers";

    LINKERD2_PROXY_POLICY_SVC_ADDR: ControlAddr = CONTROL_ADDR, None, "policy controller";
    LINKERD2_PROXY_POLICY_SVC_NAME: DnsName = DNS_NAME, None, "policy controller's identity; not needed on loopback";
    LINKERD2_PROXY_POLICY_WORKLOAD: String = TEXT, None, "this workload, as the policy controller knows it; sent as it is";
    LINKERD2_PROXY_POLICY_CLUSTER_NETWORKS: Vec<IpNet> = NETWORKS, None, "what cluster-scoped default policies count as the cluster";
    LINKERD2_PROXY_DESTINATION_SVC_ADDR: ControlAddr = CONTROL_ADDR, None, "destination controller";
    LINKERD2_PROXY_DESTINATION_SVC_NAME: DnsName = DNS_NAME, None, "destination controller's identity; not needed on loopback";
    LINKERD2_PROXY_DESTINATION_CONTEXT: String = TEXT, Some(""), "this workload, as the destination controller knows it; sent as it is";
    LINKERD2_PROXY_DESTINATION_PROFILE_SUFFIXES: Suffixes = SUFFIXES, Some("svc.cluster.local."), "names whose profile is looked up";
    LINKERD2_PROXY_DESTINATION_PROFILE_NETWORKS: Vec<IpNet> = NETWORKS, None, "addresses whose profile is looked up; unset: none";
    LINKERD2_PROXY_DESTINATION_PROFILE_INITIAL_TIMEOUT: Duration = DURATION, Some("500ms"), "how long the first inbound requests for a Service wait for its profile, by whose routes they are counted";
    LINKERD2_PROXY_CONTROL_STREAM_INITIAL_TIMEOUT: Option<Duration> = DURATION_OR_EMPTY, None, "how long a watch may take to say something first";
    LINKERD2_PROXY_CONTROL_STREAM_IDLE_TIMEOUT: Option<Duration> = DURATION_OR_EMPTY, None, "how long a watch may be silent";
    LINKERD2_PROXY_CONTROL_STREAM_LIFETIME: Option<Duration> = DURATION_OR_EMPTY, None, "how long a watch may last";

    LINKERD2_PROXY_DNS_MIN_TTL: Duration = DURATION, None, "how long a DNS answer holds at least, good or bad; never below 5s";
    LINKERD2_PROXY_DNS_MAX_TTL: Duration = DURATION, None, "how long a DNS answer holds at most, good or bad";

    LINKERD2_PROXY_IDENTITY_DIR: PathBuf = PATH, None, "folder of key.p8 and csr.der";
    LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS: Anchors = ANCHORS, None, "whom to trust; not needed with CAUSEWAY_TRUST_ANCHORS_FILE";
    LINKERD2_PROXY_IDENTITY_TOKEN_FILE: PathBuf = PATH, None, "service-account token, read at every renewal";
    LINKERD2_PROXY_IDENTITY_SVC_ADDR: ControlAddr = CONTROL_ADDR, None, "identity controller";
    LINKERD2_PROXY_IDENTITY_SVC_NAME: DnsName = DNS_NAME, None, "identity controller's identity; not needed on loopback";
    LINKERD2_PROXY_IDENTITY_LOCAL_NAME: WorkloadId = IDENTITY, None, "this workload's identity and TLS server name";
    LINKERD2_PROXY_IDENTITY_SERVER_ID: WorkloadId = IDENTITY, None, "this workload's identity, where LOCAL_NAME is not set";
    LINKERD2_PROXY_IDENTITY_SERVER_NAME: DnsName = DNS_NAME, None, "this workload's TLS server name, where LOCAL_NAME is not set";
    LINKERD2_PROXY_IDENTITY_MIN_REFRESH: Duration = DURATION, Some("10s"), "shortest time between renewals";
    LINKERD2_PROXY_IDENTITY_MAX_REFRESH: Duration = DURATION, Some("1d"), "longest time between renewals";
    LINKERD2_PROXY_IDENTITY_DISABLED: () = RETIRED, None, "no longer possible";
    LINKERD2_PROXY_IDENTITY_SPIRE_WORKLOAD_API_ADDRESS: PathBuf = SOCKET_PATH, None, "socket of the SPIFFE Workload API, which certifies this workload in place of the identity controller";
    LINKERD2_PROXY_IDENTITY_SPIRE_SOCKET: PathBuf = SOCKET_PATH, None, "older name of SPIRE_WORKLOAD_API_ADDRESS";
    LINKERD2_PROXY_LINKERD2_PROXY_IDENTITY_SPIRE_EXP_BACKOFF_MIN: Duration = DURATION, Some("100ms"), "first wait before asking SPIRE again; set with MAX";
    LINKERD2_PROXY_LINKERD2_PROXY_IDENTITY_SPIRE_EXP_BACKOFF_MAX: Duration = DURATION, Some("1s"), "longest wait before asking SPIRE again; set with MIN";
    LINKERD2_PROXY_LINKERD2_PROXY_IDENTITY_SPIRE_EXP_BACKOFF_JITTER: f64 = JITTER, Some("0.1"), "part of the wait that may be added at random; set with MIN and MAX";

    LINKERD2_PROXY_OUTBOUND_CONNECT_TIMEOUT: Duration = DURATION, Some("1s"), "time to connect to an endpoint, TLS and header included";
    LINKERD2_PROXY_INBOUND_CONNECT_TIMEOUT: Duration = DURATION, Some("300ms"), "time to connect to the application";
    LINKERD2_PROXY_OUTBOUND_DETECT_TIMEOUT: Duration = DURATION, Some("10s"), "time to recognize a protocol";
    LINKERD2_PROXY_INBOUND_DETECT_TIMEOUT: Duration = DURATION, Some("10s"), "time to recognize TLS or a protocol";
    LINKERD2_PROXY_OUTBOUND_DISCOVERY_IDLE_TIMEOUT: Duration = DURATION, Some("5s"), "how long an unused destination is kept";
    LINKERD2_PROXY_INBOUND_DISCOVERY_IDLE_TIMEOUT: Duration = DURATION, Some("90s"), "how long an unused port's policy is kept";
    LINKERD2_PROXY_OUTBOUND_HTTP_FAILFAST_TIMEOUT: Duration = DURATION, Some("3s"), "how long requests wait for an endpoint";
    LINKERD2_PROXY_OUTBOUND_TCP_FAILFAST_TIMEOUT: Duration = DURATION, Some("3s"), "how long connections wait for an endpoint";
    LINKERD2_PROXY_INBOUND_HTTP_FAILFAST_TIMEOUT: Duration = DURATION, Some("1s"), "how long requests wait for the application";
    LINKERD2_PROXY_OUTBOUND_HTTP_QUEUE_CAPACITY: usize = COUNT, Some("10000"), "requests that wait for an endpoint of one backend; more are refused";
    LINKERD2_PROXY_OUTBOUND_TCP_QUEUE_CAPACITY: usize = COUNT, Some("10000"), "connections that wait for an endpoint of one backend; more are refused";
    LINKERD2_PROXY_INBOUND_HTTP_QUEUE_CAPACITY: usize = COUNT, Some("10000"), "requests that wait for a connection to the application; more are refused";
    LINKERD2_PROXY_OUTBOUND_MAX_IN_FLIGHT: usize = COUNT, Some("100000"), "outbound requests that wait for an answer; more are refused";
    LINKERD2_PROXY_INBOUND_MAX_IN_FLIGHT: usize = COUNT, Some("100000"), "inbound requests that wait for an answer; more are refused";

    LINKERD2_PROXY_OUTBOUND_ACCEPT_KEEPALIVE: Duration = DURATION, None, "TCP keepalive time towards local applications";
    LINKERD2_PROXY_OUTBOUND_CONNECT_KEEPALIVE: Duration = DURATION, None, "TCP keepalive time towards endpoints";
    LINKERD2_PROXY_INBOUND_ACCEPT_KEEPALIVE: Duration = DURATION, None, "TCP keepalive time towards clients";
    LINKERD2_PROXY_INBOUND_CONNECT_KEEPALIVE: Duration = DURATION, None, "TCP keepalive time towards the application";
    LINKERD2_PROXY_OUTBOUND_ACCEPT_USER_TIMEOUT: Duration = DURATION, None, "TCP_USER_TIMEOUT towards local applications";
    LINKERD2_PROXY_OUTBOUND_CONNECT_USER_TIMEOUT: Duration = DURATION, None, "TCP_USER_TIMEOUT towards endpoints";
    LINKERD2_PROXY_INBOUND_ACCEPT_USER_TIMEOUT: Duration = DURATION, None, "TCP_USER_TIMEOUT towards clients";
    LINKERD2_PROXY_INBOUND_CONNECT_USER_TIMEOUT: Duration = DURATION, None, "TCP_USER_TIMEOUT towards the application";

    LINKERD2_PROXY_OUTBOUND_CONNECT_EXP_BACKOFF_MIN: Duration = DURATION, Some("100ms"), "first wait before connecting again; set with MAX";
    LINKERD2_PROXY_OUTBOUND_CONNECT_EXP_BACKOFF_MAX: Duration = DURATION, Some("60s"), "longest wait before connecting again; set with MIN";
    LINKERD2_PROXY_OUTBOUND_CONNECT_EXP_BACKOFF_JITTER: f64 = JITTER, Some("0.1"), "part of the wait that may be added at random; set with MIN and MAX, 0 where they alone are set";
    LINKERD2_PROXY_INBOUND_CONNECT_EXP_BACKOFF_MIN: Duration = DURATION, Some("100ms"), "first wait before connecting again; set with MAX";
    LINKERD2_PROXY_INBOUND_CONNECT_EXP_BACKOFF_MAX: Duration = DURATION, Some("10s"), "longest wait before connecting again; set with MIN";
    LINKERD2_PROXY_INBOUND_CONNECT_EXP_BACKOFF_JITTER: f64 = JITTER, Some("0.1"), "part of the wait that may be added at random; set with MIN and MAX, 0 where they alone are set";

    LINKERD2_PROXY_OUTBOUND_HTTP1_CONNECTION_POOL_IDLE_TIMEOUT: Duration = DURATION, Some("3s"), "how long an idle HTTP/1 connection to an endpoint is kept";
    LINKERD2_PROXY_OUTBOUND_MAX_IDLE_CONNS_PER_ENDPOINT: usize = COUNT, Some("10000"), "idle HTTP/1 connections kept per endpoint";
    LINKERD2_PROXY_INBOUND_HTTP1_CONNECTION_POOL_IDLE_TIMEOUT: Duration = DURATION, Some("3s"), "how long an idle HTTP/1 connection to the application is kept";
    LINKERD2_PROXY_MAX_IDLE_CONNS_PER_ENDPOINT: usize = COUNT, Some("10000"), "idle HTTP/1 connections kept to the application";
    LINKERD2_PROXY_HTTP2_INITIAL_STREAM_WINDOW_SIZE: u32 = WINDOW, Some("65535"), "HTTP/2 stream window of clients";
    LINKERD2_PROXY_HTTP2_INITIAL_CONNECTION_WINDOW_SIZE: u32 = WINDOW, Some("1048576"), "HTTP/2 connection window of clients";

    LINKERD2_PROXY_OUTBOUND_SERVER_HTTP2_INITIAL_STREAM_WINDOW_SIZE: u32 = WINDOW, Some("65535"), "HTTP/2 stream window; set with the connection's";
    LINKERD2_PROXY_OUTBOUND_SERVER_HTTP2_INITIAL_CONNECTION_WINDOW_SIZE: u32 = WINDOW, Some("1048576"), "HTTP/2 connection window; set with the stream's";
    LINKERD2_PROXY_OUTBOUND_SERVER_HTTP2_ADAPTIVE_FLOW_CONTROL: bool = BOOL, Some("false"), "let windows follow the path instead";
    LINKERD2_PROXY_OUTBOUND_SERVER_HTTP2_KEEP_ALIVE_INTERVAL: Duration = DURATION, None, "time between HTTP/2 pings; set with the timeout";
    LINKERD2_PROXY_OUTBOUND_SERVER_HTTP2_KEEP_ALIVE_TIMEOUT: Duration = DURATION, None, "time for an HTTP/2 ping's answer; set with the interval";
    LINKERD2_PROXY_OUTBOUND_SERVER_HTTP2_MAX_CONCURRENT_STREAMS: u32 = U32, None, "HTTP/2 streams per connection";
    LINKERD2_PROXY_OUTBOUND_SERVER_HTTP2_MAX_FRAME_SIZE: u32 = FRAME, None, "HTTP/2 frame size";
    LINKERD2_PROXY_OUTBOUND_SERVER_HTTP2_MAX_HEADER_LIST_SIZE: u32 = U32, None, "HTTP/2 header list size";
    LINKERD2_PROXY_OUTBOUND_SERVER_HTTP2_MAX_PENDING_ACCEPT_RESET_STREAMS: usize = COUNT, None, "HTTP/2 streams reset before they were taken";
    LINKERD2_PROXY_OUTBOUND_SERVER_HTTP2_MAX_SEND_BUF_SIZE: u32 = U32, None, "HTTP/2 send buffer per stream";
    LINKERD2_PROXY_INBOUND_SERVER_HTTP2_INITIAL_STREAM_WINDOW_SIZE: u32 = WINDOW, Some("65535"), "HTTP/2 stream window; set with the connection's";
    LINKERD2_PROXY_INBOUND_SERVER_HTTP2_INITIAL_CONNECTION_WINDOW_SIZE: u32 = WINDOW, Some("1048576"), "HTTP/2 connection window; set with the stream's";
    LINKERD2_PROXY_INBOUND_SERVER_HTTP2_ADAPTIVE_FLOW_CONTROL: bool = BOOL, Some("false"), "let windows follow the path instead";
    LINKERD2_PROXY_INBOUND_SERVER_HTTP2_KEEP_ALIVE_INTERVAL: Duration = DURATION, None, "time between HTTP/2 pings; set with the timeout";
    LINKERD2_PROXY_INBOUND_SERVER_HTTP2_KEEP_ALIVE_TIMEOUT: Duration = DURATION, None, "time for an HTTP/2 ping's answer; set with the interval";
    LINKERD2_PROXY_INBOUND_SERVER_HTTP2_MAX_CONCURRENT_STREAMS: u32 = U32, None, "HTTP/2 streams per connection";
    LINKERD2_PROXY_INBOUND_SERVER_HTTP2_MAX_FRAME_SIZE: u32 = FRAME, None, "HTTP/2 frame size";
    LINKERD2_PROXY_INBOUND_SERVER_HTTP2_MAX_HEADER_LIST_SIZE: u32 = U32, None, "HTTP/2 header list size";
    LINKERD2_PROXY_INBOUND_SERVER_HTTP2_MAX_PENDING_ACCEPT_RESET_STREAMS: usize = COUNT, None, "HTTP/2 streams reset before they were taken";
    LINKERD2_PROXY_INBOUND_SERVER_HTTP2_MAX_SEND_BUF_SIZE: u32 = U32, None, "HTTP/2 send buffer per stream";

    LINKERD2_PROXY_OUTBOUND_DISABLE_INFORMATIONAL_HEADERS: bool = BOOL, None, "send applications no l5d-proxy headers; unset: in ingress mode";
    LINKERD2_PROXY_OUTBOUND_METRICS_HOSTNAME_LABELS: bool = BOOL, Some("false"), "fill the hostname label of route metrics; names beyond the first 250 are counted as other";
    LINKERD2_PROXY_INBOUND_METRICS_AUTHORITY_LABELS: bool = AUTHORITY_LABELS, Some(""), "put the authority on inbound HTTP metrics; not done yet";
    LINKERD2_PROXY_METRICS_RETAIN_IDLE: Duration = DURATION, Some("10m"), "how long an idle series is kept";
    LINKERD2_PROXY_SHUTDOWN_ENDPOINT_ENABLED: bool = BOOL, Some("false"), "let POST /shutdown end the proxy";
    LINKERD2_PROXY_SHUTDOWN_GRACE_PERIOD: Duration = DURATION, Some("2m"), "how long connections may take to finish";

    LINKERD2_PROXY_TAP_SVC_NAME: WorkloadId = IDENTITY, None, "who may tap; tap is not served yet";
    LINKERD2_PROXY_TRACE_COLLECTOR_SVC_ADDR: ControlAddr = CONTROL_ADDR, None, "collector of spans; none are sent yet";
    LINKERD2_PROXY_TRACE_COLLECTOR_SVC_NAME: DnsName = DNS_NAME, None, "the collector's identity; not needed on loopback";
    LINKERD2_PROXY_TRACE_ATTRIBUTES_PATH: String = TEXT, None, "file of span attributes";
    LINKERD2_PROXY_TRACE_EXTRA_ATTRIBUTES: String = TEXT, None, "more span attributes, a line each";
    LINKERD2_PROXY_TRACE_SERVICE_NAME: String = TEXT, None, "service name of spans";
    OTEL_RESOURCE_ATTRIBUTES: String = TEXT, None, "more span attributes, a line each";
    HOSTNAME: String = TEXT, None, "host name of spans";

    CAUSEWAY_LOCAL_FIRST_REQUESTS: LoadBand = LOAD_BAND, None, "prefer endpoints of the own zone, while fewer requests than HIGH are in flight at each; unset: all are alike";
    CAUSEWAY_LOCAL_FIRST_CONNECTIONS: LoadBand = LOAD_BAND, None, "the same of opaque connections, by how many are open";
    CAUSEWAY_OUTBOUND_PING_AFTER: Duration = DURATION, Some("300ms"), "silence of an HTTP/2 connection with requests in flight before its endpoint is asked whether it is there; 0: it never is";
    CAUSEWAY_OUTBOUND_PING_TIMEOUT: Duration = DURATION, Some("400ms"), "time for the answer, after which the connection is given up unless its far end's kernel acknowledges what is sent; not 0";
    CAUSEWAY_MARK: u32 = U32, None, "SO_MARK of the connections that the proxy opens, by which redirection can tell them; needs CAP_NET_ADMIN";
    CAUSEWAY_TRUST_ANCHORS_FILE: PathBuf = PATH, None, "file of PEM certificates, whom to trust, in place of LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS; a change is in force within two seconds";
    CAUSEWAY_EXPIRED_PEERS: ExpiredPeers = EXPIRED_PEERS, Some("drain"), "connections of peers whose certificate has expired: keep all, drain HTTP, or close opaque ones too";
    CAUSEWAY_SERVER_FIRST_AFTER: Duration = DURATION, Some("20ms"), "how long a client may say nothing on a port of which nothing is declared before the server may speak first; 0: never";
}
