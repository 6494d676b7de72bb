//! Endpoints that come and go a thousand times a second, under load.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep, sleep_until};

use crate::endpoints::Endpoints;
use crate::load::{Load, Outcome, SENT};
use crate::pair::{BB, Pair};
use crate::policies::{add, none, remove};
use crate::sandbox::{Sandbox, until};
use crate::{ALONE, full, page, sum};

/// Updates a second, each of one endpoint.
const UPDATES: u32 = 1_000;

/// Requests a second.
const RATE: u32 = 200;

/// Bytes that memory may have grown by.
const FLAT: u64 = 16 << 20;

/// When an endpoint was known to be gone: the page of metrics said so of its removal. Times are microseconds, as those
/// that requests carry.
#[derive(Clone, Copy, Debug)]
struct Gone {
    /// That of its removal among all removals.
    nth: u64,
    since: Option<u64>,
}

/// What endpoints and requests were told.
struct Book {
    began: Instant,
    /// By endpoint; `None` for one that is in the set, or coming.
    gone: Vec<Option<Gone>>,
    served: Vec<bool>,
    /// Endpoints that came back after they were known to be gone.
    away: usize,
    /// Requests that were sent when their endpoint was known to be gone.
    astray: Vec<(usize, u64, u64)>,
}

impl Book {
    fn served(&mut self, endpoint: usize, sent: u64) {
        self.served[endpoint] = true;
        if let Some(since) = self.gone[endpoint].and_then(|gone| gone.since)
            && sent > since
        {
            self.astray.push((endpoint, sent, since));
        }
    }

    /// So many removals have been applied.
    fn applied(&mut self, removals: u64) {
        let now = self.began.elapsed().as_micros() as u64;
        for gone in self.gone.iter_mut().flatten().filter(|gone| gone.nth <= removals) {
            gone.since.get_or_insert(now);
        }
    }
}

struct Churn {
    pair: Pair,
    endpoints: Endpoints,
    book: Arc<Mutex<Book>>,
    /// In the set.
    size: usize,
    /// Out of it, in the order in which they left.
    out: VecDeque<usize>,
    removals: u64,
}

impl Churn {
    /// A fifth as many stand by as are in the set: what was removed stays out for long enough to be missed.
    async fn new(size: usize) -> Self {
        let retain = [("LINKERD2_PROXY_METRICS_RETAIN_IDLE", "1s")];
        let pair = Pair::with(Sandbox::new().await, &retain, &[]).await;
        let all = size + size / 5;
        let (gone, served) = (vec![None; all], vec![false; all]);
        let book = Book { began: Instant::now(), gone, served, away: 0, astray: Vec::new() };
        let book = Arc::new(Mutex::new(book));
        let seen = book.clone();
        let endpoints = Endpoints::new(move |number, req| {
            let sent = req.headers()[SENT].to_str().unwrap().parse().unwrap();
            seen.lock().served(number, sent);
            async {}
        });
        let endpoints = endpoints.await;
        Self { pair, endpoints, book, size, out: (size..all).collect(), removals: 0 }
    }

    /// The set as it begins: so many, and no other.
    fn begin(&mut self, size: usize) {
        let script = self.pair.world.script();
        script.endpoints(BB, &none());
        script.change(BB, &add((0..size).map(|n| self.endpoints.endpoint(n)).collect()));
        self.out = (self.size..self.size + self.size / 5).collect();
        self.book.lock().gone.fill(None);
    }

    /// One endpoint leaves, or the one that left first comes back.
    fn update(&mut self, n: u32, next: &mut usize) {
        let script = self.pair.world.script();
        if n.is_multiple_of(2) {
            let mut book = self.book.lock();
            let all = book.gone.len();
            while self.out.contains(next) {
                *next = (*next + 1) % all;
            }
            self.removals += 1;
            book.gone[*next] = Some(Gone { nth: self.removals, since: None });
            self.out.push_back(*next);
            script.change(BB, &remove(self.endpoints.addr(*next)));
        } else if let Some(back) = self.out.pop_front() {
            let mut book = self.book.lock();
            let gone = book.gone[back].take();
            book.away += usize::from(gone.is_some_and(|gone| gone.since.is_some()));
            script.change(BB, &add(vec![self.endpoints.endpoint(back)]));
        }
    }

    /// Updates under load, for so long, and then none until the last of them is known to have been applied.
    async fn run(&mut self, load: &Arc<Load>, lasting: Duration) -> Outcome {
        let (sending, admin, book) = (load.clone(), self.pair.web.admin, self.book.clone());
        let sending = tokio::spawn(async move { sending.run(RATE, lasting + Duration::from_secs(1)).await });
        let looking = tokio::spawn(async move {
            loop {
                let removals = removals(&page(admin).await);
                book.lock().applied(removals);
                sleep(Duration::from_millis(100)).await;
            }
        });
        let (start, mut next) = (Instant::now(), 0);
        for n in 0.. {
            let due = start + Duration::from_secs(1) * n / UPDATES;
            if due >= start + lasting {
                break;
            }
            sleep_until(due).await;
            self.update(n, &mut next);
        }
        until("all removals", async || removals(&page(admin).await) == self.removals).await;
        println!("{} removals, the last applied after {:.1?}", self.removals, start.elapsed());
        let outcome = sending.await.unwrap();
        looking.abort();
        outcome
    }

    /// Bytes that are resident when one endpoint is left, and the series of the proxy.
    async fn footprint(&mut self) -> (u64, u64) {
        self.begin(1);
        until("connections to close", async || self.endpoints.open() <= 4).await;
        let series = async || sum(&page(self.pair.web.admin).await, "causeway_metrics_series", "");
        until("series to go", async || series().await < 200).await;
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        let resident = statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096;
        (resident, series().await)
    }
}

fn removals(page: &str) -> u64 {
    sum(page, "outbound_http_balancer_p2c_updates_total", "op=\"Remove\"")
}

#[tokio::test]
async fn no_request_goes_to_an_endpoint_that_is_known_to_be_gone_and_memory_stays() {
    let _alone = ALONE.lock().await;
    let (size, lasting) = if full() { (5_000, 30) } else { (1_000, 4) };
    let mut churn = Churn::new(size).await;
    let began = churn.book.lock().began;
    let load = Arc::new(Load::new(&churn.pair, began).await);
    churn.begin(size);
    // As long as what is measured: this process has the control plane as well, which remembers what it has said.
    churn.run(&load, Duration::from_secs(lasting)).await;
    let before = churn.footprint().await;

    churn.begin(size);
    let Outcome { answered, failed } = churn.run(&load, Duration::from_secs(lasting)).await;
    let (served, away, astray) = {
        let book = churn.book.lock();
        let served = book.served.iter().filter(|served| **served).count();
        (served, book.away, book.astray.clone())
    };
    let after = churn.footprint().await;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!(
        "{answered} answered, {failed} failed, by {served} endpoints; {away} times one was known to be gone"
    );
    println!("resident {:.1} → {:.1} MiB, series {} → {}", mib(before.0), mib(after.0), before.1, after.1);
    assert_eq!(astray, [], "endpoint, sent, gone since");
    assert_eq!(failed, 0);
    assert!(served > size / 10 && away > size / 10, "enough to have been seen");
    assert!(after.0.saturating_sub(before.0) < FLAT, "{before:?} {after:?}");
}
