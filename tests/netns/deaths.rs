//! Requests that go on while an endpoint or a cluster dies, and what that may cost them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use tokio::task::JoinHandle;

use crate::idle::deployment;
use crate::load::{Kind, Load, Tally};
use crate::mesh::Mesh;

/// Whatever fails, fails within this time of the death.
pub(crate) const LAST_FAILURE: Duration = Duration::from_secs(1);

/// Whether the whole of it is asked for, which takes minutes.
pub(crate) fn in_full() -> bool {
    std::env::var("CAUSEWAY_FAILOVER").is_ok_and(|asked| asked == "full")
}

/// What a busy machine adds, and other tests beside this one, as there are in its short form.
pub(crate) fn busy() -> Duration {
    Duration::from_millis(if in_full() { 300 } else { 1_000 })
}

/// How long the dead are dead. In full, long enough for the reference to notice what is cut off.
pub(crate) fn dead() -> Duration {
    Duration::from_secs(if in_full() { 16 } else { 4 })
}

/// Where the requests come from.
pub(crate) const CALLER: &str = deployment!("caller", 1);

/// Requests of both methods that run, at a rate each.
pub(crate) struct Calls(Vec<(Arc<Load>, JoinHandle<Tally>)>);

impl Calls {
    pub(crate) fn start(mesh: &Mesh, kind: Kind, to: SocketAddr, rate: u32) -> Self {
        let from = mesh.pod("caller").clone();
        let calls = [Method::GET, Method::POST].into_iter().map(|method| {
            let (load, from) = (Arc::new(Load::of(method, rate)), from.clone());
            let running = load.clone();
            (load, tokio::spawn(async move { running.run(&from, to, kind).await }))
        });
        Self(calls.collect())
    }

    /// GET, POST.
    pub(crate) async fn end(self) -> [Tally; 2] {
        self.0.iter().for_each(|(load, _)| load.end.cancel());
        let [(_, gets), (_, posts)] = <[_; 2]>::try_from(self.0).ok().unwrap();
        [gets.await.unwrap(), posts.await.unwrap()]
    }
}
