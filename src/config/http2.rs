//! HTTP/2 towards clients: the same ten variables for each side.

use std::time::Duration;

use super::ServerHttp2;
use super::environment::{Environment, Setting};
use super::variables::*;
use crate::model::endpoint::{FlowControl, KeepAlive};

/// The variables of one side.
pub(super) struct Settings {
    windows: [Setting<u32>; 2],
    adaptive: Setting<bool>,
    keep_alive: [Setting<Duration>; 2],
    max_concurrent_streams: Setting<u32>,
    max_frame_size: Setting<u32>,
    max_header_list_size: Setting<u32>,
    max_pending_accept_reset_streams: Setting<usize>,
    max_send_buf_size: Setting<u32>,
}

pub(super) const OUTBOUND: Settings = Settings {
    windows: [
        LINKERD2_PROXY_OUTBOUND_SERVER_HTTP2_INITIAL_STREAM_WINDOW_SIZE,
        LINKERD2_PROXY_OUTBOUND_SERVER_HTTP2_INITIAL_CONNECTION_WINDOW_SIZE,
    ],
    adaptive: LINKERD2_PROXY_OUTBOUND_SERVER_HTTP2_ADAPTIVE_FLOW_CONTROL,
    keep_alive: [
        LINKERD2_PROXY_OUTBOUND_SERVER_HTTP2_KEEP_ALIVE_INTERVAL,
        LINKERD2_PROXY_OUTBOUND_SERVER_HTTP2_KEEP_ALIVE_TIMEOUT,
    ],
    max_concurrent_streams: LINKERD2_PROXY_OUTBOUND_SERVER_HTTP2_MAX_CONCURRENT_STREAMS,
    max_frame_size: LINKERD2_PROXY_OUTBOUND_SERVER_HTTP2_MAX_FRAME_SIZE,
    max_header_list_size: LINKERD2_PROXY_OUTBOUND_SERVER_HTTP2_MAX_HEADER_LIST_SIZE,
    max_pending_accept_reset_streams: LINKERD2_PROXY_OUTBOUND_SERVER_HTTP2_MAX_PENDING_ACCEPT_RESET_STREAMS,
    max_send_buf_size: LINKERD2_PROXY_OUTBOUND_SERVER_HTTP2_MAX_SEND_BUF_SIZE,
};

pub(super) const INBOUND: Settings = Settings {
    windows: [
        LINKERD2_PROXY_INBOUND_SERVER_HTTP2_INITIAL_STREAM_WINDOW_SIZE,
        LINKERD2_PROXY_INBOUND_SERVER_HTTP2_INITIAL_CONNECTION_WINDOW_SIZE,
    ],
    adaptive: LINKERD2_PROXY_INBOUND_SERVER_HTTP2_ADAPTIVE_FLOW_CONTROL,
    keep_alive: [
        LINKERD2_PROXY_INBOUND_SERVER_HTTP2_KEEP_ALIVE_INTERVAL,
        LINKERD2_PROXY_INBOUND_SERVER_HTTP2_KEEP_ALIVE_TIMEOUT,
    ],
    max_concurrent_streams: LINKERD2_PROXY_INBOUND_SERVER_HTTP2_MAX_CONCURRENT_STREAMS,
    max_frame_size: LINKERD2_PROXY_INBOUND_SERVER_HTTP2_MAX_FRAME_SIZE,
    max_header_list_size: LINKERD2_PROXY_INBOUND_SERVER_HTTP2_MAX_HEADER_LIST_SIZE,
    max_pending_accept_reset_streams: LINKERD2_PROXY_INBOUND_SERVER_HTTP2_MAX_PENDING_ACCEPT_RESET_STREAMS,
    max_send_buf_size: LINKERD2_PROXY_INBOUND_SERVER_HTTP2_MAX_SEND_BUF_SIZE,
};

pub(super) fn server(env: &mut Environment<'_>, of: &Settings) -> ServerHttp2 {
    // One window or one keep-alive value alone is passed over, as Linkerd's proxy does.
    let flow_control = if env.value(&of.adaptive) {
        // Windows are not used then, and so not fatal.
        for window in &of.windows {
            env.lenient(window);
        }
        FlowControl::Adaptive
    } else {
        let windows = env.both(&of.windows).unwrap_or_else(|| of.windows.map(|window| window.preset()));
        FlowControl::Fixed { stream_window: windows[0], connection_window: windows[1] }
    };
    let keep_alive = env.both(&of.keep_alive);
    ServerHttp2 {
        flow_control,
        keep_alive: keep_alive.map(|[interval, timeout]| KeepAlive { interval, timeout, while_idle: false }),
        max_concurrent_streams: env.optional(&of.max_concurrent_streams),
        max_frame_size: env.optional(&of.max_frame_size),
        max_header_list_size: env.optional(&of.max_header_list_size),
        max_pending_accept_reset_streams: env.optional(&of.max_pending_accept_reset_streams),
        max_send_buf_size: env.optional(&of.max_send_buf_size),
    }
}
