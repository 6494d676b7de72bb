//! Proxies that are told to end while requests pass: none that was accepted fails.

use std::net::SocketAddr;
use std::process::ExitStatus;
use std::time::Duration;

use causeway::demo::kubelet::PROXY;
use causeway::demo::world::Running;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::Instant;

use crate::idle::{deployment, service};
use crate::load::{Kind, Load, RATE, STUCK, Seen, Sender, Tally, serve};
use crate::mesh::{DEADLINE, Files, Mesh, plan};

const PORT: u16 = 9001;

/// As the pods' annotation says.
const GRACE: Duration = Duration::from_secs(4);

const EAST: Files = &[
    ("01-namespace.yaml", include_str!("../../examples/guide/east/01-namespace.yaml")),
    ("02-drained.yaml", deployment!("drained", 4)),
    ("03-service.yaml", service!("drained")),
    (
        "04-caller.yaml",
        deployment!("caller", 5, "annotations: {config.linkerd.io/shutdown-grace-period: 4s}"),
    ),
];

const KINDS: [Kind; 3] = [Kind::Http1, Kind::Http2, Kind::Grpc];

#[tokio::test(flavor = "multi_thread")]
async fn no_accepted_request_fails_when_either_proxy_is_told_to_end() {
    let Some(mut mesh) = Mesh::of(&[plan(EAST)], |_| None).await else { return };
    let seen = Seen::default();
    for (number, pod) in pods(&mesh, "drained").enumerate() {
        serve(pod.pod.namespace(), number, PORT, &seen);
    }
    let to = SocketAddr::from((mesh.service("east", "drained").await, PORT));
    for (number, kind) in KINDS.into_iter().enumerate() {
        receiver_ends(&mut mesh, &seen, to, number, kind).await;
    }
    for (number, kind) in KINDS.into_iter().enumerate() {
        sender_ends(&mut mesh, &seen, to, number, kind).await;
    }
    a_stuck_stream_ends_with_the_grace_period(&mut mesh, &seen, to).await;
    a_second_signal_ends_at_once(&mut mesh, &seen, to).await;
}

/// The first pod keeps asking while a proxy of another, which still is among the service's endpoints, ends.
async fn receiver_ends(mesh: &mut Mesh, seen: &Seen, to: SocketAddr, number: usize, kind: Kind) {
    let (load, proxy) = (Load::new(), pid(mesh, "drained", number));
    let from = pods(mesh, "caller").last().unwrap().pod.namespace();
    let before = seen.by(number);
    let (tally, took) = tokio::join!(load.run(from, to, kind), async {
        within("requests at the pod", async || seen.by(number) > before + 20).await;
        load.more(200).await;
        let took = end(proxy).await;
        load.more(300).await;
        load.end.cancel();
        took
    });
    report(&format!("{kind:?}, the receiver's proxy ends in {took:?}"), &tally, seen);
    assert_eq!(ended(mesh, "drained", number).code(), Some(0));
}

/// A pod keeps asking until its own proxy has ended.
async fn sender_ends(mesh: &mut Mesh, seen: &Seen, to: SocketAddr, number: usize, kind: Kind) {
    let (load, proxy) = (Load::new(), pid(mesh, "caller", number));
    let from = pods(mesh, "caller").nth(number).unwrap().pod.namespace();
    let (tally, took) = tokio::join!(load.run(from, to, kind), async {
        load.more(300).await;
        end(proxy).await
    });
    report(&format!("{kind:?}, the sender's proxy ends in {took:?}"), &tally, seen);
    assert_eq!(ended(mesh, "caller", number).code(), Some(0));
}

fn report(what: &str, tally: &Tally, seen: &Seen) {
    let (answered, failed) = (tally.answered.len(), tally.failed.len());
    eprintln!(
        "{what}: of {} requests, {RATE}/s, {answered} were answered, {failed} failed",
        answered + failed
    );
    assert!(tally.failed.is_empty(), "{what}: {:#?}", tally.failed);
    assert!(answered > 200, "{what}: {answered} answered");
    seen.assert_once(&tally.answered);
    for (id, _) in &tally.refused {
        assert_eq!(seen.times(*id), 0, "{what}: {id} was refused");
    }
}

async fn a_stuck_stream_ends_with_the_grace_period(mesh: &mut Mesh, seen: &Seen, to: SocketAddr) {
    let (_sender, proxy) = stuck(mesh, seen, to, 3).await;
    let took = end(proxy).await;
    eprintln!("a stuck stream, a grace period of {GRACE:?}: ended after {took:?}");
    assert!(took >= GRACE && took < GRACE + Duration::from_secs(3), "{took:?}");
    assert_eq!(ended(mesh, "caller", 3).code(), Some(0));
}

async fn a_second_signal_ends_at_once(mesh: &mut Mesh, seen: &Seen, to: SocketAddr) {
    let (_sender, proxy) = stuck(mesh, seen, to, 4).await;
    kill(proxy, Signal::SIGTERM).unwrap();
    let from = pods(mesh, "caller").nth(4).unwrap().pod.namespace();
    within("draining", async || Sender::connect(from, to, Kind::Http1).await.is_none()).await;
    let took = end(proxy).await;
    eprintln!("a stuck stream and a second SIGTERM: ended after {took:?}");
    assert!(took < GRACE / 2, "{took:?}");
    assert_eq!(ended(mesh, "caller", 4).code(), Some(143));
}

/// A stream that its application never answers, through the proxy of a calling pod.
async fn stuck(mesh: &Mesh, seen: &Seen, to: SocketAddr, number: usize) -> (Sender, Pid) {
    let before = seen.times(STUCK);
    let from = pods(mesh, "caller").nth(number).unwrap().pod.namespace();
    let mut sender = Sender::connect(from, to, Kind::Http2).await.unwrap();
    sender.stick(Kind::Http2);
    within("the request", async || seen.times(STUCK) > before).await;
    (sender, pid(mesh, "caller", number))
}

/// Sends SIGTERM, and waits for the end.
async fn end(proxy: Pid) -> Duration {
    let began = Instant::now();
    kill(proxy, Signal::SIGTERM).unwrap();
    within("the proxy's end", async || {
        // Whoever looks after the pod may reap it first.
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{proxy}/stat")) else { return true };
        stat.rsplit(')').next().unwrap().trim_start().starts_with('Z')
    })
    .await;
    began.elapsed()
}

fn pods<'a>(mesh: &'a Mesh, deployment: &'a str) -> impl Iterator<Item = &'a Running> {
    mesh.world.pods().iter().filter(move |running| running.listed.owner.name == deployment)
}

fn pid(mesh: &Mesh, deployment: &str, number: usize) -> Pid {
    let id = pods(mesh, deployment).nth(number).unwrap().pod.id(PROXY).unwrap();
    Pid::from_raw(id.cast_signed())
}

fn ended(mesh: &mut Mesh, deployment: &str, number: usize) -> ExitStatus {
    let mut pods = mesh.world.pods_mut().iter_mut().filter(|pod| pod.listed.owner.name == deployment);
    let pod = &mut pods.nth(number).unwrap().pod;
    // Its first thread has ended; the others may need a moment more.
    let began = Instant::now();
    let (container, status) = loop {
        match pod.ended() {
            Some(ended) => break ended,
            None => assert!(began.elapsed() < DEADLINE, "the proxy does not end"),
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert_eq!(container, PROXY);
    status
}

pub(crate) async fn within(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < 3 * DEADLINE, "{what}: not in time");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
