//! The guide's two tables, from what one cluster's proxies said of themselves.

use std::collections::BTreeMap;

use anyhow::Context as _;

use crate::demo::world::World;
use crate::viz::window::{Scrape, Window};
use crate::viz::{authz, stat};

/// `viz stat -n NAMESPACE deploy` and `viz authz -n NAMESPACE deploy` of one cluster, as text for people.
///
/// # Errors
/// When the scrapes are all of one moment.
pub(super) fn print(
    world: &World,
    cluster: &str,
    namespace: &str,
    scrapes: Vec<Scrape>,
) -> anyhow::Result<String> {
    let window = Window::new(scrapes).context("cannot compare the scrapes")?;
    let stat = stat::print(&stat::rows(&window, namespace, &deployments(world, cluster, namespace)));
    let authz = authz::print(&authz::rows(&window, namespace));
    Ok(format!(
        "\n{cluster}: viz stat -n {namespace} deploy\n{stat}\n{cluster}: viz authz -n {namespace} deploy\n{authz}\n"
    ))
}

/// Every pod that is listed here runs behind a proxy.
fn deployments(world: &World, cluster: &str, namespace: &str) -> BTreeMap<String, stat::Pods> {
    let mut deployments: BTreeMap<String, stat::Pods> = BTreeMap::new();
    let pods = world.pods().iter().filter(|pod| pod.cluster == cluster && pod.listed.namespace == namespace);
    for pod in pods.filter(|pod| pod.listed.owner.kind == "deployment") {
        let counted = deployments.entry(pod.listed.owner.name.clone()).or_default();
        counted.meshed += 1;
        counted.running += 1;
    }
    deployments
}
