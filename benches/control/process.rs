//! `causeway control` as a process of its own, and clients that watch it over gRPC.

use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use linkerd2_proxy_api::destination as pb;
use pb::destination_client::DestinationClient;
use pb::update::Update;
use tokio::time::{Instant, timeout};
use tonic::Streaming;
use tonic::transport::Channel;

use super::world::{World, watched};

const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) struct Control {
    child: Child,
    pub(crate) started: Duration,
    client: DestinationClient<Channel>,
}

impl Control {
    /// Starts west's control plane, and waits until it serves.
    pub(crate) async fn start(world: &World) -> anyhow::Result<Self> {
        let began = Instant::now();
        let mut child = Command::new(env!("CARGO_BIN_EXE_causeway"))
            .arg("control")
            .arg(world.folder("west"))
            .arg("--certs")
            .arg(world.certs())
            .args(["--cluster-name", "west", "--log", "error"])
            .args(["--pod-network", "10.40.0.0/16", "--service-network", "10.60.0.0/16"])
            .args(["--destination-port", "0", "--policy-port", "0", "--identity-port", "0"])
            .args(["--api", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("its output")?).read_line(&mut line)?;
        let started = began.elapsed();
        let addr = line.split_whitespace().find_map(|word| word.strip_prefix("destination="));
        let addr: SocketAddr = addr.with_context(|| format!("no address in {line:?}"))?.parse()?;
        let channel = Channel::from_shared(format!("http://{addr}"))?.connect().await?;
        Ok(Self { child, started, client: DestinationClient::new(channel) })
    }

    /// Resident memory in bytes.
    pub(crate) fn resident(&self) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()).context("no VmRSS")?;
        Ok(kib.parse::<f64>()? * 1024.0)
    }

    /// Watches as many mirrors as a cluster has Services, each to its first answer.
    pub(crate) async fn watch_mirrors(&self, world: &World) -> anyhow::Result<Vec<Streaming<pb::Update>>> {
        let mut streams = Vec::new();
        for n in 0..world.services {
            let mut stream = self.get(&watched(n)).await?;
            timeout(DEADLINE, stream.message()).await??.context("no answer")?;
            streams.push(stream);
        }
        Ok(streams)
    }

    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Streaming<pb::Update>> {
        let request = pb::GetDestination { path: path.to_owned(), ..pb::GetDestination::default() };
        Ok(self.client.clone().get(request).await?.into_inner())
    }
}

/// Reads until the stream adds this address.
pub(crate) async fn told(stream: &mut Streaming<pb::Update>, ip: IpAddr) -> anyhow::Result<()> {
    let reading = async {
        loop {
            let update = stream.message().await?.context("the stream ended")?;
            let Some(Update::Add(set)) = update.update else { continue };
            let has = |addr: &pb::WeightedAddr| {
                let found: Option<SocketAddr> = addr.addr.and_then(|addr| addr.try_into().ok());
                found.is_some_and(|found| found.ip() == ip)
            };
            if set.addrs.iter().any(has) {
                return Ok(());
            }
        }
    };
    timeout(DEADLINE, reading).await?
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
