//! The scenario of most tests: `web` calls the service of `bb`.

use std::net::SocketAddr;

use crate::application::App;
use crate::client::{Answer, Client, Kind};
use crate::policies::{add, balance, detect};
use crate::sandbox::{Pod, Sandbox, service_addr, until};
use causeway::model::ServerPolicy;

/// The service's name, as the control plane is asked for its endpoints.
pub const BB: &str = "bb.demo.svc.cluster.local:8080";

/// A variable with which profiles of Services are asked for by address.
pub const PROFILED: (&str, &str) = ("LINKERD2_PROXY_DESTINATION_PROFILE_NETWORKS", "10.0.0.0/8");

pub struct Pair {
    pub world: Sandbox,
    pub web: Pod,
    pub bb: Pod,
    pub app: App,
    /// The service's virtual address.
    pub service: SocketAddr,
}

impl Pair {
    pub async fn new() -> Self {
        Self::with(Sandbox::new().await, &[], &[]).await
    }

    /// The same, with some variables of `web` and of `bb` set otherwise.
    pub async fn with(world: Sandbox, web: &[(&str, &str)], bb: &[(&str, &str)]) -> Self {
        let (web, bb) = tokio::join!(world.pod_with("web", web), world.pod_with("bb", bb));
        let app = App::http(&bb).await;
        let service = service_addr();
        world.script().policy(service, &detect(balance(BB)));
        world.script().endpoints(BB, &add(vec![bb.endpoint(app.addr)]));
        Self { world, web, bb, app, service }
    }

    /// A connection of `web`'s application to the service.
    pub async fn client(&self, kind: Kind) -> Client {
        self.client_of(&self.web, kind).await
    }

    pub async fn client_of(&self, pod: &Pod, kind: Kind) -> Client {
        Client::new(kind, pod.connect(self.service).await).await
    }

    /// A client without a proxy, at `bb`'s port.
    pub async fn unmeshed(&self, kind: Kind) -> Client {
        Client::new(kind, self.world.connect_unmeshed(self.app.addr, &self.bb).await).await
    }

    /// One request on a connection of its own.
    pub async fn get(&self, kind: Kind) -> Answer {
        self.client(kind).await.get("/").await
    }

    /// Scripts the policy of `bb`'s port.
    pub fn admit(&self, policy: &ServerPolicy) {
        self.world.script().server(&self.bb.port(self.app.addr), policy);
    }
}

/// Repeats a request until its answer is as wanted.
pub async fn until_answer(client: &mut Client, path: &str, what: &str, wanted: impl Fn(&Answer) -> bool) {
    until(what, async || wanted(&client.get(path).await)).await;
}
