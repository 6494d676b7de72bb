//! From variables to sections. A section that cannot be made is `None`, and the mistakes that made it
//! so are already noted in the [`Environment`]; the other sections are read all the same.

use super::environment::{Environment, Setting};
use super::variables::*;
use super::*;

pub(super) fn config(source: &dyn Fn(&str) -> Option<String>) -> Result<Config, ConfigErrors> {
    let mut env = Environment::new(source);
    let (outbound, inbound, admin) = data_plane(&mut env);
    let limits = stream_limits(&mut env);
    let identity = identity(&mut env);
    let destination = destination(&mut env, limits);
    let policy = policy(&mut env, limits);
    let runtime = cores(&mut env);
    let log = Log { filter: env.value(&LINKERD2_PROXY_LOG), format: env.value(&LINKERD2_PROXY_LOG_FORMAT) };
    let shutdown = Shutdown {
        grace_period: env.value(&LINKERD2_PROXY_SHUTDOWN_GRACE_PERIOD),
        endpoint_enabled: env.value(&LINKERD2_PROXY_SHUTDOWN_ENDPOINT_ENABLED),
    };
    let metrics = Metrics { retain_idle: env.value(&LINKERD2_PROXY_METRICS_RETAIN_IDLE) };
    let mark = env.optional(&CAUSEWAY_MARK);
    env.finish(|ignored| {
        Some(Config {
            outbound: outbound?,
            inbound: inbound?,
            admin: admin?,
            identity: identity?,
            destination: destination?,
            policy: policy?,
            runtime,
            log,
            shutdown,
            metrics,
            mark,
            ignored,
        })
    })
}

fn data_plane(env: &mut Environment<'_>) -> (Option<Outbound>, Option<Inbound>, Option<Admin>) {
    let h2_stream_window = env.value(&LINKERD2_PROXY_HTTP2_INITIAL_STREAM_WINDOW_SIZE);
    let h2_connection_window = env.value(&LINKERD2_PROXY_HTTP2_INITIAL_CONNECTION_WINDOW_SIZE);
    let admin = env.or_default(&LINKERD2_PROXY_ADMIN_LISTEN_ADDR).map(|listen| Admin { listen });
    let outbound_backoff = backoff(
        env,
        [&LINKERD2_PROXY_OUTBOUND_CONNECT_EXP_BACKOFF_MIN, &LINKERD2_PROXY_OUTBOUND_CONNECT_EXP_BACKOFF_MAX],
        &LINKERD2_PROXY_OUTBOUND_CONNECT_EXP_BACKOFF_JITTER,
    );
    let inbound_backoff = backoff(
        env,
        [&LINKERD2_PROXY_INBOUND_CONNECT_EXP_BACKOFF_MIN, &LINKERD2_PROXY_INBOUND_CONNECT_EXP_BACKOFF_MAX],
        &LINKERD2_PROXY_INBOUND_CONNECT_EXP_BACKOFF_JITTER,
    );
    let outbound_connect = Connect {
        timeout: env.value(&LINKERD2_PROXY_OUTBOUND_CONNECT_TIMEOUT),
        backoff: outbound_backoff,
        socket: Socket {
            keepalive: env.optional(&LINKERD2_PROXY_OUTBOUND_CONNECT_KEEPALIVE),
            user_timeout: env.optional(&LINKERD2_PROXY_OUTBOUND_CONNECT_USER_TIMEOUT),
        },
        h1_idle_timeout: env.value(&LINKERD2_PROXY_OUTBOUND_HTTP1_CONNECTION_POOL_IDLE_TIMEOUT),
        h1_max_idle: env.value(&LINKERD2_PROXY_OUTBOUND_MAX_IDLE_CONNS_PER_ENDPOINT),
        h2_stream_window,
        h2_connection_window,
    };
    let inbound_connect = Connect {
        timeout: env.value(&LINKERD2_PROXY_INBOUND_CONNECT_TIMEOUT),
        backoff: inbound_backoff,
        socket: Socket {
            keepalive: env.optional(&LINKERD2_PROXY_INBOUND_CONNECT_KEEPALIVE),
            user_timeout: env.optional(&LINKERD2_PROXY_INBOUND_CONNECT_USER_TIMEOUT),
        },
        h1_idle_timeout: env.value(&LINKERD2_PROXY_INBOUND_HTTP1_CONNECTION_POOL_IDLE_TIMEOUT),
        h1_max_idle: env.value(&LINKERD2_PROXY_MAX_IDLE_CONNS_PER_ENDPOINT),
        h2_stream_window,
        h2_connection_window,
    };
    let outbound = outbound(env, outbound_connect);
    let inbound = inbound(env, inbound_connect, admin.as_ref());
    (outbound, inbound, admin)
}

fn outbound(env: &mut Environment<'_>, connect: Connect) -> Option<Outbound> {
    let single = env.or_default(&LINKERD2_PROXY_OUTBOUND_LISTEN_ADDR);
    let listen = env.optional(&LINKERD2_PROXY_OUTBOUND_LISTEN_ADDRS);
    let accept = Accept {
        socket: Socket {
            keepalive: env.optional(&LINKERD2_PROXY_OUTBOUND_ACCEPT_KEEPALIVE),
            user_timeout: env.optional(&LINKERD2_PROXY_OUTBOUND_ACCEPT_USER_TIMEOUT),
        },
        backlog: env.optional(&LINKERD2_PROXY_OUTBOUND_TCP_LISTEN_BACKLOG),
    };
    Some(Outbound {
        accept,
        connect,
        server_http2: http2::server(env, &http2::OUTBOUND),
        detect_timeout: env.value(&LINKERD2_PROXY_OUTBOUND_DETECT_TIMEOUT),
        discovery_idle_timeout: env.value(&LINKERD2_PROXY_OUTBOUND_DISCOVERY_IDLE_TIMEOUT),
        http_failfast_timeout: env.value(&LINKERD2_PROXY_OUTBOUND_HTTP_FAILFAST_TIMEOUT),
        tcp_failfast_timeout: env.value(&LINKERD2_PROXY_OUTBOUND_TCP_FAILFAST_TIMEOUT),
        informational_headers: !env.value(&LINKERD2_PROXY_OUTBOUND_DISABLE_INFORMATIONAL_HEADERS),
        profile_suffixes: env.value(&LINKERD2_PROXY_DESTINATION_PROFILE_SUFFIXES),
        profile_networks: env.value(&LINKERD2_PROXY_DESTINATION_PROFILE_NETWORKS),
        listen: listen.or_else(|| single.map(|addr| vec![addr]))?,
    })
}

fn inbound(env: &mut Environment<'_>, connect: Connect, admin: Option<&Admin>) -> Option<Inbound> {
    let accept = Accept {
        socket: Socket {
            keepalive: env.optional(&LINKERD2_PROXY_INBOUND_ACCEPT_KEEPALIVE),
            user_timeout: env.optional(&LINKERD2_PROXY_INBOUND_ACCEPT_USER_TIMEOUT),
        },
        backlog: env.optional(&LINKERD2_PROXY_INBOUND_TCP_LISTEN_BACKLOG),
    };
    let mut ports = env.value(&LINKERD2_PROXY_INBOUND_PORTS);
    ports.extend(admin.map(|admin| admin.listen.port()));
    let cluster_networks = env.value(&LINKERD2_PROXY_POLICY_CLUSTER_NETWORKS);
    let default_policy: DefaultPolicy = env.value(&LINKERD2_PROXY_INBOUND_DEFAULT_POLICY);
    if default_policy.needs_cluster_networks() && cluster_networks.is_empty() {
        let networks = LINKERD2_PROXY_POLICY_CLUSTER_NETWORKS.name;
        env.invalid(&LINKERD2_PROXY_INBOUND_DEFAULT_POLICY, format!("{networks} to be set with this value"));
    }
    let listen = env.or_default(&LINKERD2_PROXY_INBOUND_LISTEN_ADDR);
    Some(Inbound {
        accept,
        connect,
        server_http2: http2::server(env, &http2::INBOUND),
        detect_timeout: env.value(&LINKERD2_PROXY_INBOUND_DETECT_TIMEOUT),
        discovery_idle_timeout: env.value(&LINKERD2_PROXY_INBOUND_DISCOVERY_IDLE_TIMEOUT),
        http_failfast_timeout: env.value(&LINKERD2_PROXY_INBOUND_HTTP_FAILFAST_TIMEOUT),
        ips: env.value(&LINKERD2_PROXY_INBOUND_IPS),
        ports,
        opaque_ports: env.value(&LINKERD2_PROXY_INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION),
        default_policy,
        cluster_networks,
        listen: listen?,
    })
}

/// The shortest and the longest delay are set together or not at all: one alone could exceed the
/// other's default.
fn backoff(env: &mut Environment<'_>, bounds: [&Setting<Duration>; 2], jitter: &Setting<f64>) -> Backoff {
    for (set, other) in [(bounds[0], bounds[1]), (bounds[1], bounds[0])] {
        if env.is_set(set) && !env.is_set(other) {
            env.missing(other);
        }
    }
    let [min, max] = bounds.map(|bound| env.value(bound));
    Backoff::new(min, max, env.value(jitter)).unwrap_or_else(|error| {
        env.invalid(bounds[1], error.to_string());
        Backoff::default()
    })
}

fn stream_limits(env: &mut Environment<'_>) -> StreamLimits {
    let initial = env.value(&LINKERD2_PROXY_CONTROL_STREAM_INITIAL_TIMEOUT);
    let idle = env.value(&LINKERD2_PROXY_CONTROL_STREAM_IDLE_TIMEOUT);
    let lifetime = env.value(&LINKERD2_PROXY_CONTROL_STREAM_LIFETIME);
    let exceeds =
        |low: Option<Duration>, high: Option<Duration>| matches!((low, high), (Some(l), Some(h)) if l > h);
    let named = [
        (
            exceeds(initial, idle),
            &LINKERD2_PROXY_CONTROL_STREAM_INITIAL_TIMEOUT,
            &LINKERD2_PROXY_CONTROL_STREAM_IDLE_TIMEOUT,
        ),
        (
            exceeds(initial, lifetime),
            &LINKERD2_PROXY_CONTROL_STREAM_INITIAL_TIMEOUT,
            &LINKERD2_PROXY_CONTROL_STREAM_LIFETIME,
        ),
        (
            exceeds(idle, lifetime),
            &LINKERD2_PROXY_CONTROL_STREAM_IDLE_TIMEOUT,
            &LINKERD2_PROXY_CONTROL_STREAM_LIFETIME,
        ),
    ];
    for (wrong, low, high) in named {
        if wrong {
            env.invalid(low, format!("no more than {}", high.name));
        }
    }
    StreamLimits { initial, idle, lifetime }
}

fn control(
    env: &mut Environment<'_>,
    addr: &Setting<ControlAddr>,
    name: &Setting<DnsName>,
    limits: StreamLimits,
) -> Option<ControlClient> {
    let server = env.required(addr);
    let loopback = server.as_ref().is_some_and(ControlAddr::is_loopback);
    let expected = env.optional(name);
    if server.is_some() && !loopback && !env.is_set(name) {
        env.missing(name);
    }
    if loopback {
        return server.map(|addr| ControlClient { addr, name: None, limits: StreamLimits::default() });
    }
    Some(ControlClient { addr: server?, name: Some(expected?), limits })
}

fn destination(env: &mut Environment<'_>, limits: StreamLimits) -> Option<Destination> {
    let context = env.value(&LINKERD2_PROXY_DESTINATION_CONTEXT);
    let control =
        control(env, &LINKERD2_PROXY_DESTINATION_SVC_ADDR, &LINKERD2_PROXY_DESTINATION_SVC_NAME, limits);
    Some(Destination { control: control?, context })
}

fn policy(env: &mut Environment<'_>, limits: StreamLimits) -> Option<Policy> {
    let workload = env.required(&LINKERD2_PROXY_POLICY_WORKLOAD);
    let control = control(env, &LINKERD2_PROXY_POLICY_SVC_ADDR, &LINKERD2_PROXY_POLICY_SVC_NAME, limits);
    Some(Policy { control: control?, workload: workload? })
}

fn identity(env: &mut Environment<'_>) -> Option<Identity> {
    env.optional(&LINKERD2_PROXY_IDENTITY_DISABLED);
    let dir = env.required(&LINKERD2_PROXY_IDENTITY_DIR);
    let trust_anchors = env.required(&LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS);
    let token_file = env.required(&LINKERD2_PROXY_IDENTITY_TOKEN_FILE);
    let names = local_names(env);
    // Certify is one call, not a watch.
    let control = control(
        env,
        &LINKERD2_PROXY_IDENTITY_SVC_ADDR,
        &LINKERD2_PROXY_IDENTITY_SVC_NAME,
        StreamLimits::default(),
    );
    let min_refresh = env.value(&LINKERD2_PROXY_IDENTITY_MIN_REFRESH);
    let max_refresh = env.value(&LINKERD2_PROXY_IDENTITY_MAX_REFRESH);
    if min_refresh > max_refresh {
        let max = LINKERD2_PROXY_IDENTITY_MAX_REFRESH.name;
        env.invalid(&LINKERD2_PROXY_IDENTITY_MIN_REFRESH, format!("no more than {max}"));
    }
    let (id, server_name) = names?;
    Some(Identity {
        dir: dir?,
        trust_anchors: trust_anchors?,
        token_file: token_file?,
        id,
        server_name,
        control: control?,
        min_refresh,
        max_refresh,
    })
}

/// Without SPIRE, identity and server name are one and the same DNS name (contract 2.1).
fn local_names(env: &mut Environment<'_>) -> Option<(WorkloadId, DnsName)> {
    let (id_setting, id, server_name) = if env.is_set(&LINKERD2_PROXY_IDENTITY_LOCAL_NAME)
        || !env.is_set(&LINKERD2_PROXY_IDENTITY_SERVER_ID)
    {
        (&LINKERD2_PROXY_IDENTITY_LOCAL_NAME, env.required(&LINKERD2_PROXY_IDENTITY_LOCAL_NAME), None)
    } else {
        let id = env.required(&LINKERD2_PROXY_IDENTITY_SERVER_ID);
        let server_name = env.required(&LINKERD2_PROXY_IDENTITY_SERVER_NAME)?;
        (&LINKERD2_PROXY_IDENTITY_SERVER_ID, id, Some(server_name))
    };
    let id = id?;
    match (&id, server_name) {
        (WorkloadId::Dns(name), None) => Some((id.clone(), name.clone())),
        (WorkloadId::Dns(name), Some(server_name)) if *name == server_name => Some((id, server_name)),
        (WorkloadId::Dns(_), Some(_)) => {
            env.invalid(id_setting, format!("the same as {}", LINKERD2_PROXY_IDENTITY_SERVER_NAME.name));
            None
        }
        (WorkloadId::Uri(_), _) => {
            env.invalid(id_setting, "a DNS-like name: URIs need SPIRE, which is not supported");
            None
        }
    }
}

/// Wrong numbers of cores are ignored, not fatal (contract 1.1).
fn cores(env: &mut Environment<'_>) -> Cores {
    let fallback = env.lenient(&LINKERD2_PROXY_CORES);
    Cores {
        min: env.lenient(&LINKERD2_PROXY_CORES_MIN).or(fallback).unwrap_or(1),
        max: env.lenient(&LINKERD2_PROXY_CORES_MAX),
        max_ratio: env.lenient(&LINKERD2_PROXY_CORES_MAX_RATIO),
    }
}
