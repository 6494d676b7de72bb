//! Clients of the three control-plane services (contract 1.4).

use std::sync::Arc;
use std::time::Duration;

use crate::backoff::Backoff;
use crate::config::{Config, Connect, ControlClient};
use crate::controller::resolve::Dns;
use crate::controller::{Controller, ControllerConfig, MissingIdentity};
use crate::discover::{Limits, Patience};
use crate::telemetry::Metrics;
use crate::telemetry::controllers::Service;
use crate::tls::CredentialStore;

pub(super) struct Controllers {
    pub(super) policy: Controller,
    pub(super) destination: Controller,
    /// `None` where another certifies.
    pub(super) identity: Option<Controller>,
}

impl Controllers {
    pub(super) fn new(
        config: &Config,
        store: &Arc<CredentialStore>,
        metrics: &Metrics,
    ) -> Result<Self, MissingIdentity> {
        let dns = Dns::system(config.dns, config.mark);
        let client = |service, control: &ControlClient| {
            let config = controller_config(config, control);
            let controller = Controller::new(config, dns.clone(), store.clone())?;
            metrics.controllers.show(service, controller.counts().clone());
            Ok(controller)
        };
        Ok(Self {
            policy: client(Service::Policy, &config.policy.control)?,
            destination: client(Service::Destination, &config.destination.control)?,
            identity: config
                .identity
                .certify()
                .map(|certify| client(Service::Identity, &certify.control))
                .transpose()?,
        })
    }
}

fn controller_config(config: &Config, control: &ControlClient) -> ControllerConfig {
    let connect = connect_of(config, control);
    ControllerConfig {
        host: control.addr.host.clone(),
        port: control.addr.port,
        name: control.name.clone(),
        connect_timeout: connect.timeout,
        backoff: soon(connect.backoff),
        socket: connect.socket,
        stream_window: connect.h2_stream_window,
        connection_window: connect.h2_connection_window,
    }
}

/// How watches of a service reconnect. A controller on loopback has no limits (contract 1.4).
pub(super) fn patience(config: &Config, control: &ControlClient) -> Patience {
    let limits = if control.addr.is_loopback() {
        Limits::default()
    } else {
        let limits = control.limits;
        Limits { initial: limits.initial, idle: limits.idle, lifetime: limits.lifetime }
    };
    Patience { limits, backoff: soon(connect_of(config, control).backoff) }
}

/// The longest pause between two attempts to reach the control plane. The contract's, up to a minute, is
/// for endpoints: after an outage of half a minute a proxy would follow nothing for another half.
const LONGEST: Duration = Duration::from_secs(1);

/// So that the proxies of a cluster do not return in step.
const JITTER: f64 = 0.5;

fn soon(backoff: Backoff) -> Backoff {
    let longest = backoff.max().min(LONGEST);
    Backoff::new(backoff.min().min(longest), longest, JITTER).unwrap_or_default()
}

fn connect_of<'a>(config: &'a Config, control: &ControlClient) -> &'a Connect {
    if control.addr.is_loopback() { &config.inbound.connect } else { &config.outbound.connect }
}
