//! Which connections of this network namespace are handed to the proxy, and how is the kernel told?
//!
//! The rules are those of controlplane 5.5, written as one nftables table of our own over netlink, so neither `nft`
//! nor `iptables` has to be there. Incoming TCP goes to the inbound port and outgoing TCP to the outbound port; what
//! the proxy itself sends, what stays on `lo`, and ignored ports are left alone. [`install`] replaces an earlier
//! installation in one transaction: there is no moment without rules, and a failure changes nothing.
//!
//! Both functions act on the network namespace of the *calling thread* and need `CAP_NET_ADMIN` there.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnet::IpNet;
use netlink_packet_netfilter::NetfilterProtoFamily as Family;

mod batch;
mod deliver;
mod rule;

use self::batch::Batch;
pub use self::deliver::deliver;
use self::rule::{Hook, Rule};

/// What is redirected, in the words of the injector's `proxy-init` arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Where incoming TCP goes: `--incoming-proxy-port`.
    pub inbound_port: u16,
    /// Where outgoing TCP goes: `--outgoing-proxy-port`.
    pub outbound_port: u16,
    /// Traffic of this user is never redirected: `--proxy-uid`.
    pub proxy_uid: Option<u32>,
    /// Traffic of this group is never redirected: `--proxy-gid`.
    pub proxy_gid: Option<u32>,
    /// Traffic with this mark is never redirected: for proxies without a user of their own, which the contract does
    /// not know.
    pub proxy_mark: Option<u32>,
    /// The only incoming ports to redirect, or all if empty: `--ports-to-redirect`.
    pub inbound_redirected: Vec<RangeInclusive<u16>>,
    /// Incoming ports left alone: `--inbound-ports-to-ignore`.
    pub inbound_ignored: Vec<RangeInclusive<u16>>,
    /// Outgoing ports left alone: `--outbound-ports-to-ignore`.
    pub outbound_ignored: Vec<RangeInclusive<u16>>,
    /// *Source* networks whose incoming traffic is left alone: `--subnets-to-ignore`.
    pub ignored_subnets: Vec<IpNet>,
    /// Whether IPv6 is redirected too: `--ipv6`.
    pub ipv6: bool,
}

impl Default for Rules {
    /// The injector's defaults (controlplane 5.5).
    fn default() -> Self {
        Self {
            inbound_port: 4143,
            outbound_port: 4140,
            proxy_uid: Some(2102),
            proxy_gid: None,
            proxy_mark: None,
            inbound_redirected: Vec::new(),
            inbound_ignored: vec![4190..=4191, 4567..=4568],
            outbound_ignored: vec![4567..=4568],
            ignored_subnets: Vec::new(),
            ipv6: true,
        }
    }
}

/// Why the kernel's rules could not be changed. Nothing was changed then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("cannot talk to the kernel's netfilter: {0}")]
    Socket(#[source] std::io::Error),
    #[error(
        "the kernel refused to {step}: {source} (is nftables with nat in this kernel, and CAP_NET_ADMIN held?)"
    )]
    Refused { step: String, source: std::io::Error },
    #[error("the kernel's answer could not be read: {0}")]
    Answer(String),
    #[error("the kernel did not confirm the step: {step}")]
    Unconfirmed { step: String },
}

/// Installs `rules` in the calling thread's network namespace, replacing those of an earlier call.
///
/// # Errors
/// Says which step the kernel refused; the rules are then what they were before.
pub fn install(rules: &Rules) -> Result<(), Error> {
    let mut batch = Batch::new(TABLE);
    for family in [Family::Inet, Family::IPv4] {
        batch.delete_table(family);
    }
    let family = if rules.ipv6 { Family::Inet } else { Family::IPv4 };
    batch.add_table(family);
    batch.add_chain(family, INBOUND, Hook::PreRouting);
    for rule in inbound(rules) {
        batch.add_rule(family, INBOUND, rule);
    }
    batch.add_chain(family, OUTBOUND, Hook::LocalOut);
    for rule in outbound(rules) {
        batch.add_rule(family, OUTBOUND, rule);
    }
    batch.commit()
}

/// Takes away what [`install`] put there; it is no error if nothing was.
///
/// # Errors
/// Says what the kernel refused.
pub fn remove() -> Result<(), Error> {
    let mut batch = Batch::new(TABLE);
    for family in [Family::Inet, Family::IPv4] {
        batch.delete_table(family);
    }
    batch.commit()
}

const TABLE: &str = "causeway";
const INBOUND: &str = "inbound";
const OUTBOUND: &str = "outbound";

fn family_of(address: IpAddr) -> Family {
    if address.is_ipv4() { Family::IPv4 } else { Family::IPv6 }
}

fn inbound(rules: &Rules) -> Vec<Rule> {
    let mut chain: Vec<Rule> = Vec::new();
    chain.extend(rules.inbound_ignored.iter().map(|ports| ignore_ports(ports, "ignored inbound ports")));
    chain.extend(rules.ignored_subnets.iter().map(|net| Rule::new("ignored subnet").source(*net).leave()));
    let redirect = |rule: Rule| rule.redirect(rules.inbound_port);
    if rules.inbound_redirected.is_empty() {
        chain.push(redirect(Rule::new("to the inbound port").tcp()));
    }
    chain.extend(
        rules.inbound_redirected.iter().map(|p| redirect(Rule::new("to the inbound port").tcp().ports(p))),
    );
    chain
}

fn outbound(rules: &Rules) -> Vec<Rule> {
    let mut chain: Vec<Rule> = Vec::new();
    chain.extend(rules.proxy_uid.map(|uid| Rule::new("sent by the proxy's user").uid(uid).leave()));
    chain.extend(rules.proxy_gid.map(|gid| Rule::new("sent by the proxy's group").gid(gid).leave()));
    chain.extend(rules.proxy_mark.map(|mark| Rule::new("marked by the proxy").mark(mark).leave()));
    chain.push(Rule::new("stays in the pod").leaves_by("lo").leave());
    chain.extend(rules.outbound_ignored.iter().map(|ports| ignore_ports(ports, "ignored outbound ports")));
    chain.push(Rule::new("to the outbound port").tcp().redirect(rules.outbound_port));
    chain
}

fn ignore_ports(ports: &RangeInclusive<u16>, why: &str) -> Rule {
    Rule::new(why).tcp().ports(ports).leave()
}
