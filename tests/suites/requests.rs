//! Did a suite's requests go through the proxies? What the server's has counted of them.

use crate::mesh::{HTTP, Mesh};

/// The client's pod, by the identity that its proxy proves.
pub(crate) const MESHED: &str = "slow-cooker.mc-demo.serviceaccount.identity.linkerd.cluster.local";
/// A client without identity.
pub(crate) const UNMESHED: &str = "";

/// Requests of `client` that were let in to the suite's application.
pub(crate) async fn let_in(mesh: &Mesh, client: &str) -> f64 {
    let scrapes = mesh.world.scrape("east").await.unwrap();
    let samples = scrapes.iter().flat_map(|scrape| &scrape.samples);
    let port = HTTP.to_string();
    let counted = samples.filter(|sample| {
        let label = |name| sample.labels.get(name);
        sample.name == "request_total"
            && label("direction") == "inbound"
            && label("target_port") == port
            && label("client_id") == client
    });
    counted.map(|sample| sample.value).sum()
}
