//! `causeway control`: one cluster's control plane, from a folder of manifests.

use std::collections::BTreeSet;
use std::future::Future;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::cli::mirror::Mirroring;
use crate::control::Settings;
use crate::control::ca::issuing::Place;
use crate::control::ca::{Certifier, Issuing, folder};
use crate::control::files::{Folder, Lock, News, Report, Unusable};
use crate::control::gateways;
use crate::control::index::{DefaultPolicy, PortSet};
use crate::control::serve::{self, Listen, dns, metrics, pods};
use crate::drain::Drain;
use crate::telemetry::log;

/// How long open streams may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);

/// Bad flags or a bad folder, as for the proxy (contract 1.1).
const BAD_CONFIGURATION: u8 = 64;

mod discovery;
mod flags;
mod sockets;

pub use discovery::Discovery;
use sockets::Sockets;

#[derive(Clone, Debug, clap::Args)]
pub struct ControlArgs {
    /// Folder of the cluster's manifests, followed while running.
    pub dir: PathBuf,
    /// Folder that `causeway certs create` wrote.
    #[arg(long, value_name = "DIR")]
    pub certs: PathBuf,
    /// Which cluster of that folder this is.
    #[arg(long, value_name = "NAME")]
    pub cluster_name: String,
    /// How long workloads' certificates live, such as 24h.
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = humantime::parse_duration)]
    pub issuance_lifetime: Duration,

    /// Address to serve gRPC on; on loopback, plaintext is accepted beside mesh TLS.
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub listen: IpAddr,
    #[arg(long, value_name = "PORT", default_value_t = 8086)]
    pub destination_port: u16,
    #[arg(long, value_name = "PORT", default_value_t = 8090)]
    pub policy_port: u16,
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    pub identity_port: u16,
    /// Serve DNS for the cluster's names here [default: off].
    #[arg(long, value_name = "IP:PORT")]
    pub dns: Option<SocketAddr>,
    /// Serve pods, Services and problems as JSON here; plain HTTP.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8085")]
    pub api: SocketAddr,
    /// Serve metrics here, where Linkerd's service mirror does: /metrics; plain HTTP.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:9999")]
    pub admin: SocketAddr,
    /// What the control plane's own names resolve to [default: the address of --listen].
    #[arg(long, value_name = "IP")]
    pub control_addr: Option<IpAddr>,

    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    pub cluster_domain: String,
    /// Last part of every identity [default: the cluster domain].
    #[arg(long, value_name = "DOMAIN")]
    pub trust_domain: Option<String>,
    /// Where derived pods get their addresses.
    #[arg(long, value_name = "NETWORK", default_value = "10.42.0.0/16")]
    pub pod_network: IpNet,
    /// Where Services get their cluster IPs.
    #[arg(long, value_name = "NETWORK", default_value = "10.43.0.0/16")]
    pub service_network: IpNet,
    /// Networks of the mesh [default: the private ones].
    #[arg(long, value_name = "NETWORK,...", value_delimiter = ',')]
    pub cluster_networks: Option<Vec<IpNet>>,
    /// What a port without a Server allows.
    #[arg(long, value_name = "POLICY", default_value = "all-unauthenticated", value_parser = default_policy)]
    pub default_policy: DefaultPolicy,
    /// Ports without protocol detection, such as 25,3306,8000-8100 [default: as in Linkerd].
    #[arg(long, value_name = "PORTS", value_parser = port_set)]
    pub default_opaque_ports: Option<PortSet>,
    /// EgressNetworks of this namespace are for clients of every namespace that has none of its own.
    #[arg(long, value_name = "NAMESPACE", default_value = "linkerd-egress")]
    pub global_egress_network_namespace: String,
    /// Let requests ask for timeouts and retries of their own, in l5d- headers, where a route takes them.
    #[arg(long)]
    pub allow_l5d_request_headers: bool,
    #[command(flatten)]
    pub discovery: Discovery,
    /// Node that derived pods run on, where the folder has none.
    #[arg(long, value_name = "NAME", default_value = "node-1")]
    pub node_name: String,
    #[command(flatten)]
    pub mirroring: Mirroring,
    /// What to log, such as info or warn,causeway=debug.
    #[arg(long, value_name = "FILTER", default_value = "warn,causeway=info")]
    pub log: String,
}

/// Runs until SIGTERM or SIGINT.
pub fn run(args: &ControlArgs) -> ExitCode {
    if let Err(error) = log::init(&args.log, log::Format::Plain) {
        eprintln!("--log: {error}");
        return ExitCode::from(BAD_CONFIGURATION);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let served = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
        runtime.block_on(async {
            let ended = until_signal()?;
            serve(args, ended, &mut std::io::stdout()).await
        })
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("causeway control: {error:#}");
            ExitCode::from(BAD_CONFIGURATION)
        }
    }
}

fn until_signal() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Serves the cluster until `ended`. Writes one line to `out` when everything is listening.
pub async fn serve(
    args: &ControlArgs,
    ended: impl Future<Output = ()>,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    flags::check(args)?;
    let drain = Drain::default();
    let issuing = Issuing::follow(args.issuer(), &drain)?;
    let settings = args.settings(issuing.now().anchors_pem());
    // Nothing is written before it is sure that this runs, and alone.
    let lock = Lock::take(&args.dir)?;
    let sockets = Sockets::bind(args).await?;
    let (line, about) = (sockets.line()?, args.about(sockets.admin_at()?, issuing.clone()));
    let certifier = Certifier {
        authority: issuing.clone(),
        tokens: folder::open_tokens(&args.certs, &args.cluster_name)?.verifier(),
        control_namespace: settings.control_namespace.clone(),
        trust_domain: settings.trust_domain.clone(),
    };
    let prober = serve::prober(&certifier, &settings.mirror_namespace, &drain)?;
    let folder = Folder::follow(lock, &settings).map_err(all_problems)?;
    serve::start(sockets.grpc, folder.snapshots(), Arc::new(certifier), &drain)?;
    let gateways = Arc::<gateways::metrics::Metrics>::default();
    let news = folder.news();
    tell_trust(issuing.clone(), news.clone(), &drain);
    let tell = move |known| news.tell(known);
    gateways::follow(folder.snapshots(), prober, gateways.clone(), tell, &drain);
    if let Some(sockets) = sockets.dns {
        dns::start(sockets, folder.snapshots(), &drain);
    }
    let sources = metrics::Sources {
        cluster_name: args.cluster_name.clone(),
        snapshots: folder.snapshots(),
        freshness: folder.freshness(),
        gateways,
        issuing,
    };
    metrics::start(sockets.admin, sources, &drain);
    let about = Arc::new(about);
    let views = pods::Views { snapshots: folder.snapshots(), reports: folder.reports(), about };
    pods::start(sockets.api, views, &drain);
    tell_changes(folder.reports(), drain.clone());
    writeln!(out, "{line}")?;
    out.flush()?;
    ended.await;
    let left = drain.finish(GRACE).await;
    if left > 0 {
        tracing::warn!(left, "ended with work unfinished");
    }
    Ok(())
}

/// A folder that cannot be started from is told with everything that was found.
fn all_problems(unusable: Unusable) -> anyhow::Error {
    let Unusable::Problems(report) = &unusable else { return unusable.into() };
    let lines: String = report.problems.iter().map(|problem| format!("\n{problem}")).collect();
    anyhow::anyhow!("the manifests have problems:{lines}")
}

/// Pods that are injected from now on are told of other trust anchors.
fn tell_trust(mut issuing: Issuing, news: News, drain: &Drain) {
    let draining = drain.clone();
    drain.spawn(async move {
        loop {
            tokio::select! {
                () = draining.signaled() => return,
                authority = issuing.replaced() => news.trust(authority.anchors_pem().to_owned()),
            }
        }
    });
}

/// New problems are logged where they are found; this says which of them are gone, and what there is to note.
fn tell_changes(mut reports: watch::Receiver<Arc<Report>>, drain: Drain) {
    let tasks = drain.clone();
    tasks.spawn(async move {
        let mut before = Arc::<Report>::default();
        loop {
            let now = reports.borrow_and_update().clone();
            for change in changes(&before, &now) {
                tracing::info!("{change}");
            }
            before = now;
            tokio::select! {
                () = drain.signaled() => return,
                changed = reports.changed() => if changed.is_err() { return },
            }
        }
    });
}

/// Problems that are gone, and notes that are new.
fn changes(before: &Report, now: &Report) -> Vec<String> {
    let (wrong, noted): (BTreeSet<_>, BTreeSet<_>) =
        (now.all_problems().collect(), now.notes.iter().collect());
    let known: BTreeSet<_> = before.notes.iter().collect();
    let before: BTreeSet<_> = before.all_problems().collect();
    let mended = before.into_iter().filter(|problem| !wrong.contains(problem));
    let new = noted.into_iter().filter(|note| !known.contains(note));
    mended.map(|problem| format!("mended: {problem}")).chain(new.map(ToString::to_string)).collect()
}

impl ControlArgs {
    fn listen(&self) -> Listen {
        let at = |port| SocketAddr::new(self.listen, port);
        Listen {
            destination: at(self.destination_port),
            policy: at(self.policy_port),
            identity: at(self.identity_port),
        }
    }

    fn issuer(&self) -> Place {
        Place {
            dir: self.certs.clone(),
            cluster: self.cluster_name.clone(),
            lifetime: self.issuance_lifetime,
        }
    }

    fn about(&self, admin: SocketAddr, issuing: Issuing) -> pods::About {
        pods::About {
            cluster_name: self.cluster_name.clone(),
            folder: self.dir.canonicalize().unwrap_or_else(|_| self.dir.clone()),
            issuing,
            admin,
        }
    }

    /// Of flags that were checked.
    fn settings(&self, anchors: &str) -> Settings {
        let defaults = Settings::default();
        let settings = Settings {
            trust_domain: self.trust_domain.as_ref().unwrap_or(&self.cluster_domain).clone(),
            cluster_domain: self.cluster_domain.clone(),
            cluster_networks: self.cluster_networks.clone().unwrap_or(defaults.cluster_networks),
            default_policy: self.default_policy,
            default_opaque_ports: self.default_opaque_ports.clone().unwrap_or(defaults.default_opaque_ports),
            global_egress_namespace: self.global_egress_network_namespace.clone(),
            allow_request_headers: self.allow_l5d_request_headers,
            transport: self.discovery.transport(),
            pod_network: self.pod_network,
            service_network: self.service_network,
            trust_anchors_pem: anchors.to_owned(),
            control_addr: self.control_addr.unwrap_or(self.listen),
            node_name: self.node_name.clone(),
            probe_networks: defaults.probe_networks,
            ..defaults
        };
        self.mirroring.settings(settings)
    }
}

fn default_policy(text: &str) -> Result<DefaultPolicy, String> {
    DefaultPolicy::parse(text).ok_or_else(|| format!("expected one of {}", DefaultPolicy::NAMES.join(", ")))
}

fn port_set(text: &str) -> Result<PortSet, String> {
    PortSet::parse(text).ok_or_else(|| "expected ports and ranges, such as 25,8000-8100".to_owned())
}

#[cfg(test)]
mod tests;
