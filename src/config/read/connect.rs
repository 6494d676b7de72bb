//! Connections that the proxy opens: the same eight variables for each side.

use super::super::environment::{Environment, Setting};
use super::*;

/// The variables of one side.
pub(super) struct Settings {
    timeout: Setting<Duration>,
    backoff: [Setting<Duration>; 2],
    jitter: Setting<f64>,
    keepalive: Setting<Duration>,
    user_timeout: Setting<Duration>,
    h1_idle_timeout: Setting<Duration>,
    h1_max_idle: Setting<usize>,
}

pub(super) const OUTBOUND: Settings = Settings {
    timeout: LINKERD2_PROXY_OUTBOUND_CONNECT_TIMEOUT,
    backoff: [
        LINKERD2_PROXY_OUTBOUND_CONNECT_EXP_BACKOFF_MIN,
        LINKERD2_PROXY_OUTBOUND_CONNECT_EXP_BACKOFF_MAX,
    ],
    jitter: LINKERD2_PROXY_OUTBOUND_CONNECT_EXP_BACKOFF_JITTER,
    keepalive: LINKERD2_PROXY_OUTBOUND_CONNECT_KEEPALIVE,
    user_timeout: LINKERD2_PROXY_OUTBOUND_CONNECT_USER_TIMEOUT,
    h1_idle_timeout: LINKERD2_PROXY_OUTBOUND_HTTP1_CONNECTION_POOL_IDLE_TIMEOUT,
    h1_max_idle: LINKERD2_PROXY_OUTBOUND_MAX_IDLE_CONNS_PER_ENDPOINT,
};

pub(super) const INBOUND: Settings = Settings {
    timeout: LINKERD2_PROXY_INBOUND_CONNECT_TIMEOUT,
    backoff: [LINKERD2_PROXY_INBOUND_CONNECT_EXP_BACKOFF_MIN, LINKERD2_PROXY_INBOUND_CONNECT_EXP_BACKOFF_MAX],
    jitter: LINKERD2_PROXY_INBOUND_CONNECT_EXP_BACKOFF_JITTER,
    keepalive: LINKERD2_PROXY_INBOUND_CONNECT_KEEPALIVE,
    user_timeout: LINKERD2_PROXY_INBOUND_CONNECT_USER_TIMEOUT,
    h1_idle_timeout: LINKERD2_PROXY_INBOUND_HTTP1_CONNECTION_POOL_IDLE_TIMEOUT,
    h1_max_idle: LINKERD2_PROXY_MAX_IDLE_CONNS_PER_ENDPOINT,
};

impl Settings {
    pub(super) fn backoff(&self, env: &mut Environment<'_>) -> Backoff {
        let [min, max] = &self.backoff;
        backoff(env, min, max, &self.jitter)
    }

    /// With this backoff, mark, and HTTP/2's windows of a stream and of a connection.
    pub(super) fn connect(
        &self,
        env: &mut Environment<'_>,
        backoff: Backoff,
        mark: Option<u32>,
        [h2_stream_window, h2_connection_window]: [u32; 2],
    ) -> Connect {
        Connect {
            timeout: env.value(&self.timeout),
            backoff,
            socket: Socket {
                keepalive: env.optional(&self.keepalive),
                user_timeout: env.optional(&self.user_timeout),
                mark,
            },
            h1_idle_timeout: env.value(&self.h1_idle_timeout),
            h1_max_idle: env.value(&self.h1_max_idle),
            h2_stream_window,
            h2_connection_window,
        }
    }
}
