//! From variables to sections. A section that cannot be made is `None`, and the mistakes that made it
//! so are already noted in the [`Environment`]; the other sections are read all the same.

mod connect;
mod control;
mod identity;

use super::environment::{Environment, Setting};
use super::variables::*;
use super::*;

pub(super) fn config(source: &dyn Fn(&str) -> Option<String>) -> Result<Config, ConfigErrors> {
    let mut env = Environment::new(source);
    let mark = env.optional(&CAUSEWAY_MARK);
    let server_first: Duration = env.value(&CAUSEWAY_SERVER_FIRST_AFTER);
    let (outbound, inbound, admin) = data_plane(&mut env, mark);
    let limits = control::stream_limits(&mut env);
    let identity = identity::identity(&mut env);
    let destination = control::destination(&mut env, limits);
    let policy = control::policy(&mut env, limits);
    let dns = dns(&mut env);
    let tap = tap(&mut env);
    let tracing = control::tracing(&mut env);
    let runtime = cores(&mut env);
    let log = log(&mut env);
    let shutdown = shutdown(&mut env);
    let metrics = metrics(&mut env);
    env.finish(|ignored| {
        Some(Config {
            outbound: outbound?,
            inbound: inbound?,
            admin: admin?,
            identity: identity?,
            destination: destination?,
            policy: policy?,
            dns,
            tap,
            tracing,
            runtime,
            log,
            shutdown,
            metrics,
            mark,
            server_first: Some(server_first).filter(|after| !after.is_zero()),
            ignored,
        })
    })
}

fn data_plane(
    env: &mut Environment<'_>,
    mark: Option<u32>,
) -> (Option<Outbound>, Option<Inbound>, Option<Admin>) {
    let windows = [
        env.value(&LINKERD2_PROXY_HTTP2_INITIAL_STREAM_WINDOW_SIZE),
        env.value(&LINKERD2_PROXY_HTTP2_INITIAL_CONNECTION_WINDOW_SIZE),
    ];
    let admin = env.or_default(&LINKERD2_PROXY_ADMIN_LISTEN_ADDR).map(|listen| Admin { listen });
    let sides = [&connect::OUTBOUND, &connect::INBOUND];
    let backoffs = sides.map(|side| (side, side.backoff(env)));
    let [to_endpoints, to_apps] = backoffs.map(|(side, backoff)| side.connect(env, backoff, mark, windows));
    let outbound = outbound(env, to_endpoints);
    let inbound = inbound(env, to_apps, admin.as_ref());
    (outbound, inbound, admin)
}

fn outbound(env: &mut Environment<'_>, connect: Connect) -> Option<Outbound> {
    let single = env.or_default(&LINKERD2_PROXY_OUTBOUND_LISTEN_ADDR);
    let listen = env.optional(&LINKERD2_PROXY_OUTBOUND_LISTEN_ADDRS);
    let accept = Accept {
        socket: Socket {
            keepalive: env.optional(&LINKERD2_PROXY_OUTBOUND_ACCEPT_KEEPALIVE),
            user_timeout: env.optional(&LINKERD2_PROXY_OUTBOUND_ACCEPT_USER_TIMEOUT),
            mark: None,
        },
        backlog: env.optional(&LINKERD2_PROXY_OUTBOUND_TCP_LISTEN_BACKLOG),
    };
    let ingress_mode = env.value(&LINKERD2_PROXY_INGRESS_MODE);
    let quiet = env.optional(&LINKERD2_PROXY_OUTBOUND_DISABLE_INFORMATIONAL_HEADERS);
    Some(Outbound {
        accept,
        connect,
        ping: ping(env),
        server_http2: http2::server(env, &http2::OUTBOUND),
        detect_timeout: env.value(&LINKERD2_PROXY_OUTBOUND_DETECT_TIMEOUT),
        discovery_idle_timeout: env.value(&LINKERD2_PROXY_OUTBOUND_DISCOVERY_IDLE_TIMEOUT),
        http_queue: Queue {
            capacity: env.value(&LINKERD2_PROXY_OUTBOUND_HTTP_QUEUE_CAPACITY),
            failfast: env.value(&LINKERD2_PROXY_OUTBOUND_HTTP_FAILFAST_TIMEOUT),
        },
        tcp_queue: Queue {
            capacity: env.value(&LINKERD2_PROXY_OUTBOUND_TCP_QUEUE_CAPACITY),
            failfast: env.value(&LINKERD2_PROXY_OUTBOUND_TCP_FAILFAST_TIMEOUT),
        },
        local_first: [
            env.optional(&CAUSEWAY_LOCAL_FIRST_REQUESTS),
            env.optional(&CAUSEWAY_LOCAL_FIRST_CONNECTIONS),
        ],
        max_in_flight: env.value(&LINKERD2_PROXY_OUTBOUND_MAX_IN_FLIGHT),
        ingress_mode,
        informational_headers: !quiet.unwrap_or(ingress_mode),
        profile_suffixes: env.value(&LINKERD2_PROXY_DESTINATION_PROFILE_SUFFIXES),
        profile_networks: env.value(&LINKERD2_PROXY_DESTINATION_PROFILE_NETWORKS),
        listen: listen.or_else(|| single.map(|addr| vec![addr]))?,
    })
}

fn ping(env: &mut Environment<'_>) -> Option<Ping> {
    let after = env.value(&CAUSEWAY_OUTBOUND_PING_AFTER);
    let timeout = env.value(&CAUSEWAY_OUTBOUND_PING_TIMEOUT);
    if timeout.is_zero() {
        env.invalid(&CAUSEWAY_OUTBOUND_PING_TIMEOUT, "more than 0".to_owned());
    }
    (!after.is_zero()).then_some(Ping { after, timeout })
}

fn inbound(env: &mut Environment<'_>, connect: Connect, admin: Option<&Admin>) -> Option<Inbound> {
    let accept = Accept {
        socket: Socket {
            keepalive: env.optional(&LINKERD2_PROXY_INBOUND_ACCEPT_KEEPALIVE),
            user_timeout: env.optional(&LINKERD2_PROXY_INBOUND_ACCEPT_USER_TIMEOUT),
            mark: None,
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
        http_queue: Queue {
            capacity: env.value(&LINKERD2_PROXY_INBOUND_HTTP_QUEUE_CAPACITY),
            failfast: env.value(&LINKERD2_PROXY_INBOUND_HTTP_FAILFAST_TIMEOUT),
        },
        max_in_flight: env.value(&LINKERD2_PROXY_INBOUND_MAX_IN_FLIGHT),
        ips: env.value(&LINKERD2_PROXY_INBOUND_IPS),
        ports,
        opaque_ports: env.value(&LINKERD2_PROXY_INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION),
        gateway_suffixes: env.value(&LINKERD2_PROXY_INBOUND_GATEWAY_SUFFIXES),
        default_policy,
        cluster_networks,
        listen: listen?,
    })
}

/// The shortest and the longest delay are set together or not at all: one alone could exceed the
/// other's default. The jitter is set with them; it is not needed, and none then.
fn backoff(
    env: &mut Environment<'_>,
    min: &Setting<Duration>,
    max: &Setting<Duration>,
    jitter: &Setting<f64>,
) -> Backoff {
    let any_set = env.is_set(min) || env.is_set(max) || env.is_set(jitter);
    for bound in [min, max] {
        if any_set && !env.is_set(bound) {
            env.missing(bound);
        }
    }
    let unset = if any_set { 0.0 } else { jitter.preset() };
    let (shortest, longest) = (env.value(min), env.value(max));
    let part = env.optional(jitter).unwrap_or(unset);
    Backoff::new(shortest, longest, part).unwrap_or_else(|error| {
        env.invalid(max, error.to_string());
        Backoff::default()
    })
}

fn dns(env: &mut Environment<'_>) -> Dns {
    Dns {
        min_ttl: env.optional(&LINKERD2_PROXY_DNS_MIN_TTL),
        max_ttl: env.optional(&LINKERD2_PROXY_DNS_MAX_TTL),
    }
}

/// Nobody can tap yet: what is set is looked at, and said to have no effect.
fn tap(env: &mut Environment<'_>) -> Option<Tap> {
    let listen = env.or_default(&LINKERD2_PROXY_CONTROL_LISTEN_ADDR);
    let client = env.optional(&LINKERD2_PROXY_TAP_SVC_NAME)?;
    env.not_carried(&LINKERD2_PROXY_TAP_SVC_NAME, "tap is not served");
    Some(Tap { listen: listen?, client })
}

/// What is wrong with these is worth a warning only: a proxy that says too little still carries traffic.
fn log(env: &mut Environment<'_>) -> Log {
    let access = env.lenient(&LINKERD2_PROXY_ACCESS_LOG);
    if access.is_some() {
        env.not_carried(&LINKERD2_PROXY_ACCESS_LOG, "no access log is written");
    }
    Log {
        filter: env.value(&LINKERD2_PROXY_LOG),
        format: env.lenient(&LINKERD2_PROXY_LOG_FORMAT).unwrap_or_default(),
        access,
    }
}

fn shutdown(env: &mut Environment<'_>) -> Shutdown {
    Shutdown {
        grace_period: env.value(&LINKERD2_PROXY_SHUTDOWN_GRACE_PERIOD),
        endpoint_enabled: env.value(&LINKERD2_PROXY_SHUTDOWN_ENDPOINT_ENABLED),
    }
}

fn metrics(env: &mut Environment<'_>) -> Metrics {
    let metrics = Metrics {
        retain_idle: env.value(&LINKERD2_PROXY_METRICS_RETAIN_IDLE),
        hostname_labels: env.value(&LINKERD2_PROXY_OUTBOUND_METRICS_HOSTNAME_LABELS),
        authority_labels: env.value(&LINKERD2_PROXY_INBOUND_METRICS_AUTHORITY_LABELS),
    };
    if metrics.authority_labels {
        env.not_carried(&LINKERD2_PROXY_INBOUND_METRICS_AUTHORITY_LABELS, "there is no such label");
    }
    metrics
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
