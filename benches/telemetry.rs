//! What one request pays for being counted, on each side, with the handles that its connection keeps.

use std::hint::black_box;
use std::sync::Arc;

use causeway::model::peer::NoServerTls;
use causeway::model::{Endpoint, Peer, ResourceRef};
use causeway::telemetry::labels::InboundTarget;
use causeway::telemetry::streams::{Spoken, Stream};
use causeway::telemetry::{Metrics, RETAIN_IDLE};
use criterion::{Criterion, criterion_group, criterion_main};
use http::{HeaderMap, StatusCode};
use tokio::time::Instant;

fn request(c: &mut Criterion) {
    let metrics = Metrics::new(RETAIN_IDLE);
    let mut group = c.benchmark_group("telemetry");
    for (name, body) in [("inbound", false), ("inbound, with a body", true)] {
        let (server, route) = (ResourceRef::object("g", "server", "s"), ResourceRef::default_named("r"));
        let Ok(id) = "web.ns.serviceaccount.identity.linkerd.cluster.local".parse() else { return };
        let peer = Peer::Identified(id);
        let at = InboundTarget { target: ([10, 0, 0, 1], 80).into(), server: &server, peer: &peer };
        let allow = metrics.authz.http_allow(&at, &route, &server);
        let requests = metrics.requests.inbound(&at, &route, &server);
        let by_route = metrics.streams.inbound(Spoken::Http, &server, 80, &route);
        let headers = HeaderMap::new();
        group.bench_function(name, |b| {
            b.iter(|| {
                allow.incr();
                let in_flight = requests.start(black_box(&headers));
                let mut stream = Stream::inbound(Spoken::Http, by_route.clone(), in_flight.since());
                let sent = stream.body(!body);
                sent.data(100);
                sent.end();
                stream.head(StatusCode::OK, &headers);
                let recorder = in_flight.response(StatusCode::OK, &headers);
                stream.data(1000);
                let now = Instant::now();
                recorder.end(None, now);
                stream.end(None, now);
            })
        });
    }
    let parent = ResourceRef::object("core", "Service", "web");
    let route = ResourceRef::default_named("http");
    let to = Endpoint::plain(([10, 0, 0, 1], 80).into());
    let requests = metrics.requests.outbound(None, &to, NoServerTls::NotProvidedByServiceDiscovery);
    let by_route = metrics.streams.outbound(Spoken::Http, &parent, &route, None);
    let by_backend = metrics.streams.backend(Spoken::Http, &parent, &route, &parent);
    let headers = HeaderMap::new();
    group.bench_function("outbound", |b| {
        b.iter(|| {
            let arrived = Instant::now();
            let (by_route, by_backend) = (Arc::clone(&by_route), Some(Arc::clone(&by_backend)));
            let mut stream = Stream::outbound(Spoken::Http, by_route, by_backend, arrived);
            drop(stream.body(true));
            let in_flight = requests.start(black_box(&headers));
            stream.head(StatusCode::OK, &headers);
            let recorder = in_flight.response(StatusCode::OK, &headers);
            stream.data(1000);
            let now = Instant::now();
            recorder.end(None, now);
            stream.end(None, now);
        })
    });
    group.finish();
}

criterion_group!(benches, request);
criterion_main!(benches);
