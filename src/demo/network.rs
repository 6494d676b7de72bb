//! How do the namespaces reach each other? A router namespace holds one end of a link to each of them and forwards, as
//! the network between flat clusters does. It is also the node: kubelet's and Prometheus' sockets are opened in it, and
//! a packet socket there sees every link.
//!
//! ```text
//!   pod: eth0 ADDR/32 ── default via NODE ──▶ router: pod<n>, ADDR/32 dev pod<n>
//! ```

use std::collections::BTreeMap;
use std::fs::File;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::TryStreamExt as _;
use parking_lot::Mutex;
use rtnetlink::packet_route::address::AddressHeaderFlags;
use rtnetlink::packet_route::route::{RouteMessage, RouteScope, RouteType};
use rtnetlink::{Handle, LinkUnspec, LinkVeth, RouteMessageBuilder};

use super::namespace::{self, Namespace};

/// The router's own address: every pod's gateway, and the source of what the node sends. Private, so that it counts as
/// a cluster network (controlplane 3.3), and outside the pod and service networks.
pub const NODE: Ipv4Addr = Ipv4Addr::new(172, 31, 255, 1);
/// The same in IPv6.
pub const NODE6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x31, 0x255, 0, 0, 0, 0, 1);

/// Why a namespace could not be joined to the others.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error(transparent)]
    Namespace(#[from] namespace::Error),
    #[error("{name}: cannot {step}: {source}")]
    Link { name: String, step: &'static str, source: rtnetlink::Error },
    #[error("{name}: cannot speak to the kernel about links: {source}")]
    Socket { name: String, source: io::Error },
}

/// The router and what is joined to it.
#[derive(Debug)]
pub struct Network {
    router: Arc<Namespace>,
    links: AtomicU32,
    /// Which link leads to an address.
    ways: Mutex<BTreeMap<IpAddr, Way>>,
}

#[derive(Clone, Debug)]
enum Way {
    Link(String),
    /// The link is switched off, and what is sent there is lost.
    Cut(String),
}

impl Network {
    /// A router without links.
    ///
    /// # Errors
    /// Without the privilege to make namespaces.
    pub fn new() -> Result<Self, Error> {
        let router = Namespace::new("router")?;
        router.io("switch forwarding on", || std::fs::write("/proc/sys/net/ipv4/ip_forward", "1"))?;
        if has_ipv6() {
            router.io("switch forwarding on", || std::fs::write(IPV6_FORWARDING, "1"))?;
            trust_addresses(&router)?;
        }
        netlink(&router, |links| async move {
            links.loopback_up().await?;
            links.address(LOOPBACK, NODE.into()).await?;
            if has_ipv6() { links.address(LOOPBACK, NODE6.into()).await } else { Ok(()) }
        })?;
        Ok(Self { router: Arc::new(router), links: AtomicU32::new(0), ways: Mutex::default() })
    }

    /// The namespace that sees all links.
    #[must_use]
    pub fn router(&self) -> &Arc<Namespace> {
        &self.router
    }

    /// Gives `pod` these addresses, one of a family at most, and a way to everything else on this network.
    ///
    /// # Errors
    /// Says at which step; a half-joined namespace is of no use and should be dropped.
    pub fn attach(&self, pod: &Namespace, addrs: &[IpAddr]) -> Result<(), Error> {
        let number = self.links.fetch_add(1, Ordering::Relaxed);
        let (near, far) = (format!("pod{number}"), format!("peer{number}"));
        let namespace = pod.net()?;
        let peer = far.clone();
        if has_ipv6() {
            trust_addresses(pod)?;
        }
        let (addrs, reached) = (addrs.to_vec(), self.found(addrs, &near));
        netlink(
            &self.router,
            move |links| async move { links.reach(&near, &peer, namespace, &reached).await },
        )?;
        netlink(pod, move |links| async move {
            links.loopback_up().await?;
            links.join(&far, &addrs).await
        })
    }

    /// Remembers the link to these addresses; says of each whether it replaces a way that was cut.
    fn found(&self, addrs: &[IpAddr], near: &str) -> Vec<(IpAddr, bool)> {
        let mut ways = self.ways.lock();
        let mut remember = |addr: &IpAddr| ways.insert(*addr, Way::Link(near.to_owned()));
        addrs.iter().map(|addr| (*addr, matches!(remember(addr), Some(Way::Cut(_))))).collect()
    }

    /// Takes the link to `addr` away, both directions at once: nothing passes any more, and nobody is told, until
    /// it is mended or another namespace with that address is attached.
    ///
    /// # Errors
    /// When no namespace with that address is attached.
    pub fn cut(&self, addr: IpAddr) -> Result<(), Error> {
        let mut ways = self.ways.lock();
        let Some(Way::Link(link)) = ways.get(&addr).cloned() else {
            return Err(missing(addr, "cut a link that is not there"));
        };
        ways.insert(addr, Way::Cut(link.clone()));
        drop(ways);
        // First the way there: without it, the router would tell whoever sends.
        netlink(&self.router, move |links| async move {
            links.lose(addr).await?;
            links.down(links.index(&link).await?).await
        })
    }

    /// Gives the link to `addr` back that was cut. Whoever is there has noticed nothing but silence.
    ///
    /// # Errors
    /// When no link to that address was cut.
    pub fn mend(&self, addr: IpAddr) -> Result<(), Error> {
        let mut ways = self.ways.lock();
        let Some(Way::Cut(link)) = ways.get(&addr).cloned() else {
            return Err(missing(addr, "mend a link that was not cut"));
        };
        ways.insert(addr, Way::Link(link.clone()));
        drop(ways);
        netlink(&self.router, move |links| async move {
            let index = links.index(&link).await?;
            links.up(index).await?;
            if addr.is_ipv6() {
                // Switching the link off took it away.
                links.address(index, NODE6.into()).await?;
            }
            links.find_again(addr).await?;
            links.direct(addr, index).await
        })
    }
}

fn missing(addr: IpAddr, step: &'static str) -> Error {
    Error::Link { name: addr.to_string(), step, source: rtnetlink::Error::RequestFailed }
}

/// The kernel's links and routes, seen from one namespace.
struct Links(Handle);

type Step<T> = Result<T, (&'static str, rtnetlink::Error)>;

impl Links {
    async fn loopback_up(&self) -> Step<()> {
        self.up(LOOPBACK).await
    }

    /// The router's half: a link whose far end goes to `namespace`, and routes to its addresses through it.
    async fn reach(&self, near: &str, far: &str, namespace: File, addrs: &[(IpAddr, bool)]) -> Step<()> {
        let links = self.0.link();
        links.add(LinkVeth::new(near, far).build()).execute().await.map_err(|e| ("make a link", e))?;
        let (near, far) = (self.index(near).await?, self.index(far).await?);
        let moved = LinkUnspec::new_with_index(far).setns_by_fd(namespace.as_raw_fd()).build();
        links.set(moved).execute().await.map_err(|e| ("move a link into the pod", e))?;
        self.up(near).await?;
        for (addr, was_cut) in addrs {
            if addr.is_ipv6() {
                // Unlike ARP, neighbour discovery answers for the addresses of the asked link alone.
                self.address(near, NODE6.into()).await?;
            }
            if *was_cut {
                self.find_again(*addr).await?;
            }
            self.direct(*addr, near).await?;
        }
        Ok(())
    }

    /// The pod's half: the link becomes `eth0`, and everything goes through it.
    async fn join(&self, link: &str, addrs: &[IpAddr]) -> Step<()> {
        let index = self.index(link).await?;
        let renamed = LinkUnspec::new_with_index(index).name("eth0").build();
        self.0.link().set(renamed).execute().await.map_err(|e| ("rename the pod's link", e))?;
        self.up(index).await?;
        for addr in addrs {
            self.address(index, *addr).await?;
            let route = if addr.is_ipv4() {
                self.direct(NODE.into(), index).await?;
                RouteMessageBuilder::<Ipv4Addr>::new().gateway(NODE).build()
            } else {
                self.direct(NODE6.into(), index).await?;
                RouteMessageBuilder::<Ipv6Addr>::new().gateway(NODE6).output_interface(index).build()
            };
            self.0.route().add(route).execute().await.map_err(|e| ("add the default route", e))?;
        }
        Ok(())
    }

    async fn index(&self, name: &str) -> Step<u32> {
        let mut found = std::pin::pin!(self.0.link().get().match_name(name).execute());
        let link = found.try_next().await.map_err(|e| ("find a link", e))?;
        link.map(|link| link.header.index).ok_or(("find a link", rtnetlink::Error::RequestFailed))
    }

    async fn up(&self, index: u32) -> Step<()> {
        let up = LinkUnspec::new_with_index(index).up().build();
        self.0.link().set(up).execute().await.map_err(|e| ("switch a link on", e))
    }

    async fn down(&self, index: u32) -> Step<()> {
        let down = LinkUnspec::new_with_index(index).down().build();
        self.0.link().set(down).execute().await.map_err(|e| ("switch a link off", e))
    }

    /// What is for `addr` is dropped without a word from now on.
    async fn lose(&self, addr: IpAddr) -> Step<()> {
        let lost = self.0.route().add(lost(addr)).replace().execute();
        lost.await.map_err(|e| ("lose a route", e))
    }

    /// Takes back [`Links::lose`].
    async fn find_again(&self, addr: IpAddr) -> Step<()> {
        self.0.route().del(lost(addr)).execute().await.map_err(|e| ("find a lost route again", e))
    }

    async fn address(&self, index: u32, addr: IpAddr) -> Step<()> {
        let mut add = self.0.address().add(index, addr, whole(addr));
        // Nobody else has it, and until that is settled nobody could listen on it.
        add.message_mut().header.flags |= AddressHeaderFlags::Nodad;
        add.execute().await.map_err(|e| ("add an address", e))
    }

    /// `addr` is at the other end of this link.
    async fn direct(&self, addr: IpAddr, index: u32) -> Step<()> {
        let route = match addr {
            IpAddr::V4(v4) => RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(v4, whole(addr))
                .output_interface(index)
                .scope(RouteScope::Link)
                .build(),
            IpAddr::V6(v6) => RouteMessageBuilder::<Ipv6Addr>::new()
                .destination_prefix(v6, whole(addr))
                .output_interface(index)
                .build(),
        };
        self.0.route().add(route).execute().await.map_err(|e| ("add a route", e))
    }
}

fn lost(addr: IpAddr) -> RouteMessage {
    match addr {
        IpAddr::V4(v4) => RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(v4, whole(addr))
            .kind(RouteType::BlackHole)
            .build(),
        IpAddr::V6(v6) => RouteMessageBuilder::<Ipv6Addr>::new()
            .destination_prefix(v6, whole(addr))
            .kind(RouteType::BlackHole)
            .build(),
    }
}

/// The prefix length of one address alone.
fn whole(addr: IpAddr) -> u8 {
    if addr.is_ipv4() { 32 } else { 128 }
}

/// Whether the kernel speaks IPv6 at all.
fn has_ipv6() -> bool {
    Path::new(IPV6_FORWARDING).exists()
}

/// Nobody else may have a pod's address, so there is no need to ask around before it is used.
fn trust_addresses(namespace: &Namespace) -> Result<(), Error> {
    Ok(namespace.io("switch duplicate address detection off", || {
        ["all", "default"]
            .iter()
            .try_for_each(|links| std::fs::write(format!("/proc/sys/net/ipv6/conf/{links}/accept_dad"), "0"))
    })?)
}

/// Runs `work` on the namespace's thread with a netlink socket of that namespace.
fn netlink<F>(namespace: &Namespace, work: impl FnOnce(Links) -> F + Send + 'static) -> Result<(), Error>
where
    F: Future<Output = Step<()>>,
{
    let run = move || -> io::Result<Step<()>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        runtime.block_on(async move {
            let (connection, handle, _) = rtnetlink::new_connection()?;
            let driver = tokio::spawn(connection);
            let outcome = work(Links(handle)).await;
            driver.abort();
            Ok(outcome)
        })
    };
    let name = || namespace.name().to_owned();
    let outcome = namespace.run(run)?.map_err(|source| Error::Socket { name: name(), source })?;
    outcome.map_err(|(step, source)| Error::Link { name: name(), step, source })
}

/// The first link of every network namespace.
const LOOPBACK: u32 = 1;
const IPV6_FORWARDING: &str = "/proc/sys/net/ipv6/conf/all/forwarding";
