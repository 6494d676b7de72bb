//! What is listened on, bound before the folder is read: who cannot listen has changed nothing.

use std::io;
use std::net::SocketAddr;

use anyhow::anyhow;
use tokio::net::TcpListener;

use super::ControlArgs;
use crate::control::serve::{Listen, Ports, bind, dns};

/// Every socket of one control plane. Who connects meanwhile waits.
pub(super) struct Sockets {
    pub(super) grpc: Ports,
    pub(super) api: TcpListener,
    pub(super) admin: TcpListener,
    pub(super) dns: Option<dns::Sockets>,
}

impl Sockets {
    /// # Errors
    /// All addresses that cannot be had, each with the cause.
    pub(super) async fn bind(args: &ControlArgs) -> anyhow::Result<Self> {
        let dns = match args.dns {
            Some(addr) => dns::Sockets::bind(addr).await.map(Some),
            None => Ok(None),
        };
        match (Ports::bind(args.listen()).await, bind(args.api).await, bind(args.admin).await, dns) {
            (Ok(grpc), Ok(api), Ok(admin), Ok(dns)) => Ok(Self { grpc, api, admin, dns }),
            (grpc, api, admin, dns) => {
                let others = [api.err(), admin.err(), dns.err()].into_iter().flatten();
                let all = grpc.err().into_iter().flatten().chain(others);
                let lines: Vec<_> = all.map(|error| error.to_string()).collect();
                Err(anyhow!(lines.join("\n")))
            }
        }
    }

    /// Where metrics are.
    pub(super) fn admin_at(&self) -> io::Result<SocketAddr> {
        self.admin.local_addr()
    }

    /// The line that tells whoever started this where everything is.
    pub(super) fn line(&self) -> io::Result<String> {
        let Listen { destination, policy, identity } = self.grpc.bound()?;
        let (api, admin) = (self.api.local_addr()?, self.admin_at()?);
        let dns = match &self.dns {
            Some(dns) => format!(" dns={}", dns.bound()?),
            None => String::new(),
        };
        Ok(format!(
            "listening destination={destination} policy={policy} identity={identity} api={api} admin={admin}{dns}"
        ))
    }
}
