//! What each kind of client certificate costs the server's side of a handshake, accepted or refused.

use std::fs;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::{Duration, SystemTime};

use causeway::tls::testing::{Issued, San, TestCa, expect};
use causeway::tls::{CredentialStore, Offer, client, server};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};

const WEB: &str = "web.ns.serviceaccount.identity.linkerd.cluster.local";
const API: &str = "api.ns.serviceaccount.identity.linkerd.cluster.local";
const NAMES: &[San<'_>] = &[San::Dns(WEB)];
const DAY: Duration = Duration::from_secs(86_400);

struct Kind {
    what: &'static str,
    make: fn(&TestCa) -> Issued,
    /// Each client has one of its own, so that nothing is remembered.
    fresh: bool,
}

const KINDS: &[Kind] = &[
    Kind { what: "good, seen before", make: |ca| ca.leaf(NAMES), fresh: false },
    Kind { what: "good, not seen before", make: |ca| ca.leaf(NAMES), fresh: true },
    Kind { what: "another name", make: |ca| ca.leaf(&[San::Dns(API)]), fresh: true },
    Kind { what: "two names", make: |ca| ca.leaf(&[San::Dns(WEB), San::Dns(API)]), fresh: true },
    Kind { what: "a NUL in the name", make: |ca| ca.leaf(&[San::Dns("web.ns\0.evil.example")]), fresh: true },
    Kind { what: "a wildcard", make: |ca| ca.leaf(&[San::Dns("*.ns.example")]), fresh: true },
    Kind { what: "capital letters", make: |ca| ca.leaf(&[San::Dns("WEB.NS.EXAMPLE")]), fresh: true },
    Kind { what: "a trailing dot", make: |ca| ca.leaf(&[San::Dns("web.ns.example.")]), fresh: true },
    Kind { what: "common name alone", make: |ca| ca.common_name_leaf(WEB), fresh: true },
    Kind { what: "expired", make: |ca| ca.expired_leaf(NAMES), fresh: true },
    Kind {
        what: "not yet valid",
        make: |ca| ca.leaf_between(NAMES, SystemTime::now() + DAY, SystemTime::now() + 2 * DAY),
        fresh: true,
    },
    Kind { what: "another anchor of the same name", make: |_| TestCa::new("root").leaf(NAMES), fresh: true },
    Kind { what: "16 intermediates of one name", make: |ca| ca.leaf_among(NAMES, 15), fresh: true },
    Kind { what: "100 intermediates of one name", make: |ca| ca.leaf_among(NAMES, 99), fresh: true },
    Kind { what: "1,000 intermediates", make: |ca| ca.leaf_among(NAMES, 999), fresh: true },
];

pub(crate) fn measure(count: usize) -> anyhow::Result<()> {
    println!("processor time of the server for one handshake, means of {count}");
    for kind in KINDS {
        let (spent, accepted) = one(kind, count)?;
        let outcome = if accepted == count { "accepted" } else { "refused" };
        anyhow::ensure!(accepted == 0 || accepted == count, "{}: {accepted} of {count} accepted", kind.what);
        println!("{:<34} {outcome:<9} {:>7.0} us", kind.what, spent.as_secs_f64() * 1e6 / count as f64);
    }
    Ok(())
}

/// What this thread spent on so many handshakes, and how many of them succeeded.
fn one(kind: &Kind, count: usize) -> anyhow::Result<(Duration, usize)> {
    let ca = TestCa::new("root");
    let first = (kind.make)(&ca);
    let clients: Vec<_> = (0..count)
        .map(|_| {
            let store = ca.empty_store(WEB);
            let fresh = kind.fresh.then(|| (kind.make)(&ca));
            let Issued { leaf, intermediates, key, .. } = fresh.as_ref().unwrap_or(&first);
            store.force([leaf].into_iter().chain(intermediates).cloned().collect(), key);
            store
        })
        .collect();
    let (tell, addr) = mpsc::channel::<SocketAddr>();
    let asking = std::thread::spawn(move || {
        let addr = addr.recv()?;
        runtime()?.block_on(async {
            for store in clients {
                ask(&store, addr).await;
            }
        });
        anyhow::Ok(())
    });
    let server = ca.store(API);
    let served = runtime()?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        tell.send(listener.local_addr()?)?;
        let (began, mut accepted) = (thread_time()?, 0);
        for _ in 0..count {
            let (io, _) = listener.accept().await?;
            accepted += usize::from(server::accept(&server, io, false).await.is_ok());
        }
        anyhow::Ok((thread_time()? - began, accepted))
    });
    asking.join().map_err(|_| anyhow::anyhow!("the clients panicked"))??;
    served
}

async fn ask(store: &CredentialStore, addr: SocketAddr) {
    let Ok(io) = TcpStream::connect(addr).await else { return };
    if let Ok(connected) = client::connect(store, io, &expect(API), Offer::Nothing).await {
        let mut stream = connected.stream;
        let _ = stream.read(&mut [0]).await;
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// Time that this thread has had a processor.
fn thread_time() -> anyhow::Result<Duration> {
    let stat = fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds = stat.split_ascii_whitespace().next().unwrap_or_default().parse()?;
    Ok(Duration::from_nanos(nanoseconds))
}
