//! Local endpoints first: what stays, what spills when they lose half of what they can do, and what comes back.

use std::sync::Arc;
use std::time::Duration;

use causeway::model::Endpoint;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use crate::application::App;
use crate::endpoints::Endpoints;
use crate::load::{Load, Outcome};
use crate::pair::{BB, Pair};
use crate::policies::{add, balance, opaque};
use crate::sandbox::{Sandbox, within};
use crate::{ALONE, full, page, sum};

/// What an answer takes, once it is an endpoint's turn to work on it.
const SERVICE: Duration = Duration::from_millis(25);

/// Requests that an endpoint works on at a time: 240 a second.
const ABREAST: usize = 6;

/// Requests a second: three quarters of what two endpoints can do.
const RATE: u32 = 360;

/// Local endpoints; as many are remote.
const LOCAL: usize = 2;

/// Requests as the endpoints saw them: when, and whether locally.
type Seen = Arc<Mutex<Vec<(Instant, bool)>>>;

fn labelled(endpoint: Endpoint, zone_locality: &str) -> Endpoint {
    let labels = Arc::new([("zone_locality".to_owned(), zone_locality.to_owned())].into());
    Endpoint { labels, ..endpoint }
}

/// Local endpoints of limited capacity, which what is returned can take from, and remote ones that are never busy.
async fn zones(seen: &Seen) -> (Endpoints, Arc<[Semaphore; LOCAL]>) {
    let capacity = Arc::new([(); LOCAL].map(|()| Semaphore::new(ABREAST)));
    let (seen, shared) = (seen.clone(), capacity.clone());
    let endpoints = Endpoints::new(move |number, _| {
        seen.lock().push((Instant::now(), number < LOCAL));
        let capacity = shared.clone();
        async move {
            let _turn = match capacity.get(number) {
                Some(local) => Some(local.acquire().await.unwrap()),
                None => None,
            };
            sleep(SERVICE).await;
        }
    });
    (endpoints.await, capacity)
}

/// Per cent of local requests in each half second from `start` on.
fn shares(seen: &Seen, start: Instant) -> Vec<usize> {
    let mut windows: Vec<[usize; 2]> = Vec::new();
    for (at, local) in seen.lock().iter().filter(|(at, _)| *at >= start) {
        let window = (at.duration_since(start).as_millis() / 500) as usize;
        windows.resize(windows.len().max(window + 1), [0; 2]);
        windows[window][usize::from(*local)] += 1;
    }
    windows.iter().map(|[far, near]| near * 100 / (near + far).max(1)).collect()
}

/// How often a series turns, passing over what is less than a fifth of all requests.
fn turns(shares: &[usize]) -> usize {
    let (mut turns, mut rising, mut from) = (0, None, shares[0]);
    for share in shares {
        let rises = *share > from;
        if share.abs_diff(from) < 20 {
            continue;
        }
        turns += usize::from(rising.is_some_and(|before| before != rises));
        (rising, from) = (Some(rises), *share);
    }
    turns
}

#[test]
fn turns_are_changes_of_direction() {
    assert_eq!(turns(&[100, 95, 100, 90]), 0);
    assert_eq!(turns(&[100, 60, 50, 55, 45]), 0);
    assert_eq!(turns(&[100, 20, 60, 60]), 1);
    assert_eq!(turns(&[100, 50, 100, 50]), 2);
}

#[tokio::test]
async fn local_endpoints_serve_what_they_can_and_only_the_rest_spills() {
    let _alone = ALONE.lock().await;
    let band = [("CAUSEWAY_LOCAL_FIRST_REQUESTS", "8-12")];
    let pair = Pair::with(Sandbox::new().await, &band, &[]).await;
    let seen = Seen::default();
    let (endpoints, capacity) = zones(&seen).await;
    let place = |n| labelled(endpoints.endpoint(n), if n < LOCAL { "local" } else { "Remote" });
    pair.world.script().endpoints(BB, &add((0..2 * LOCAL).map(place).collect()));
    let load = Load::new(&pair, Instant::now()).await;
    let (nominal, halved, restored) = if full() { (20, 20, 20) } else { (3, 5, 3) };
    load.run(RATE, Duration::from_secs(1)).await;

    seen.lock().clear();
    let Outcome { answered, failed } = load.run(RATE, Duration::from_secs(nominal)).await;
    let local = seen.lock().iter().filter(|(_, local)| *local).count();
    println!("nominal: {answered} answered, {failed} failed, {local} local");
    assert_eq!(failed, 0);
    // A moment without a processor is a burst, of which a short run has few requests to make up for.
    let (at_least, soon, most) = if full() { (99, 1, 90) } else { (95, 2, 75) };
    assert!(local * 100 >= at_least * answered, "{local} of {answered} are local");

    capacity.iter().for_each(|local| assert_eq!(local.forget_permits(ABREAST / 2), ABREAST / 2));
    let (half, before) = (Instant::now(), page(pair.web.admin).await);
    let Outcome { answered, failed } = load.run(RATE, Duration::from_secs(halved)).await;
    let first = seen.lock().iter().find(|(at, local)| *at >= half && !local).map(|(at, _)| *at);
    let spilled_after = first.unwrap().duration_since(half);
    let series = shares(&seen, half);
    println!(
        "halved: {answered} answered, {failed} failed, spill after {spilled_after:.0?}, local {series:?} %"
    );
    assert!(failed * 1000 <= answered, "{failed} of {} failed", answered + failed);
    assert!(spilled_after <= Duration::from_secs(soon), "{spilled_after:?}");
    assert!(series[1..series.len() - 1].iter().all(|share| (35..95).contains(share)), "{series:?}");
    assert!(turns(&series) <= 1, "{series:?}");
    let after = page(pair.web.admin).await;
    let changes = |page: &str| sum(page, "causeway_outbound_http_local_first_changes_total", "");
    assert!(changes(&after) - changes(&before) <= 1);

    capacity.iter().for_each(|local| local.add_permits(ABREAST / 2));
    sleep(Duration::from_millis(200)).await;
    let whole = Instant::now();
    let Outcome { answered, failed } = load.run(RATE, Duration::from_secs(restored)).await;
    let series = shares(&seen, whole);
    println!("restored: {answered} answered, {failed} failed, local {series:?} %");
    assert_eq!(failed, 0);
    assert!(series[1..].iter().all(|share| *share >= most), "{series:?}");
}

#[tokio::test]
async fn connections_go_to_local_endpoints_and_beyond_the_band_elsewhere() {
    let _alone = ALONE.lock().await;
    let band = [("CAUSEWAY_LOCAL_FIRST_CONNECTIONS", "4-8")];
    let pair = Pair::with(Sandbox::new().await, &band, &[]).await;
    let (near, far) = (App::echo(&pair.bb).await, App::echo(&pair.bb).await);
    let all = [(&near, "local"), (&far, "remote")];
    let place = |(app, place): (&App, &str)| labelled(pair.bb.endpoint(app.addr), place);
    pair.world.script().endpoints(BB, &add(all.map(place).to_vec()));
    pair.world.script().policy(pair.service, &opaque(balance(BB)));
    let mut held = Vec::new();
    let mut open = async |count: usize| {
        for _ in 0..count {
            let mut io = pair.web.connect(pair.service).await;
            io.write_all(b"x").await.unwrap();
            within("an echo", io.read_u8()).await.unwrap();
            held.push(io);
            sleep(Duration::from_millis(25)).await;
        }
    };
    open(7).await;
    assert_eq!((near.connections(), far.connections()), (7, 0));
    open(23).await;
    let counts = (near.connections(), far.connections());
    assert!((8..20).contains(&counts.0) && counts.1 > 8, "{counts:?}");
    let page = page(pair.web.admin).await;
    assert_eq!(sum(&page, "causeway_outbound_tcp_local_first_spilling", ""), 1);
}
