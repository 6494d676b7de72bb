//! What choosing a route costs: however many there are, and however they are written.

use std::hint::black_box;

use causeway::error::Reason;
use causeway::model::ResourceRef;
use causeway::model::matching::{Head, HostMatch, PathMatch, Pattern, RequestMatch};
use causeway::model::outbound::{Backend, BackendKind, Distribution, HttpRoute, HttpRoutes, HttpRule};
use causeway::outbound::route;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, criterion_group, criterion_main};
use http::Request;

const SIZES: [usize; 3] = [1, 20, 10_000];

/// A way to write routes, and the n-th that is written so.
type Kind = (&'static str, fn(usize) -> HttpRoute);

const KINDS: [Kind; 4] = [
    ("prefixes", |n| of(prefix(&format!("/other-{n}")))),
    ("hosts", |n| at(HostMatch::Exact(format!("other-{n}.example")))),
    ("patterns", |n| of(pattern(&format!("/[a-z]+/other-{n}")))),
    ("patterns that look far", dear),
];

/// The one that is taken stands last.
fn choose(c: &mut Criterion) {
    let mut group = c.benchmark_group("route");
    let req = get("http://bb.demo.svc.cluster.local:8080/orders/7?all=1");
    for size in SIZES {
        for (kind, other) in KINDS {
            let others = (1..size).map(other);
            let routes = others.chain([taken()]).collect::<Vec<_>>().into();
            measure(&mut group, BenchmarkId::new(kind, size), &routes, &req, Ok("taken"));
        }
    }
    // The longest names, of which all labels but the last are those of the host.
    let req = get(&format!("http://{}example/orders/7", "a.".repeat(120)));
    for size in SIZES {
        let labels = |n: usize| {
            let same = std::iter::repeat_n("a".to_owned(), 118);
            ["example".to_owned()].into_iter().chain(same).chain([format!("b{n}")]).collect()
        };
        let others = (1..size).map(|n| at(HostMatch::Suffix(labels(n))));
        let routes = others.chain([taken()]).collect::<Vec<_>>().into();
        measure(&mut group, BenchmarkId::new("hosts of a hundred labels", size), &routes, &req, Ok("taken"));
    }
    // The longest path that a pattern is asked about, and a policy that is made for it.
    let req = get(&format!("http://bb/{}", "a".repeat(16_000)));
    for size in SIZES {
        let routes = (0..size).map(dear).collect::<Vec<_>>().into();
        let refused = if size > 1_000 { Reason::RouteTooCostly } else { Reason::NoRoute };
        let id = BenchmarkId::new("patterns against a long path", size);
        measure(&mut group, id, &routes, &req, Err(refused));
    }
    group.finish();
}

/// The cost of a choice, which has to come out as expected: one that ends too early is cheap.
fn measure(
    group: &mut BenchmarkGroup<'_, WallTime>,
    id: BenchmarkId,
    routes: &HttpRoutes,
    req: &Request<()>,
    expected: Result<&str, Reason>,
) {
    let found = route::best(routes, &Head::of(req)).map(|best| best.route.meta.name());
    assert_eq!(found, expected);
    group.bench_function(id, |b| {
        b.iter(|| black_box(route::best(routes, &Head::of(black_box(req))).is_ok()));
    });
}

fn get(uri: &str) -> Request<()> {
    let Ok(req) = Request::get(uri).body(()) else { panic!("{uri}") };
    req
}

fn of(matched: RequestMatch) -> HttpRoute {
    let backend = Backend { meta: ResourceRef::default_named("bench"), kind: BackendKind::Fail };
    let rule = HttpRule::new(vec![matched], Distribution::FirstAvailable(vec![backend]));
    HttpRoute::new(ResourceRef::default_named("other"), vec![rule])
}

fn taken() -> HttpRoute {
    HttpRoute { meta: ResourceRef::default_named("taken"), ..of(prefix("/orders")) }
}

fn at(host: HostMatch) -> HttpRoute {
    HttpRoute { hosts: vec![host], ..of(RequestMatch::default()) }
}

fn prefix(path: &str) -> RequestMatch {
    RequestMatch { path: Some(PathMatch::Prefix(path.into())), ..RequestMatch::default() }
}

/// Of the kind that a backtracking engine never comes back from.
fn dear(n: usize) -> HttpRoute {
    of(pattern(&format!("(.*a.*)*b{n}")))
}

fn pattern(text: &str) -> RequestMatch {
    let Ok(pattern) = Pattern::new(text) else { panic!("{text}") };
    RequestMatch { path: Some(PathMatch::Regex(pattern)), ..RequestMatch::default() }
}

criterion_group!(benches, choose);
criterion_main!(benches);
