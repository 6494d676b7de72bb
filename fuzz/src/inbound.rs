//! The whole inbound path in this process: a client that sends anything, the proxy's side, and an application that
//! writes down what reached it.
//!
//! The first byte of an input says how the rest is sent, the second where it is cut in two on its way.

mod app;
mod frames;
mod proxy;

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use causeway::net::Accepted;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::signal::unix::{SignalKind, signal};

use crate::strict::{self, Parsed, Request};
use app::Seen;
use proxy::Setting;

pub use proxy::CLIENT;

/// How an input is sent, by the bits of its first byte.
pub mod mode {
    /// In mutual TLS; otherwise in plaintext.
    pub const TLS: u8 = 1;
    /// The input is a list of frames: sent as HTTP/2, with a preface and right lengths.
    pub const FRAMES: u8 = 2;
}

/// What takes longer hangs.
const LIMIT: Duration = Duration::from_secs(20);

static WORLD: LazyLock<World> = LazyLock::new(World::new);

/// What all inputs share.
struct World {
    runtime: Runtime,
    setting: Setting,
    /// Where clients of the proxy end up.
    listener: TcpListener,
    /// Tasks that run while nothing is going on.
    idle: usize,
}

/// How one input went.
struct Outcome {
    seen: Vec<Seen>,
    /// Requests that the policy let in.
    permitted: u64,
}

/// Sends one input and checks what reached the application.
pub fn run(input: &[u8]) {
    let [mode, cut, bytes @ ..] = input else { return };
    let (tls, framed) = (mode & mode::TLS != 0, mode & mode::FRAMES != 0);
    let bytes = if framed { frames::wire(bytes) } else { bytes.to_vec() };
    let world = &*WORLD;
    let outcome = world.runtime.block_on(async {
        let going = tokio::time::timeout(LIMIT, world.send(&bytes, usize::from(*cut), tls));
        going.await.expect("the proxy is done in time").expect("loopback works")
    });
    check(&outcome, tls);
    if !bytes.starts_with(b"PRI") {
        compare(&outcome.seen, &bytes);
    }
}

/// What must hold whatever was sent.
fn check(outcome: &Outcome, tls: bool) {
    let requests = outcome.seen.iter().filter(|seen| seen.begun().is_some()).count() as u64;
    assert!(requests <= outcome.permitted, "{requests} requests arrived, {} were let in", outcome.permitted);
    for seen in &outcome.seen {
        let request = match seen {
            Seen::Request(request) | Seen::Cut(Some(request)) => request,
            Seen::Cut(None) => continue,
            Seen::Malformed(what) => panic!("the application was sent {what}"),
        };
        let expected: &[&[u8]] = if tls { &[CLIENT.as_bytes()] } else { &[] };
        assert_eq!(request.all("l5d-client-id"), expected, "whom the application is told of: {request:?}");
        for once in ["host", "content-length", ":authority"] {
            assert!(request.all(once).len() <= 1, "{once}: {request:?}");
        }
        if let ([authority], [host]) = (&request.all(":authority")[..], &request.all("host")[..]) {
            assert!(authority.eq_ignore_ascii_case(host), "for whom? {request:?}");
        }
    }
}

/// What arrived is what a strict reader of the client's bytes sees, one for one and in order.
fn compare(seen: &[Seen], bytes: &[u8]) {
    let (mut at, mut sent) = (0, Vec::<Request>::new());
    let at_most = loop {
        // Blank lines before a request mean nothing.
        at += bytes[at..].iter().take_while(|byte| b"\r\n".contains(byte)).count();
        match strict::parse(&bytes[at..]) {
            Parsed::Request(request, took) => {
                at += took;
                sent.push(request);
            }
            Parsed::Partial(begun) => {
                sent.extend(begun);
                break "the end";
            }
            Parsed::Ambiguous(what) | Parsed::Malformed(what) => break what,
            // From here on only the general checks tell anything.
            Parsed::Unusual(_) => return,
        }
    };
    let mut expected = sent.iter();
    for request in seen.iter().filter_map(Seen::begun) {
        let found = expected.any(|sent| {
            // Other forms may be written otherwise and mean the same.
            let origin = sent.target.starts_with('/');
            sent.method == request.method
                && (!origin || sent.target == request.target)
                && sent.body.starts_with(&request.body)
        });
        assert!(found, "before {at_most}, {request:?} is not among {sent:?}");
    }
}

impl World {
    fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (setting, listener) = runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            // Writing to a client that hung up ends a process that does not say otherwise. Rust's own programs do, but
            // this one's start is the fuzzer's.
            signal(SignalKind::pipe()).expect("signals");
            (Setting::new(), listener)
        });
        let mut world = Self { runtime, setting, listener, idle: usize::MAX };
        world.idle = world.runtime.block_on(async {
            world.send(b"", 0, false).await.expect("loopback works");
            Handle::current().metrics().num_alive_tasks()
        });
        world
    }

    async fn send(&self, bytes: &[u8], cut: usize, tls: bool) -> io::Result<Outcome> {
        let app = app::start(self.setting.app());
        let (inbound, metrics) = self.setting.inbound();
        let (dialled, accepted) = tokio::join!(TcpStream::connect(self.addr()?), self.listener.accept());
        let (io, client) = accepted?;
        io.set_nodelay(true)?;
        let conn = Accepted { io, client, orig_dst: self.setting.target() };
        let serving = tokio::spawn(inbound.serve(conn));
        if tls {
            if let Ok(io) = self.setting.shake_hands(dialled?).await {
                talk(io, bytes, cut).await;
            }
        } else {
            talk(dialled?, bytes, cut).await;
        }
        serving.await.expect("the proxy does not panic");
        let seen = app.finish().await;
        self.settle().await;
        Ok(Outcome { seen, permitted: proxy::permitted(&metrics) })
    }

    /// Nothing outlives its connection.
    async fn settle(&self) {
        while Handle::current().metrics().num_alive_tasks() > self.idle {
            tokio::task::yield_now().await;
        }
    }

    fn addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Turns of the runtime without an answer after which none is to come: many more than one takes.
const QUIET: usize = 1000;

/// Sends everything in two pieces and hears the answers out, since who hangs up wants none. That the proxy hangs up is
/// its right.
async fn talk(io: impl AsyncRead + AsyncWrite, bytes: &[u8], cut: usize) {
    let (mut read, mut write) = tokio::io::split(io);
    let quiet = Cell::new(0);
    let (first, second) = bytes.split_at(cut.min(bytes.len()));
    let send = async {
        write.write_all(first).await?;
        write.flush().await?;
        tokio::task::yield_now().await;
        write.write_all(second).await?;
        write.flush().await?;
        quiet.set(0);
        while quiet.get() < QUIET {
            quiet.set(quiet.get() + 1);
            tokio::task::yield_now().await;
        }
        write.shutdown().await
    };
    let hear = async {
        let mut answer = [0; 4096];
        while let Ok(1..) = read.read(&mut answer).await {
            quiet.set(0);
        }
        quiet.set(QUIET);
    };
    let _ = tokio::join!(send, hear);
}

type Shared<T> = Arc<parking_lot::Mutex<T>>;
