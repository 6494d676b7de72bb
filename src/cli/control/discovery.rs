//! Flags of the destination service that change its answers (controlplane 2.1), with the chart's defaults.

use std::time::Duration;

use clap::{ArgAction, ValueEnum};
use serde::Deserialize;

use crate::control::index::Transport;
use crate::model::endpoint::{FlowControl, Http2Params, KeepAlive};

#[derive(Clone, Debug, clap::Args)]
pub struct Discovery {
    /// How meshed endpoints are reached: at their proxy's own port always, or for opaque ports only.
    #[arg(long, value_name = "MODE", default_value = "transport-header")]
    pub outbound_transport_mode: TransportMode,
    /// Tell clients that meshed endpoints take HTTP/2.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    pub enable_h2_upgrade: bool,
    /// Use IPv6 addresses of pods, and prefer them [default: where the pod network is of that family].
    #[arg(long, value_name = "BOOL", action = ArgAction::Set)]
    pub enable_ipv6: Option<bool>,
    /// HTTP/2 settings of clients of meshed endpoints, as JSON [default: keep-alive after 10s, for 3s].
    #[arg(long, value_name = "JSON", value_parser = http2_params)]
    pub meshed_http2_client_params: Option<Http2Params>,
    /// Let endpoints of the client's zone weigh ten times as much.
    #[arg(long, value_name = "BOOL", default_value_t = false, action = ArgAction::Set)]
    pub ext_endpoint_zone_weights: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TransportMode {
    TransportHeader,
    Transparent,
}

impl Discovery {
    pub fn transport(&self) -> Transport {
        let defaults = Transport::default();
        Transport {
            header_always: self.outbound_transport_mode == TransportMode::TransportHeader,
            h2_upgrade: self.enable_h2_upgrade,
            ipv6: self.enable_ipv6,
            http2: self.meshed_http2_client_params.clone().unwrap_or(defaults.http2),
            zone_weights: self.ext_endpoint_zone_weights,
        }
    }
}

/// The message `Http2ClientParams` in the spelling of the chart. Numbers of 0 are not set.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Params {
    flow_control: Option<Flow>,
    keep_alive: Option<Keep>,
    internals: Internals,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Flow {
    initial_stream_window_size: u32,
    initial_connection_window_size: u32,
    adaptive_flow_control: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keep {
    interval: Period,
    timeout: Period,
    #[serde(default)]
    while_idle: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Period {
    #[serde(default)]
    seconds: u64,
    #[serde(default)]
    nanos: u32,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Internals {
    max_frame_size: u32,
    max_send_buf_size: u32,
    max_concurrent_reset_streams: u32,
}

fn http2_params(text: &str) -> Result<Http2Params, String> {
    let params: Params = serde_json::from_str(text).map_err(|error| {
        format!("{error}; expected such as {{\"keep_alive\":{{\"interval\":{{\"seconds\":10}},\"timeout\":{{\"seconds\":3}}}}}}")
    })?;
    let set = |number: u32| (number > 0).then_some(number);
    let flow_control = params.flow_control.and_then(|flow| match flow.adaptive_flow_control {
        true => Some(FlowControl::Adaptive),
        false => Some(FlowControl::Fixed {
            connection_window: set(flow.initial_connection_window_size)?,
            stream_window: set(flow.initial_stream_window_size)?,
        }),
    });
    let period = |period: Period| Duration::new(period.seconds, period.nanos.min(999_999_999));
    let keep_alive = params.keep_alive.map(|keep| KeepAlive {
        interval: period(keep.interval),
        timeout: period(keep.timeout),
        while_idle: keep.while_idle,
    });
    Ok(Http2Params {
        flow_control,
        keep_alive,
        max_frame_size: set(params.internals.max_frame_size),
        max_send_buf_size: set(params.internals.max_send_buf_size),
        max_concurrent_reset_streams: set(params.internals.max_concurrent_reset_streams),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_charts_http2_settings_are_the_default() {
        let chart = "{\"keep_alive\":{\"interval\":{\"seconds\":10},\"timeout\":{\"seconds\":3},\"while_idle\":true}}";
        assert_eq!(http2_params(chart), Ok(Transport::default().http2));
        let more =
            "{\"flow_control\":{\"adaptive_flow_control\":true},\"internals\":{\"max_frame_size\":32768}}";
        let read = http2_params(more).unwrap();
        assert_eq!((read.flow_control, read.max_frame_size), (Some(FlowControl::Adaptive), Some(32768)));
        for bad in ["", "{\"keepalive\":{}}", "{\"keep_alive\":{\"interval\":\"10s\"}}"] {
            assert!(http2_params(bad).unwrap_err().contains("expected such as"), "{bad}");
        }
    }
}
