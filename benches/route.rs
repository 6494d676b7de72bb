//! What choosing a route costs: however many there are, and however they are written.

use std::hint::black_box;

use causeway::model::ResourceRef;
use causeway::model::matching::{Head, HostMatch, PathMatch, Pattern, RequestMatch};
use causeway::model::outbound::{Backend, BackendKind, Distribution, HttpRoute, HttpRoutes, HttpRule};
use causeway::outbound::route;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use http::Request;

const SIZES: [usize; 3] = [1, 20, 10_000];

/// A way to write routes, and the n-th that is written so.
type Kind = (&'static str, fn(usize) -> HttpRoute);

/// The one that is taken stands last.
fn choose(c: &mut Criterion) {
    let mut group = c.benchmark_group("route");
    let Ok(req) = Request::get("http://bb.demo.svc.cluster.local:8080/orders/7?all=1").body(()) else {
        return;
    };
    for size in SIZES {
        let kinds: [Kind; 4] = [
            ("prefixes", |n| of(prefix(&format!("/other-{n}")))),
            ("hosts", |n| HttpRoute {
                hosts: vec![HostMatch::Exact(format!("other-{n}.example"))],
                ..of(anything())
            }),
            ("patterns", |n| of(pattern(&format!("/[a-z]+/other-{n}")))),
            ("patterns that look far", |n| of(pattern(&format!("(.*a.*)*b{n}")))),
        ];
        for (kind, other) in kinds {
            let others = (1..size).map(other);
            let routes = HttpRoutes::from(others.chain([of(prefix("/orders"))]).collect::<Vec<_>>());
            group.bench_function(BenchmarkId::new(kind, size), |b| {
                b.iter(|| black_box(route::best(&routes, &Head::of(black_box(&req))).is_ok()))
            });
        }
    }
    // The longest path that a pattern is asked about, and a policy that is made for it.
    let long = format!("http://bb/{}", "a".repeat(16_000));
    let Ok(req) = Request::get(long).body(()) else { return };
    for size in SIZES {
        let others = (0..size).map(|n| of(pattern(&format!("(.*a.*)*b{n}"))));
        let routes = HttpRoutes::from(others.collect::<Vec<_>>());
        group.bench_function(BenchmarkId::new("patterns against a long path", size), |b| {
            b.iter(|| black_box(route::best(&routes, &Head::of(black_box(&req))).is_ok()))
        });
    }
    group.finish();
}

fn of(matched: RequestMatch) -> HttpRoute {
    let backend = Backend { meta: ResourceRef::default_named("bench"), kind: BackendKind::Fail };
    let rule = HttpRule::new(vec![matched], Distribution::FirstAvailable(vec![backend]));
    HttpRoute::new(ResourceRef::default_named("bench"), vec![rule])
}

fn anything() -> RequestMatch {
    RequestMatch::default()
}

fn prefix(path: &str) -> RequestMatch {
    RequestMatch { path: Some(PathMatch::Prefix(path.into())), ..RequestMatch::default() }
}

fn pattern(text: &str) -> RequestMatch {
    RequestMatch { path: Pattern::new(text).ok().map(PathMatch::Regex), ..RequestMatch::default() }
}

criterion_group!(benches, choose);
criterion_main!(benches);
