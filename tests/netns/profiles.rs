//! A ServiceProfile in a folder, and what the proxies of that cluster make of it.

use std::io::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use tokio::time::Instant;

use crate::mesh::{self, DEADLINE, EAST, HTTP, Mesh, WEST, each_connection, plans, read_request, request};

const NAME: &str = "sink-target.mc-demo.svc.cluster.local";

const PROFILE: &str = "
apiVersion: linkerd.io/v1alpha2
kind: ServiceProfile
metadata: {name: sink-target.mc-demo.svc.cluster.local, namespace: mc-demo}
spec:
  routes:
  - name: again
    condition: {all: [{pathRegex: '/.*'}, {not: {method: DELETE}}]}
    isRetryable: true
  retryBudget: {retryRatio: 0.0, minRetriesPerSecond: 100, ttl: 10s}
";

/// An application that fails every other time. What it is sent.
fn serve(mesh: &Mesh) -> Receiver<String> {
    let (tx, seen) = mpsc::channel();
    let count = Arc::<AtomicUsize>::default();
    each_connection(mesh.pod("bb"), HTTP, move |mut stream| {
        while let Some(request) = read_request(&mut stream) {
            let status = if count.fetch_add(1, Ordering::Relaxed) % 2 == 0 { "503 Busy" } else { "200 OK" };
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
            if tx.send(request).is_err() || stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    });
    seen
}

/// What one request is answered, and how often the application sees it.
fn ask(mesh: &Mesh, sink: IpAddr, seen: &Receiver<String>) -> (bool, Vec<String>) {
    let answer = request(mesh.pod("slow-cooker"), sink, HTTP, "", "body");
    assert!(answer.starts_with("HTTP/1.1 200") || answer.starts_with("HTTP/1.1 503"), "{answer}");
    (answer.starts_with("HTTP/1.1 200"), seen.try_iter().collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_profile_of_a_mirror_has_its_requests_sent_again_across_clusters() {
    let Some(mesh) = Mesh::start().await else { return };
    let seen = serve(&mesh);
    let sink = mesh.service("west", "sink-target").await;
    for succeeds in [false, true] {
        let (success, sent) = ask(&mesh, sink, &seen);
        assert_eq!((success, sent.len()), (succeeds, 1), "{sent:?}");
    }
    let file = mesh.world.manifests("west").join("50-profile.yaml");
    std::fs::write(&file, PROFILE).unwrap();
    let began = Instant::now();
    // Each time the first attempt fails, and the second does not.
    let sent = loop {
        let (success, sent) = ask(&mesh, sink, &seen);
        if sent.len() == 2 {
            assert!(success);
            break sent;
        }
        // Two of these, so that the next begins with a failure again.
        ask(&mesh, sink, &seen);
        assert!(began.elapsed() < DEADLINE, "the profile is not heard of");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    for sent in sent {
        assert!(sent.ends_with("body"), "{sent}");
        assert!(
            sent.contains(&format!("l5d-dst-canonical: sink-target.mc-demo.svc.cluster.local:{HTTP}")),
            "{sent}"
        );
    }
    std::fs::remove_file(file).unwrap();
    let began = Instant::now();
    while ask(&mesh, sink, &seen).1.len() == 2 {
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

/// Each request of `west`, with this proxy, is sent twice: the first attempt fails, and the second does not.
async fn sent_again(proxy: Option<PathBuf>) {
    let west = [WEST, &[("50-profile.yaml", PROFILE)]].concat();
    let plans = plans(EAST, west.leak());
    let Some(mesh) = Mesh::of(&plans, |cluster| proxy.clone().filter(|_| cluster == "west")).await else {
        return;
    };
    let seen = serve(&mesh);
    let sink = mesh.service("west", "sink-target").await;
    for _ in 0..5 {
        let (success, sent) = ask(&mesh, sink, &seen);
        assert_eq!((success, sent.len()), (true, 2), "{sent:?}");
        for sent in sent {
            assert!(sent.ends_with("body"), "{sent}");
            assert!(sent.contains(&format!("l5d-dst-canonical: {NAME}:{HTTP}")), "{sent}");
        }
    }
}
