//! Pods: the files around a program, its user, its end.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use causeway::demo::apart::{Apart, PROXY_UID};
use causeway::demo::image::slow_cooker::{Report, STARTED};
use causeway::demo::network::Network;
use causeway::demo::pod::{Identity, Pod};
use causeway::demo::process::Program;
use nix::sys::signal::Signal;
use tokio::time::Instant;

use crate::world::{ALICE, BOB, World, connect, namespace};

#[test]
fn names_are_resolved_as_in_kubernetes() {
    let Some((_network, pods, _folder)) = pods() else { return };
    let resolv = pods[0].namespace().run(|| std::fs::read_to_string("/etc/resolv.conf")).unwrap().unwrap();
    assert_eq!(
        resolv,
        "nameserver 10.42.0.53\nsearch mc-demo.svc.cluster.local svc.cluster.local cluster.local\n\
         options ndots:5\n"
    );
    assert_ne!(std::fs::read_to_string("/etc/resolv.conf").unwrap(), resolv);
}

#[test]
fn the_guides_programs_talk_to_each_other() {
    let Some((_network, mut pods, _folder)) = pods() else { return };
    let [client, server] = &mut pods[..] else { unreachable!() };
    let text = ["terminus", "--h1-server-port=8080", "--response-text=hello\n"];
    server.start("terminus", image("bb").args(text)).unwrap();
    let answer = until(|| get(client, "/").filter(|answer| !answer.is_empty()));
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello\n"), "{answer}");

    let script = format!("sleep 0.1 # wait\n/slow_cooker/slow_cooker --qps 50 http://{BOB}:8080\n");
    client.start("slow-cooker", image("sh").args(["-c", &script])).unwrap();
    let log = |client: &Pod| std::fs::read_to_string(client.log("slow-cooker")).unwrap();
    until(|| log(client).contains(STARTED).then_some(()));
    let report = until(|| {
        client.signal("slow-cooker", Signal::SIGUSR1);
        Report::sum(&log(client)).ok().filter(|report| report.with(200) >= 10)
    });
    assert_eq!(report.total(), report.with(200));
    client.signal("slow-cooker", Signal::SIGTERM);
    let (_, status) = until(|| client.ended());
    assert!(status.success());
}

#[test]
fn a_program_runs_as_its_user_with_its_own_environment_alone() {
    let Some((_network, mut pods, _folder)) = pods() else { return };
    let program = image("bb").args(["terminus", "--h1-server-port=8080"]).env([("A", "b")]);
    let (program, uid) = match Apart::here() {
        Apart::ByUser => (program.uid(PROXY_UID), PROXY_UID),
        Apart::ByMark => {
            eprintln!("SKIPPED in part: a user namespace of one user has no other to run a program as");
            (program, 0)
        }
    };
    pods[1].start("bb", program).unwrap();
    until(|| get(&pods[0], "/"));
    // Other tests run servers of their own beside this one, with other arguments.
    let ours = |pid: &_| arguments(*pid).ends_with("bb\0terminus\0--h1-server-port=8080\0");
    let listener = children().into_iter().find(ours).unwrap();
    let status = std::fs::read_to_string(format!("/proc/{listener}/status")).unwrap();
    for kind in ["Uid", "Gid"] {
        let line = format!("{kind}:\t{uid}\t{uid}\t{uid}\t{uid}\n");
        assert!(status.contains(&line), "{line:?} in {status}");
    }
    assert!(uid == 0 || status.contains("Groups:\t \n"), "{status}");
    assert_eq!(std::fs::read(format!("/proc/{listener}/environ")).unwrap(), b"A=b\0");
}

#[test]
fn a_missing_program_says_so_in_its_log() {
    let Some((_network, mut pods, _folder)) = pods() else { return };
    let missing = Program::new(launcher(), Path::new("/no/such/program")).uid(2102);
    pods[0].start("missing", missing).unwrap();
    let (container, status) = until(|| pods[0].ended());
    assert_eq!(container, "missing");
    assert!(!status.success());
    assert!(pods[0].last_lines("missing").contains("/no/such/program"), "{}", pods[0].last_lines("missing"));
}

#[test]
fn programs_end_with_their_handle_and_with_their_namespace() {
    let Some(world) = World::new() else { return };
    let start = || image("bb").args(["terminus", "--h1-server-port=8080"]).start(&world.bob).unwrap();
    let process = start();
    connect_soon(&world);
    let pid = process.id();
    drop(process);
    assert!(!Path::new(&format!("/proc/{pid}")).exists());

    let Some(short_lived) = namespace("short-lived") else { return };
    let mut process = image("bb").args(["terminus", "--h1-server-port=8080"]).start(&short_lived).unwrap();
    // The signal is asked for before the launcher becomes the program.
    until(|| arguments(process.id()).starts_with("causeway\0demo\0image").then_some(()));
    drop(short_lived);
    until(|| process.ended());
}

fn connect_soon(world: &World) {
    let to = std::net::SocketAddr::from((BOB, 8080));
    until(|| world.alice.run(move || TcpStream::connect(to)).unwrap().ok());
    drop(connect(&world.alice, BOB, 8080));
}

/// Two pods, client and server.
fn pods() -> Option<(Network, Vec<Pod>, tempfile::TempDir)> {
    namespace("probe")?;
    let network = Network::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let pods = [("client", ALICE), ("server", BOB)].map(|(name, addr)| {
        let identity = Identity {
            title: format!("west/{name}"),
            name: name.to_owned(),
            namespace: "mc-demo".to_owned(),
            addr: addr.into(),
            nameserver: std::net::Ipv4Addr::new(10, 42, 0, 53).into(),
        };
        let folder = folder.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        Pod::new(&network, identity, folder).unwrap()
    });
    Some((network, pods.into(), folder))
}

fn image(program: &str) -> Program {
    Program::causeway(launcher()).args(["demo", "image", program])
}

fn launcher() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_causeway"))
}

/// One request from a pod to the server; `None` while nobody listens.
fn get(from: &Pod, path: &str) -> Option<String> {
    let to = std::net::SocketAddr::from((BOB, 8080));
    let mut stream = from.namespace().run(move || TcpStream::connect(to)).unwrap().ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: bb\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

fn children() -> Vec<u32> {
    let own = format!("PPid:\t{}\n", std::process::id());
    let pids = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    pids.filter(|pid: &u32| {
        std::fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| status.contains(&own))
    })
    .collect()
}

fn arguments(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default()
}

/// Looks again until there is something, for at most ten seconds.
fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "nothing after ten seconds");
        std::thread::sleep(Duration::from_millis(20));
    }
}
