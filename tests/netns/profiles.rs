//! A ServiceProfile in a folder, and what the proxies of that cluster make of it.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use causeway::demo::node;
use tokio::time::Instant;

use crate::mesh::{self, DEADLINE, EAST, HTTP, Mesh, WEST, dial, each_connection, plans, read_request};

const NAME: &str = "sink-target.mc-demo.svc.cluster.local";

const PROFILE: &str = "
apiVersion: linkerd.io/v1alpha2
kind: ServiceProfile
metadata: {name: sink-target.mc-demo.svc.cluster.local, namespace: mc-demo}
spec:
  routes:
  - name: again
    condition: {all: [{pathRegex: '/(again|odd)'}, {not: {pathRegex: /odd}}]}
    isRetryable: true
  - {name: once, condition: {pathRegex: /once}}
  - {name: slow, condition: {any: [{pathRegex: /slow}]}, timeout: 300ms}
  - name: teapot
    condition: {method: POST, pathRegex: /teapot}
    isRetryable: true
    responseClasses: [{condition: {status: {min: 418, max: 418}}, isFailure: true}]
  - name: fine
    condition: {pathRegex: /fine}
    isRetryable: true
    responseClasses: [{condition: {status: {min: 500, max: 599}}, isFailure: false}]
  retryBudget: {retryRatio: 0.0, minRetriesPerSecond: 100, ttl: 10s}
";

/// An application that fails every other time, and to whom `/slow` takes long. What it is sent.
fn serve(mesh: &Mesh) -> Receiver<String> {
    let (tx, seen) = mpsc::channel();
    let count = Arc::<AtomicUsize>::default();
    each_connection(mesh.pod("bb"), HTTP, move |mut stream| {
        while let Some(request) = read_request(&mut stream) {
            let fails = count.fetch_add(1, Ordering::Relaxed) % 2 == 0;
            let (slow, teapot) = (request.contains(" /slow "), request.contains(" /teapot "));
            let status = if !fails {
                "200 OK"
            } else if teapot {
                "418 Teapot"
            } else {
                "503 Busy"
            };
            if tx.send(request).is_err() {
                return;
            }
            if slow {
                std::thread::sleep(Duration::from_secs(2));
            }
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    });
    seen
}

/// What one request is answered, and how often the application sees it.
fn ask(mesh: &Mesh, sink: IpAddr, path: &str, seen: &Receiver<String>) -> (u16, Vec<String>) {
    ask_for(mesh, sink, ("sink", path), seen)
}

/// The same, of this host.
fn ask_for(
    mesh: &Mesh,
    sink: IpAddr,
    (host, path): (&str, &str),
    seen: &Receiver<String>,
) -> (u16, Vec<String>) {
    let mut stream = dial(mesh.pod("slow-cooker"), sink, HTTP);
    let head = format!("POST {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: 4\r\n");
    write!(stream, "{head}\r\nbody").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("{path}: {answer:?}")), seen.try_iter().collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_profile_of_a_mirror_has_its_requests_sent_again_across_clusters() {
    let Some(mesh) = Mesh::start().await else { return };
    let seen = serve(&mesh);
    let sink = mesh.service("west", "sink-target").await;
    for status in [503, 200] {
        let (answered, sent) = ask(&mesh, sink, "/again", &seen);
        assert_eq!((answered, sent.len()), (status, 1), "{sent:?}");
    }
    let file = mesh.world.manifests("west").join("50-profile.yaml");
    std::fs::write(&file, PROFILE).unwrap();
    let began = Instant::now();
    // Each time the first attempt fails, and the second does not.
    let sent = loop {
        let (status, sent) = ask(&mesh, sink, "/again", &seen);
        if sent.len() == 2 {
            assert_eq!(status, 200);
            break sent;
        }
        // Two of these, so that the next begins with a failure again.
        ask(&mesh, sink, "/again", &seen);
        assert!(began.elapsed() < DEADLINE, "the profile is not heard of");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    for sent in sent {
        assert!(sent.ends_with("body"), "{sent}");
        assert!(sent.contains(&format!("l5d-dst-canonical: {NAME}:{HTTP}")), "{sent}");
    }
    std::fs::remove_file(file).unwrap();
    let began = Instant::now();
    while ask(&mesh, sink, "/again", &seen).1.len() == 2 {
        assert!(began.elapsed() < DEADLINE, "the profile stays");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_there_from_the_beginning_counts_from_the_first_request_on() {
    sent_again(None).await;
}

/// So that what is asked of ours is what the reference does, told by the same control plane. (That one does not take up
/// a profile's first word where it has connections.)
#[tokio::test(flavor = "multi_thread")]
async fn so_it_does_with_the_reference() {
    if let Some(reference) = mesh::reference() {
        sent_again(Some(reference)).await;
    }
}

/// What requests of `west`, with this proxy, are answered, and how often the application sees them.
async fn sent_again(proxy: Option<PathBuf>) {
    let west = [WEST, &[("50-profile.yaml", PROFILE)]].concat();
    let plans = plans(EAST, west.leak());
    let Some(mesh) = Mesh::of(&plans, |cluster| proxy.clone().filter(|_| cluster == "west")).await else {
        return;
    };
    let seen = serve(&mesh);
    let sink = mesh.service("west", "sink-target").await;
    // Of two attempts the first fails, of a single one whichever it is.
    for (path, status, attempts) in [
        ("/again", 200, 2),
        ("/teapot", 200, 2),
        ("/again", 200, 2),
        ("/fine", 503, 1),
        ("/fine", 200, 1),
        ("/once", 503, 1),
        ("/once", 200, 1),
        ("/odd", 503, 1),
        ("/slow", 504, 1),
    ] {
        let (answered, sent) = ask(&mesh, sink, path, &seen);
        assert_eq!((answered, sent.len()), (status, attempts), "{path}: {sent:?}");
        for sent in sent {
            assert!(sent.ends_with("body"), "{sent}");
            assert!(sent.contains(&format!("l5d-dst-canonical: {NAME}:{HTTP}")), "{sent}");
        }
    }
}

/// Of the Service in its own cluster, where its clients have none of the mirror.
const CALLED: &str = "
apiVersion: linkerd.io/v1alpha2
kind: ServiceProfile
metadata: {name: sink.mc-demo.svc.cluster.local, namespace: mc-demo}
spec:
  routes:
  - {name: plain, condition: {pathRegex: /plain}}
  - name: turned
    condition: {pathRegex: /turned}
    isRetryable: true
    timeout: 1ms
    responseClasses:
    - {condition: {status: {min: 200, max: 299}}, isFailure: true}
    - {condition: {status: {min: 500, max: 599}}, isFailure: false}
";

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_counted_where_they_arrive_by_the_profile_of_that_cluster() {
    counted(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_does_the_reference_count_them() {
    if let Some(reference) = mesh::reference() {
        counted(Some(reference)).await;
    }
}

/// What the pods of `east`, with this proxy, count.
async fn counted(proxy: Option<PathBuf>) {
    let east = [EAST, &[("50-profile.yaml", CALLED)]].concat();
    let plans = plans(east.leak(), WEST);
    let Some(mesh) = Mesh::of(&plans, |cluster| proxy.clone().filter(|_| cluster == "east")).await else {
        return;
    };
    let seen = serve(&mesh);
    let sink = mesh.service("west", "sink-target").await;
    let host = format!("sink.mc-demo.svc.cluster.local:{HTTP}");
    for (path, status) in
        [("/plain", 503), ("/plain", 200), ("/turned", 503), ("/turned", 200), ("/none", 503), ("/none", 200)]
    {
        let (answered, sent) = ask_for(&mesh, sink, (&host, path), &seen);
        assert_eq!((answered, sent.len()), (status, 1), "{path}: {sent:?}");
    }
    let of = |family: &str, route: &str, rest: &str| {
        format!("{family}{{direction=\"inbound\",dst=\"{host}\",rt_route=\"{route}\"{rest}}}")
    };
    let ended = |status: u16, class: &str| {
        format!(",status_code=\"{status}\",classification=\"{class}\",grpc_status=\"\",error=\"\"")
    };
    let mut wanted = vec![
        format!("{} 2", of("route_request_total", "plain", "")),
        format!("{} 2", of("route_request_total", "turned", "")),
        format!("{} 1", of("route_response_total", "plain", &ended(200, "success"))),
        format!("{} 1", of("route_response_total", "plain", &ended(503, "failure"))),
        format!("{} 1", of("route_response_total", "turned", &ended(200, "failure"))),
        format!("{} 1", of("route_response_total", "turned", &ended(503, "success"))),
    ];
    wanted.sort();
    let admin = SocketAddr::new(mesh.pod_ip("bb"), 4191);
    let began = Instant::now();
    loop {
        let page = node::fetch(mesh.world.network().router(), admin, "/metrics", DEADLINE).await.unwrap();
        let page = String::from_utf8(page.to_vec()).unwrap();
        let of_routes =
            |line: &&str| line.starts_with("route_") && line.contains("_total{direction=\"inbound\"");
        let mut counted: Vec<_> = page.lines().filter(of_routes).map(str::to_owned).collect();
        counted.sort();
        if counted == wanted {
            return;
        }
        assert!(began.elapsed() < DEADLINE, "{counted:#?}\nis not\n{wanted:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
