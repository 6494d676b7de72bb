//! Clients of the control plane, and of the collector of spans.

use super::super::environment::{Environment, Setting};
use super::*;

pub(super) fn stream_limits(env: &mut Environment<'_>) -> StreamLimits {
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

/// The service and whom to expect there; on loopback nobody in particular, and no limits.
pub(super) fn client(
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

pub(super) fn destination(env: &mut Environment<'_>, limits: StreamLimits) -> Option<Destination> {
    let context = env.value(&LINKERD2_PROXY_DESTINATION_CONTEXT);
    let profile_timeout = env.value(&LINKERD2_PROXY_DESTINATION_PROFILE_INITIAL_TIMEOUT);
    let control =
        client(env, &LINKERD2_PROXY_DESTINATION_SVC_ADDR, &LINKERD2_PROXY_DESTINATION_SVC_NAME, limits);
    Some(Destination { control: control?, context, profile_timeout })
}

pub(super) fn policy(env: &mut Environment<'_>, limits: StreamLimits) -> Option<Policy> {
    let workload = env.required(&LINKERD2_PROXY_POLICY_WORKLOAD);
    let control = client(env, &LINKERD2_PROXY_POLICY_SVC_ADDR, &LINKERD2_PROXY_POLICY_SVC_NAME, limits);
    Some(Policy { control: control?, workload: workload? })
}

/// No spans are sent yet: what is set is looked at, and said to have no effect.
pub(super) fn tracing(env: &mut Environment<'_>) -> Option<Tracing> {
    let (addr, name) = (&LINKERD2_PROXY_TRACE_COLLECTOR_SVC_ADDR, &LINKERD2_PROXY_TRACE_COLLECTOR_SVC_NAME);
    if !env.is_set(addr) && !env.is_set(name) {
        return None;
    }
    let collector = client(env, addr, name, StreamLimits::default());
    env.not_carried(addr, "no spans are sent");
    Some(Tracing {
        collector: collector?,
        service_name: env.optional(&LINKERD2_PROXY_TRACE_SERVICE_NAME),
        attributes_path: env.optional(&LINKERD2_PROXY_TRACE_ATTRIBUTES_PATH),
        extra_attributes: env.optional(&LINKERD2_PROXY_TRACE_EXTRA_ATTRIBUTES),
        otel_attributes: env.optional(&OTEL_RESOURCE_ATTRIBUTES),
        hostname: env.optional(&HOSTNAME),
    })
}
