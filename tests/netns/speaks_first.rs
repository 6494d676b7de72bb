//! A server that speaks first, on a port of which nothing is declared: beside it HTTP, others that speak first
//! themselves, and silence.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use causeway::demo::namespace::Namespace;
use causeway::demo::node::{self, ADMIN};
use tokio::time::Instant;

use crate::mesh::{DEADLINE, HTTP, Mesh, dial, each_connection};

/// As MySQL's handshake begins: a length, a number, a version.
const GREETING: &[u8] = b"\x4a\0\0\0\x0a8.0.36\0";

/// A greeting is here this soon after it was written, the client's silence included: one that other tests do not delay.
const SOON: Duration = Duration::from_millis(50);
/// Any greeting. Detection would take ten seconds.
const LATEST: Duration = Duration::from_secs(1);

/// Greetings, of each kind.
const ROUNDS: usize = 10;

/// Longer than the silence after which a server may speak.
const LATE: Duration = Duration::from_millis(120);

/// Greets at once, or waits for the client; answers HTTP, `PING` and, once it has greeted, anything.
struct Server {
    greets: Arc<AtomicBool>,
    greeted: mpsc::Receiver<Instant>,
}

impl Server {
    fn start(pod: &Namespace) -> Self {
        let (tx, greeted) = mpsc::channel();
        let greets = Arc::new(AtomicBool::new(true));
        let now = greets.clone();
        each_connection(pod, HTTP, move |mut stream| {
            if now.load(Ordering::Relaxed) {
                let _ = tx.send(Instant::now());
                let _ = stream.write_all(GREETING);
            }
            let mut buf = [0; 4096];
            while let Ok(n @ 1..) = stream.read(&mut buf) {
                let answer: &[u8] = match &buf[..n] {
                    bytes if bytes.starts_with(b"GET ") => b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
                    b"PING\r\n" => b"+PONG\r\n",
                    bytes => bytes,
                };
                let _ = stream.write_all(answer);
            }
        });
        Self { greets, greeted }
    }

    /// How long the greeting of a new connection took, from the server's write to the client's read.
    fn greet(&self, mut client: TcpStream) -> Duration {
        let mut greeting = [0; GREETING.len()];
        client.read_exact(&mut greeting).unwrap();
        let here = Instant::now();
        assert_eq!(greeting, GREETING);
        client.write_all(b"login").unwrap();
        let mut back = [0; 5];
        client.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"login");
        here - self.greeted.try_iter().last().unwrap()
    }
}

/// Half of them come as soon as they should, and all of them soon.
fn greetings(server: &Server, kind: &str, connect: impl Fn() -> TcpStream) {
    let mut took: Vec<_> = (0..ROUNDS).map(|_| server.greet(connect())).collect();
    took.sort();
    let (median, longest) = (took[ROUNDS / 2], took[ROUNDS - 1]);
    eprintln!("greeting to {kind} clients: median {median:?}, longest {longest:?}");
    assert!(median <= SOON && longest <= LATEST, "{kind}: {took:?}");
}

fn get(mut client: TcpStream) {
    client.write_all(b"GET / HTTP/1.1\r\nhost: sink\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    let _ = client.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

fn ping(mut client: TcpStream) {
    client.write_all(b"PING\r\n").unwrap();
    let mut answer = [0; 7];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"+PONG\r\n");
}

/// Waits first, as a client with a full head would.
fn late(client: TcpStream) -> TcpStream {
    std::thread::sleep(LATE);
    client
}

/// What the server's proxy has let in: connections that are opaque, and requests.
async fn let_in(mesh: &Mesh) -> (u64, u64) {
    let admin = (mesh.pod_ip("bb"), ADMIN).into();
    let page = node::fetch(mesh.world.network().router(), admin, "/metrics", DEADLINE).await.unwrap();
    let page = String::from_utf8(page.to_vec()).unwrap();
    let count = |family: &str| {
        let port = format!("srv_port=\"{HTTP}\"");
        let lines = page.lines().filter(|l| l.starts_with(&format!("{family}{{")) && l.contains(&port));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    };
    (count("inbound_tcp_authz_allow_total"), count("inbound_http_authz_allow_total"))
}

/// What a client is to a server: one in the mesh, through a mirror, or one without a proxy.
async fn clients(mesh: &Mesh) -> [Box<dyn Fn() -> TcpStream + '_>; 2] {
    let (sink, bb): (IpAddr, IpAddr) = (mesh.service("west", "sink-target").await, mesh.pod_ip("bb"));
    let meshed = move || dial(mesh.pod("slow-cooker"), sink, HTTP);
    let unmeshed = move || dial(mesh.world.network().router(), bb, HTTP);
    [Box::new(meshed), Box::new(unmeshed)]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_greeting_is_there_at_once_and_nobody_else_notices() {
    let Some(mesh) = Mesh::start().await else { return };
    let server = Server::start(mesh.pod("bb"));
    for (connect, kind) in clients(&mesh).await.iter().zip(["meshed", "unmeshed"]) {
        server.greets.store(true, Ordering::Relaxed);
        let before = let_in(&mesh).await;
        greetings(&server, kind, connect);
        server.greets.store(false, Ordering::Relaxed);
        for slow in [false, true] {
            let client = || if slow { late(connect()) } else { connect() };
            get(client());
            ping(client());
        }
        drop(late(connect()));
        let (tcp, http) = let_in(&mesh).await;
        assert_eq!((tcp - before.0, http - before.1), (ROUNDS as u64 + 2, 2), "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_reference_one_connection_in_vain_is_the_last() {
    let Some(reference) = crate::mesh::reference() else { return };
    let Some(mesh) = Mesh::start_with(|cluster| (cluster == "east").then(|| reference.clone())).await else {
        return;
    };
    let server = Server::start(mesh.pod("bb"));
    let [connect, _] = clients(&mesh).await;
    greetings(&server, "the reference's", &*connect);
    server.greets.store(false, Ordering::Relaxed);
    get(connect());
    ping(connect());
    ping(late(connect()));
    let before = let_in(&mesh).await;
    assert_eq!(before, (ROUNDS as u64 + 2, 1));
    for _ in 0..3 {
        get(late(connect()));
    }
    let after = let_in(&mesh).await;
    assert_eq!((after.0 - before.0, after.1 - before.1), (1, 3));
}
