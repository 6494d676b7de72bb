//! What one choice costs: pick and report, however many endpoints there are.

use std::hint::black_box;
use std::net::SocketAddr;

use causeway::balance::Balancer;
use causeway::model::outbound::Load;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

fn pick_and_report(c: &mut Criterion) {
    let mut group = c.benchmark_group("balance");
    for size in [10_u16, 100, 10_000] {
        // All ready, and one in ten: the second has to look further.
        for (state, every) in [("all ready", 1), ("a tenth ready", 10)] {
            let balancer = balancer(size, every);
            group.bench_function(BenchmarkId::new(state, size), |b| {
                b.iter(|| {
                    let mut pick = balancer.pick();
                    if let Some(pick) = &mut pick {
                        pick.responded();
                    }
                    black_box(pick)
                })
            });
        }
    }
    group.finish();
}

fn balancer(size: u16, ready_every: u16) -> Balancer<u16> {
    let balancer = Balancer::new(Load::default());
    balancer.add((1..=size).map(|n| {
        balancer.member(SocketAddr::from(([10, 0, 0, 1], n)), |readiness| {
            readiness.set(n % ready_every == 0);
            n
        })
    }));
    balancer
}

criterion_group!(benches, pick_and_report);
criterion_main!(benches);
