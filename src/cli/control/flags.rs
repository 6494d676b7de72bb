//! Flags that are well written and cannot be meant: all of them at once, before anything is begun.

use std::time::Duration;

use anyhow::bail;

use super::ControlArgs;
use crate::cli::flags::{DOMAIN, NAMESPACE, NODE};

/// What certificates may be issued for. Their times are whole seconds, and an issuer's own end comes first anyway.
const LIFETIMES: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(100 * 366 * 24 * 60 * 60);

/// # Errors
/// Every flag that is wrong: its value, and what is expected.
pub(super) fn check(args: &ControlArgs) -> anyhow::Result<()> {
    let faults: Vec<String> = in_names(args).chain(in_networks(args)).chain(in_lifetime(args)).collect();
    if !faults.is_empty() {
        bail!(faults.join("\n"));
    }
    Ok(())
}

fn in_names(args: &ControlArgs) -> impl Iterator<Item = String> {
    let domains =
        [("cluster-domain", Some(&args.cluster_domain)), ("trust-domain", args.trust_domain.as_ref())];
    let domains = domains.into_iter().filter_map(|(flag, value)| DOMAIN.fault(flag, value?));
    let egress = NAMESPACE.fault("global-egress-network-namespace", &args.global_egress_network_namespace);
    let node = NODE.fault("node-name", &args.node_name);
    domains.chain(args.mirroring.faults()).chain(egress).chain(node)
}

fn in_networks(args: &ControlArgs) -> impl Iterator<Item = String> {
    let (pods, services) = (args.pod_network, args.service_network);
    let overlap = (pods.contains(&services) || services.contains(&pods)).then(|| {
        format!(
            "--pod-network {pods} and --service-network {services} overlap: expected two that do not, \
             such as 10.42.0.0/16 and 10.43.0.0/16"
        )
    });
    let unspecified = args.control_addr.unwrap_or(args.listen).is_unspecified();
    let nowhere = unspecified.then(|| match args.control_addr {
        Some(addr) => format!("--control-addr {addr}: expected an address that pods can reach"),
        None => format!(
            "--listen {} is no address that pods can reach: expected --control-addr as well",
            args.listen
        ),
    });
    overlap.into_iter().chain(nowhere)
}

fn in_lifetime(args: &ControlArgs) -> Option<String> {
    let value = args.issuance_lifetime;
    (!LIFETIMES.contains(&value)).then(|| {
        format!(
            "--issuance-lifetime {}: expected from 1s to 100years, such as 24h",
            humantime::format_duration(value)
        )
    })
}
