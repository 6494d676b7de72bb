//! The two sides and the identity, each made from its section of the configuration.

use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::admin::Admin;
use crate::config::{self, Config, Connect, Issuer, Ping, TrustSource};
use crate::connect::client::HttpSettings;
use crate::connect::{Connector, LoopGuard, h1, h2};
use crate::discover::ports::{Ports, PortsConfig};
use crate::discover::{Backends, Discover, Lookups, Profiles, ProfilesConfig};
use crate::drain::Drain;
use crate::identity::key::Documents;
use crate::identity::spire::Spire;
use crate::identity::trust::{self, Trust};
use crate::identity::{Identity, IdentityConfig, IdentityState};
use crate::inbound::apps::Apps;
use crate::inbound::gateway::Gateway;
use crate::inbound::{Inbound, Waiting};
use crate::message::Allowance;
use crate::message::server::HttpServer;
use crate::message::unread::Unread;
use crate::outbound::Outbound;
use crate::outbound::early::Silence;
use crate::telemetry::Metrics;
use crate::telemetry::log::LogHandle;
use crate::telemetry::process::{CertificateTimes, TrustCounts};
use crate::tls::CredentialStore;
use crate::tls::turns::Turns;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::controllers::{Controllers, patience};
use super::{StartError, Surroundings};

pub(super) fn credential_store(config: &Config) -> Result<Arc<CredentialStore>, StartError> {
    let source = &config.identity.trust_anchors;
    let variable = match source {
        TrustSource::Text(_) => "LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS",
        TrustSource::File(_) => "CAUSEWAY_TRUST_ANCHORS_FILE",
    };
    let anchors =
        trust::first(source).map_err(|error| StartError::Identity(format!("{variable}: {error}")))?;
    Ok(CredentialStore::new(config.identity.id.clone(), anchors))
}

/// What follows the trust anchors and ends the connections of peers, shown in the metrics.
pub(super) fn trust(config: &Config, store: &Arc<CredentialStore>, metrics: &Metrics) -> Trust {
    let config::Identity { trust_anchors, expired_peers, .. } = &config.identity;
    let trust = Trust::new(trust_anchors, *expired_peers, store.clone());
    let (state, store) = (trust.state(), store.clone());
    metrics.watch_trust(move || TrustCounts {
        anchors: state.anchors.load(Relaxed),
        stale: state.stale.load(Relaxed),
        reloads_ok: state.reloads_ok.load(Relaxed),
        reloads_err: state.reloads_err.load(Relaxed),
        peers_untrusted: store.peers().untrusted.load(Relaxed),
        peers_expired: store.peers().expired.load(Relaxed),
    });
    trust
}

/// What keeps our certificate fresh.
pub(super) enum Renewal {
    Certify(Box<Identity>),
    Spire(Spire),
}

impl Renewal {
    pub(super) async fn run(self) {
        match self {
            Self::Certify(identity) => identity.run().await,
            Self::Spire(spire) => spire.run().await,
        }
    }
}

/// The renewal of our certificate, its times shown in the metrics.
pub(super) fn identity(
    config: &Config,
    store: &Arc<CredentialStore>,
    controllers: &Controllers,
    metrics: &Metrics,
) -> Result<Renewal, StartError> {
    metrics.describe_tls(crate::tls::crypto::provider());
    let (renewal, state) = match (&config.identity.issuer, &controllers.identity) {
        (Issuer::Linkerd(certify), Some(controller)) => {
            let documents = Documents::load_or_make(&certify.dir, &config.identity.server_name)?;
            let settings = IdentityConfig {
                token_file: certify.token_file.clone(),
                min_refresh: certify.min_refresh,
                max_refresh: certify.max_refresh,
            };
            let identity = Identity::new(settings, documents, controller.clone(), store.clone());
            let state = identity.state();
            (Renewal::Certify(Box::new(identity)), state)
        }
        (Issuer::Linkerd(_), None) => return Err(StartError::Identity("no identity controller".into())),
        (Issuer::Spire(spire), _) => {
            let spire = Spire::new(spire.socket.clone(), spire.backoff, store.clone());
            let state = spire.state();
            (Renewal::Spire(spire), state)
        }
    };
    metrics.watch_certificate(move || times(&state));
    Ok(renewal)
}

pub(super) fn admin(
    config: &Config,
    log: LogHandle,
    store: &CredentialStore,
    inbound: &Arc<Inbound>,
    shutdown: &CancellationToken,
) -> Admin {
    let (ports, runtime) = (inbound.ports.clone(), Handle::current());
    let policies = move |port: u16| {
        // A port that nobody has called yet is watched from here, not from the admin pages' own runtime.
        let _here = runtime.enter();
        let port = ports.get(port);
        (port.policy(), port.is_answered())
    };
    let readable = |text: OsString| text.to_string_lossy().into_owned();
    Admin {
        certificates: store.subscribe(),
        metrics: inbound.metrics.clone(),
        shutdown: shutdown.clone(),
        policies: Box::new(policies),
        shutdown_enabled: config.shutdown.endpoint_enabled,
        log,
        env: std::env::vars_os().map(|(name, value)| (readable(name), readable(value))).collect(),
    }
}

/// What both sides have in common.
pub(super) struct Shared {
    pub(super) store: Arc<CredentialStore>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) drain: Drain,
    pub(super) unread: Arc<Unread>,
}

pub(super) fn outbound(
    config: &Config,
    around: &Surroundings,
    controllers: &Controllers,
    shared: &Shared,
) -> Arc<Outbound> {
    let Shared { store, metrics, drain, unread } = shared;
    let given_up = metrics.clone();
    let connect = &config.outbound.connect;
    let connector = Connector {
        store: store.clone(),
        options: connect.socket,
        timeout: connect.timeout,
        guard: if around.allow_loopback { LoopGuard::Off } else { LoopGuard::Loopback },
        local: config.inbound.ips.iter().copied().collect(),
        opaque: Default::default(),
        dial_from: around.dial_from,
    };
    let destination = patience(config, &config.destination.control);
    let [requests_first, connections_first] = config.outbound.local_first;
    let backends = Backends {
        destinations: controllers.destination.clone(),
        context: config.destination.context.clone(),
        patience: destination,
        connector: Arc::new(connector),
        settings: http_settings(connect, true, config.outbound.ping),
        backoff: connect.backoff,
        queues: [config.outbound.http_queue, config.outbound.tcp_queue, config.outbound.tcp_queue],
        local_first: [requests_first, connections_first, connections_first],
        metrics: metrics.clone(),
        clients: Default::default(),
    };
    let lookups = Lookups {
        policies: controllers.policy.clone(),
        profiles: controllers.destination.clone(),
        workload: config.policy.workload.clone(),
        context: config.destination.context.clone(),
        profile_networks: config.outbound.profile_networks.clone(),
        profile_suffixes: config.outbound.profile_suffixes.clone(),
        ingress: config.outbound.ingress_mode,
        patience: patience(config, &config.policy.control),
        backends: Arc::new(backends),
    };
    Arc::new(Outbound {
        discover: Arc::new(Discover::new(lookups, config.outbound.discovery_idle_timeout)),
        detect_timeout: config.outbound.detect_timeout,
        ingress: config.outbound.ingress_mode,
        silence: Silence::new(config.server_first),
        http: HttpServer::new(&config.outbound.server_http2, unread.clone(), move || {
            given_up.errors.outbound_unread()
        }),
        informational_headers: config.outbound.informational_headers,
        hostname_labels: config.metrics.hostname_labels,
        in_flight: places(config.outbound.max_in_flight),
        replays: Allowance::new(REPLAYS),
        metrics: metrics.clone(),
        drain: drain.clone(),
    })
}

/// Bytes of requests that are kept for retries: of 512 with the 64 KiB that policy allows each.
const REPLAYS: usize = 32 << 20;

/// Ports that the inbound side must know: its own, and the admin listener's.
#[derive(Clone, Copy)]
pub(super) struct Bound {
    pub(super) inbound: u16,
    pub(super) admin: u16,
}

pub(super) fn inbound(
    config: &Arc<Config>,
    around: &Surroundings,
    bound: Bound,
    controllers: &Controllers,
    shared: &Shared,
    outbound: &Arc<Outbound>,
) -> Arc<Inbound> {
    let Shared { store, metrics, drain, unread } = shared;
    let given_up = metrics.clone();
    let connect = &config.inbound.connect;
    let connector = Connector {
        store: store.clone(),
        options: connect.socket,
        timeout: connect.timeout,
        guard: LoopGuard::Port(bound.inbound),
        local: Vec::new(),
        opaque: Default::default(),
        dial_from: around.dial_from,
    };
    let defaults = config.clone();
    // A gateway's own policy is that of its own port.
    let suffixes = &config.inbound.gateway_suffixes;
    let gateway = (!suffixes.is_empty()).then(|| Gateway {
        suffixes: suffixes.clone(),
        id: config.identity.id.clone(),
        outbound: outbound.clone(),
    });
    let own = gateway.as_ref().map(|_| bound.inbound);
    let ports = PortsConfig {
        workload: config.policy.workload.clone(),
        default: Box::new(move |port| defaults.inbound.default_server(port)),
        pinned: config.inbound.ports.iter().copied().chain([bound.admin]).chain(own).collect(),
        idle: config.inbound.discovery_idle_timeout,
        patience: patience(config, &config.policy.control),
    };
    let profiles = ProfilesConfig {
        context: config.destination.context.clone(),
        suffixes: config.outbound.profile_suffixes.clone(),
        wait: config.destination.profile_timeout,
        idle: config.inbound.discovery_idle_timeout,
        patience: patience(config, &config.destination.control),
    };
    Arc::new(Inbound {
        profiles: Arc::new(Profiles::new(profiles, controllers.destination.clone(), metrics.clone())),
        ports: Arc::new(Ports::new(ports, controllers.policy.clone())),
        store: store.clone(),
        server_name: config.identity.server_name.clone(),
        ips: config.inbound.ips.iter().copied().collect(),
        own_port: bound.inbound,
        detect_timeout: config.inbound.detect_timeout,
        silence: Silence::new(config.server_first),
        turns: Turns::new(Handle::current().metrics().num_workers()),
        waiting: Arc::new(Waiting::new(config.inbound.http_queue)),
        in_flight: places(config.inbound.max_in_flight),
        http: HttpServer::new(&config.inbound.server_http2, unread.clone(), move || {
            given_up.errors.inbound_unread()
        }),
        apps: Apps::new(Arc::new(connector), http_settings(connect, false, None), metrics.clone()),
        gateway,
        metrics: metrics.clone(),
        drain: drain.clone(),
    })
}

fn places(limit: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS)))
}

fn http_settings(connect: &Connect, resends: bool, ping: Option<Ping>) -> HttpSettings {
    HttpSettings {
        h1: h1::PoolSettings {
            max_idle: connect.h1_max_idle,
            idle_timeout: connect.h1_idle_timeout,
            resends,
        },
        h2: h2::Settings {
            stream_window: connect.h2_stream_window,
            connection_window: connect.h2_connection_window,
            keep_alive: None,
            ping,
        },
    }
}

fn times(state: &IdentityState) -> CertificateTimes {
    CertificateTimes {
        expiry: state.expiry.load(Relaxed),
        last_refresh: state.last_refresh.load(Relaxed),
        refreshes_ok: state.refreshes_ok.load(Relaxed),
        refreshes_err: state.refreshes_err.load(Relaxed),
    }
}
