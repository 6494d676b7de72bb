//! What one decision costs, where the authorization that allows it stands last.

use std::hint::black_box;
use std::net::IpAddr;
use std::time::Duration;

use causeway::authorize;
use causeway::model::inbound::{
    Authentication, Authorization, IdentityMatch, InboundRoute, NetworkMatch, ServerProtocol,
};
use causeway::model::matching::{Head, PathMatch, RequestMatch};
use causeway::model::{Peer, ResourceRef, ServerPolicy, WorkloadId};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use http::Request;
use ipnet::{IpNet, Ipv4Net};

fn decide(c: &mut Criterion) {
    let client = IpAddr::from([10, 1, 2, 3]);
    let Ok(id) = WorkloadId::service_account("web", "shop", "linkerd", "cluster.local") else { return };
    let peer = Peer::Identified(id.clone());
    let mut group = c.benchmark_group("authorize");
    for size in [1, 10, 1000] {
        let policy = policy(size, &id);
        for path in ["/orders/7", "/orders/%37"] {
            let Ok(req) = Request::get(path).body(()) else { return };
            group.bench_function(BenchmarkId::new(path, size), |b| {
                b.iter(|| black_box(authorize::http(&policy, client, &peer, &Head::of(black_box(&req)))))
            });
        }
        group.bench_function(BenchmarkId::new("tcp", size), |b| {
            b.iter(|| black_box(authorize::tcp(&policy, client, black_box(&peer))))
        });
    }
    group.finish();
}

/// `size` authorizations, of which only the last lets `id` in.
fn policy(size: usize, id: &WorkloadId) -> ServerPolicy {
    let everywhere = IpNet::V4(Ipv4Net::default());
    let authorizations: Vec<_> = (1..=size)
        .map(|n| {
            let wanted = if n == size {
                IdentityMatch::Exact(id.clone())
            } else {
                IdentityMatch::Suffix(vec![format!("other-{n}"), "cluster".into(), "local".into()])
            };
            Authorization {
                meta: ResourceRef::object("policy.linkerd.io", "authorizationpolicy", &n.to_string()),
                networks: vec![NetworkMatch { net: everywhere, except: Vec::new() }],
                authentication: Authentication::Identities(vec![wanted]),
            }
        })
        .collect();
    // Not every path's, so that what else a path may be read as counts too.
    let matched = RequestMatch { path: Some(PathMatch::Prefix("/orders".into())), ..RequestMatch::default() };
    let route = InboundRoute {
        rules: vec![vec![matched].into()],
        ..InboundRoute::everything(ResourceRef::default_named("default"), authorizations.clone())
    };
    let protocol = ServerProtocol::Detect { timeout: Duration::from_secs(10), routes: vec![route] };
    let meta = ResourceRef::default_named("bench");
    ServerPolicy { meta, protocol, authorizations, rate_limit: None }
}

criterion_group!(benches, decide);
criterion_main!(benches);
