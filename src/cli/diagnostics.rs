//! `causeway diagnostics`: what a control plane answers, asked as a proxy would ask (controlplane 7.2).

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Subcommand;
use linkerd2_proxy_api::destination::{GetDestination, destination_client::DestinationClient};
use linkerd2_proxy_api::inbound::{PortSpec, inbound_server_policies_client::InboundServerPoliciesClient};
use linkerd2_proxy_api::outbound::outbound_policies_client::OutboundPoliciesClient;
use linkerd2_proxy_api::outbound::{TrafficSpec, traffic_spec};
use serde_json::{Value, json};
use tokio::time::timeout;
use tonic::{Code, Status};

use crate::api::show::{self, Row};
use crate::control::yaml::Yaml;
use crate::viz::table::{Align, Table};

mod reach;

use reach::{LIMIT, Reach, Service};

/// Ask a control plane what it tells proxies: ours, or Linkerd's.
///
/// In a cluster, `kubectl -n linkerd port-forward deploy/linkerd-destination 8086 8090` leads to Linkerd's, in
/// plaintext; with --trust-anchors a controller is asked in mesh TLS, and must prove its identity. Exit code 1
/// for an error, which says what may be its cause.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    Endpoints(Box<EndpointsArgs>),
    Profile(Box<ProfileArgs>),
    Policy(Box<PolicyArgs>),
}

/// Print the endpoints that an authority leads to.
///
/// Asks as a proxy does, and reads until --wait has passed: endpoints may come in several messages. Of a mirror
/// that is reached pod to pod, SERVICE is the Service in its own cluster. A Service without ready
/// endpoints gets no answer at all, and shows none.
#[derive(clap::Args, Clone, Debug)]
pub struct EndpointsArgs {
    /// Such as bb.mc-demo.svc.cluster.local:8080.
    #[arg(required = true, value_name = "AUTHORITY")]
    pub authorities: Vec<String>,
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub output: Listing,
    /// How long to read.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = humantime::parse_duration)]
    pub wait: Duration,
    #[command(flatten)]
    pub destination: Destination,
}

/// Print the profile of an address or a name, as JSON.
#[derive(clap::Args, Clone, Debug)]
pub struct ProfileArgs {
    /// Such as 10.43.0.17:8080 or bb.mc-demo.svc.cluster.local:8080.
    #[arg(value_name = "ADDRESS")]
    pub address: String,
    #[command(flatten)]
    pub destination: Destination,
}

/// Print the policy of a pod's port, or of a Service's as its clients are told.
#[derive(clap::Args, Clone, Debug)]
pub struct PolicyArgs {
    /// po/NAME or svc/NAME.
    #[arg(value_name = "RESOURCE")]
    pub resource: String,
    #[arg(value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,
    #[arg(short, long, default_value = "default")]
    pub namespace: String,
    #[arg(short, long, value_name = "FORMAT", default_value = "yaml")]
    pub output: super::link::Format,
    /// The workload that asks about a Service.
    #[arg(long, value_name = "NAMESPACE:NAME", default_value = "default:diagnostics")]
    pub token: String,
    /// The policy controller.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8090")]
    pub policy_addr: String,
    #[command(flatten)]
    pub reach: Reach,
}

#[derive(clap::Args, Clone, Debug)]
pub struct Destination {
    /// The destination controller.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8086")]
    pub destination_addr: String,
    /// The context token of the proxy that asks, such as ns:mc-demo [default: none].
    #[arg(long, value_name = "TOKEN", default_value = "", hide_default_value = true)]
    pub token: String,
    #[command(flatten)]
    pub reach: Reach,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Listing {
    Table,
    Json,
}

const DESTINATION: Service = Service {
    name: "destination",
    port: 8086,
    form: "NAME.NAMESPACE.svc.DOMAIN:PORT without a dot at the end, or an address, of this cluster's domain",
};
const POLICY: Service = Service {
    name: "policy",
    port: 8090,
    form: "names of a resource and of its namespace, and NAMESPACE:NAME as --token",
};

/// Asks, and prints the answer to `out`.
pub fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match &args.command {
            Command::Endpoints(args) => endpoints(args, out).await,
            Command::Profile(args) => profile(args, out).await,
            Command::Policy(args) => policy(args, out).await,
        }
    })
}

async fn endpoints(args: &EndpointsArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let Destination { destination_addr, token, reach } = &args.destination;
    let channel = reach.connect(destination_addr, DESTINATION).await?;
    let asked = args.authorities.iter().map(|authority| {
        let client = DestinationClient::new(channel.clone());
        async move { told(client, authority, token, args.wait).await.with_context(|| authority.clone()) }
    });
    let (mut rows, mut errors): (Vec<(SocketAddr, Row)>, Vec<String>) = Default::default();
    for told in futures_util::future::join_all(asked).await {
        match told {
            Ok(told) => rows.extend(told),
            Err(error) => errors.push(format!("{error:#}")),
        }
    }
    if !errors.is_empty() {
        bail!("{}", errors.join("\n"));
    }
    rows.sort_by(|(a, row), (b, other)| {
        (&row.namespace, &row.service, a).cmp(&(&other.namespace, &other.service, b))
    });
    match args.output {
        Listing::Json => writeln!(out, "{:#}", listing(&rows))?,
        Listing::Table if rows.is_empty() => {
            eprintln!("No endpoints found: no ready endpoint, or none that this cluster knows of.");
        }
        Listing::Table => out.write_all(tables(&rows).as_bytes())?,
    }
    Ok(())
}

/// Everything that is told of one authority within `wait`.
async fn told(
    mut client: DestinationClient<tonic::transport::Channel>,
    authority: &str,
    token: &str,
    wait: Duration,
) -> anyhow::Result<BTreeMap<SocketAddr, Row>> {
    let question = GetDestination {
        scheme: "http:".into(),
        path: authority.to_owned(),
        context_token: token.to_owned(),
    };
    let mut rows = BTreeMap::new();
    let reading = async {
        let mut updates = client.get(question).await?.into_inner();
        while let Some(update) = updates.message().await? {
            show::apply(&mut rows, update);
        }
        Ok::<_, Status>(())
    };
    // An end in time is that of the stream, as of one whose Service was deleted.
    if let Ok(ended) = timeout(wait, reading).await {
        ended.map_err(|status| refused(&status, DESTINATION))?;
    }
    Ok(rows)
}

fn listing(rows: &[(SocketAddr, Row)]) -> Value {
    let rows = rows.iter().map(|(addr, row)| {
        let mut listed = json!({
            "namespace": row.namespace,
            "ip": addr.ip(),
            "port": addr.port(),
            "pod": pod(row),
            "service": row.service,
            "weight": row.weight,
            "labels": row.labels,
        });
        if !row.http2.is_null() {
            listed["http2"] = row.http2.clone();
        }
        listed
    });
    Value::Array(rows.collect())
}

/// One block for each namespace.
fn tables(rows: &[(SocketAddr, Row)]) -> String {
    let columns = ["NAMESPACE", "IP", "PORT", "POD", "SERVICE"].map(|name| (name, Align::Left));
    let table = Table { columns: &columns, gap: "   ", gap_at_end: false };
    let blocks = rows.chunk_by(|(_, a), (_, b)| a.namespace == b.namespace).map(|block| {
        let cells = block.iter().map(|(addr, row)| {
            let own = [row.namespace.clone(), addr.ip().to_string(), addr.port().to_string()];
            own.into_iter().chain([pod(row).to_owned(), row.service.clone()]).collect()
        });
        let text = table.print(&cells.collect::<Vec<_>>());
        text.lines().map(|line| format!("{}\n", line.trim_end())).collect::<String>()
    });
    blocks.collect::<Vec<_>>().join("\n")
}

/// Without the namespace that some controllers put in front.
fn pod(row: &Row) -> &str {
    row.pod.split_once('/').map_or(row.pod.as_str(), |(_, name)| name)
}

async fn profile(args: &ProfileArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let Destination { destination_addr, token, reach } = &args.destination;
    let mut client = DestinationClient::new(reach.connect(destination_addr, DESTINATION).await?);
    let path = args.address.clone();
    let question = GetDestination { path, context_token: token.clone(), ..GetDestination::default() };
    let first = async { client.get_profile(question).await?.into_inner().message().await };
    let profile = in_time(first, DESTINATION).await?.context("the stream ended without a profile")?;
    writeln!(out, "{:#}", show::json(&profile))?;
    Ok(())
}

async fn policy(args: &PolicyArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let (kind, name) = args.resource.split_once('/').context("expected po/NAME or svc/NAME")?;
    let namespace = &args.namespace;
    let answer = match kind {
        "po" | "pod" | "pods" => {
            let channel = args.reach.connect(&args.policy_addr, POLICY).await?;
            let port = PortSpec { workload: format!("{namespace}:{name}"), port: args.port.into() };
            let mut client = InboundServerPoliciesClient::new(channel);
            let answer = in_time(client.get_port(port), POLICY).await.with_context(|| {
                format!("pod {namespace}/{name}: is it meshed, and does this cluster know it?")
            })?;
            show::json(&answer.into_inner())
        }
        "svc" | "service" | "services" => {
            let channel = args.reach.connect(&args.policy_addr, POLICY).await?;
            let authority = format!("{name}.{namespace}.svc:{}", args.port);
            let target = Some(traffic_spec::Target::Authority(authority));
            let question = TrafficSpec { source_workload: args.token.clone(), target };
            let mut client = OutboundPoliciesClient::new(channel);
            show::json(&in_time(client.get(question), POLICY).await?.into_inner())
        }
        other => bail!("{other:?} has no policy: expected po/NAME or svc/NAME"),
    };
    match args.output {
        super::link::Format::Yaml => write!(out, "{}", Yaml::from(&answer))?,
        super::link::Format::Json => writeln!(out, "{answer:#}")?,
    }
    Ok(())
}

async fn in_time<T>(answer: impl Future<Output = Result<T, Status>>, service: Service) -> anyhow::Result<T> {
    let answered = timeout(LIMIT, answer).await;
    let answered = answered.with_context(|| {
        format!("no answer within {LIMIT:?}: the {} service knows nothing of it yet", service.name)
    })?;
    answered.map_err(|status| refused(&status, service))
}

/// What a controller said instead of an answer, and what may be the cause.
fn refused(status: &Status, service: Service) -> anyhow::Error {
    let hint = match status.code() {
        Code::Unimplemented => {
            format!("this is not the {} service: its port is {}", service.name, service.port)
        }
        Code::InvalidArgument => format!("expected {}", service.form),
        Code::NotFound => "this cluster knows no such object".to_owned(),
        Code::Unknown if is_answer(status) => {
            format!("the {} service has no answer: does this cluster know it?", service.name)
        }
        Code::FailedPrecondition => {
            "the object is of a kind that has no answer, such as an ExternalName".to_owned()
        }
        Code::Unavailable | Code::Unknown | Code::Internal => {
            format!(
                "the connection broke, or this is no {} service: its port is {}; TLS may be wanted (--trust-anchors)",
                service.name, service.port
            )
        }
        _ => format!("the {} service refused", service.name),
    };
    let message: String = status.message().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let message = if message.trim().is_empty() { "refused" } else { message.trim() };
    anyhow::anyhow!("{message} ({:?})\n{hint}", status.code())
}

/// Whether a controller said so itself, and no transport on the way.
fn is_answer(status: &Status) -> bool {
    std::error::Error::source(status).is_none() && !status.message().starts_with("grpc-status header missing")
}

#[cfg(test)]
mod tests;
