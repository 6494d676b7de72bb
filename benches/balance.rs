//! What one choice costs: pick and report, however many endpoints there are. And one change of the set.

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;

use causeway::balance::{Balancer, Member};
use causeway::model::endpoint::Locality;
use causeway::model::outbound::{Load, LoadBand};
use causeway::telemetry::balancers::Use;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

const SIZES: [u16; 3] = [10, 100, 10_000];

fn pick_and_report(c: &mut Criterion) {
    let mut group = c.benchmark_group("balance");
    for size in SIZES {
        // All ready, and one in ten: the second has to look further.
        for (state, every) in [("all ready", 1), ("a tenth ready", 10)] {
            let balancer = balancer(size, every, None);
            group.bench_function(BenchmarkId::new(state, size), |b| b.iter(|| once(&balancer)));
        }
        let balancer = balancer(size, 1, Some(LoadBand { low: 4, high: 8 }));
        group.bench_function(BenchmarkId::new("local first", size), |b| b.iter(|| once(&balancer)));
    }
    group.finish();
}

fn once(balancer: &Balancer<u16>) {
    let mut pick = balancer.pick_for(Use::Http);
    if let Some(pick) = &mut pick {
        pick.responded();
    }
    black_box(pick);
}

/// One endpoint leaves and another comes, as two updates.
fn change(c: &mut Criterion) {
    let mut group = c.benchmark_group("balance");
    for size in SIZES {
        let balancer = balancer(size, 1, None);
        let mut turn = 0;
        group.bench_function(BenchmarkId::new("leave and come", size), |b| {
            b.iter(|| {
                turn = turn % size + 1;
                balancer.remove(&[addr(turn)]);
                balancer.add([member(&balancer, turn, 1)]);
            })
        });
    }
    group.finish();
}

fn addr(n: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], n))
}

/// Every second one is local.
fn member(balancer: &Balancer<u16>, n: u16, ready_every: u16) -> Arc<Member<u16>> {
    let locality = if n.is_multiple_of(2) { Locality::Local } else { Locality::Remote };
    balancer.member_at(addr(n), locality, |readiness| {
        readiness.set(n.is_multiple_of(ready_every));
        n
    })
}

fn balancer(size: u16, ready_every: u16, band: Option<LoadBand>) -> Balancer<u16> {
    let balancer = Balancer::local_first(Load::default(), [band, None, None]);
    balancer.add((1..=size).map(|n| member(&balancer, n, ready_every)));
    balancer
}

criterion_group!(benches, pick_and_report, change);
criterion_main!(benches);
