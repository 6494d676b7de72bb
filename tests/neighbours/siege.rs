//! An attack, somebody who is served meanwhile, and what is left of it afterwards.

use std::fmt;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::app::HELLO;
use crate::world::{Side, World, full};

/// Memory is back within this.
const SETTLED: Duration = Duration::from_secs(30);
pub(crate) const SLACK: usize = 8 << 20;

/// An attack that the proxy must survive, and where it is counted: direction and reason.
pub(crate) struct Siege<'a> {
    pub(crate) name: &'a str,
    pub(crate) side: Side,
    pub(crate) counted: &'a [(&'a str, &'a str)],
    /// Whether the honest neighbour speaks HTTP/2, and so shares the connection to the application.
    pub(crate) http2: bool,
}

impl<'a> Siege<'a> {
    pub(crate) fn new(name: &'a str, side: Side, counted: &'a [(&'a str, &'a str)]) -> Self {
        Self { name, side, counted, http2: false }
    }

    pub(crate) fn over_http2(self) -> Self {
        Self { http2: true, ..self }
    }
}

/// What it did.
struct Outcome {
    before: Latencies,
    during: Latencies,
    memory: [usize; 3],
    settled: Duration,
}

/// In the order of their requests.
struct Latencies(Vec<Duration>);

/// Requests of which a high quantile is told by itself.
const WINDOW: usize = 500;

impl Siege<'_> {
    /// Runs the attack while a neighbour is served, and asserts what must hold.
    pub(crate) fn run(&self, world: &World, attack: impl Fn(&World) + Sync) {
        let faults = || self.counted.iter().map(|(d, r)| world.faults(d, r)).collect::<Vec<_>>();
        let counted = faults();
        let before = self.before(world, &attack);
        let memory = world.memory();
        let mut peak = memory;
        let during = self.served(world, || {
            go_on(&attack, world);
            peak = world.memory();
        });
        let ended = Instant::now();
        while world.memory() > memory + SLACK && ended.elapsed() < SETTLED {
            std::thread::sleep(Duration::from_millis(100));
        }
        let (settled, after) = (ended.elapsed(), world.memory());
        let outcome = Outcome { before, during, memory: [memory, peak, after], settled };
        let met: Vec<_> = faults().iter().zip(&counted).map(|(after, before)| after - before).collect();
        println!("{}: {outcome}; counted {met:?} of {:?}", self.name, self.counted);
        outcome.assert(self.name);
        assert!(
            !met.contains(&0),
            "{}: {:?} were counted {met:?} times\n{}",
            self.name,
            self.counted,
            world.said()
        );
    }
}

impl Outcome {
    fn assert(&self, name: &str) {
        let (before, during) = (self.before.quantile(0.99), self.during.quantile(0.99));
        assert!(during <= (before * 2).max(noise()), "{name}: p99 of {during:?}, and {before:?} before");
        let [memory, _, after] = self.memory;
        assert!(after <= memory + SLACK, "{name}: {after} bytes are held, and {memory} before");
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [before, peak, after] = self.memory.map(|bytes| bytes as f64 / f64::from(1 << 20));
        write!(
            f,
            "before {}, during {}; {before:.1} MiB before, {peak:.1} at its end, {after:.1} after {:.1} s",
            self.before,
            self.during,
            self.settled.as_secs_f64()
        )
    }
}

impl Latencies {
    /// The median over windows: what a moment's hiccup of the machine does to one of them says nothing of the attack.
    fn quantile(&self, q: f64) -> Duration {
        let mut windows: Vec<_> = self.0.chunks(WINDOW).map(|window| quantile(window, q)).collect();
        // The last one may be short.
        windows.truncate((self.0.len() / WINDOW).max(1));
        quantile(&windows, 0.5)
    }
}

fn quantile(durations: &[Duration], q: f64) -> Duration {
    let mut sorted = durations.to_vec();
    sorted.sort_unstable();
    sorted[((sorted.len() as f64 * q) as usize).min(sorted.len() - 1)]
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |q| self.quantile(q).as_secs_f64() * 1e3;
        let overall = quantile(&self.0, 0.99).as_secs_f64() * 1e3;
        write!(
            f,
            "p50 {:.2} p99 {:.2} ms (overall {overall:.2}, {} requests)",
            ms(0.5),
            ms(0.99),
            self.0.len()
        )
    }
}

impl Siege<'_> {
    /// What to compare with. In a whole run the same attack goes on meanwhile, against a decoy: what attackers cost
    /// everybody who shares a processor with them here is nobody's fault.
    fn before(&self, world: &World, attack: &(impl Fn(&World) + Sync)) -> Latencies {
        // Whatever the tests before have left is gone, and pools are warm.
        let calm = self.served(world, || std::thread::sleep(calm()));
        let Some(decoy) = world.decoy() else { return calm };
        println!("{}: at peace {calm}", self.name);
        self.served(world, || go_on(attack, &decoy))
    }

    /// The latencies of one neighbour, on one connection, while something goes on. Every request is answered.
    fn served(&self, world: &World, meanwhile: impl FnOnce()) -> Latencies {
        // An honest neighbour of the direct port would need a handshake: the inbound listener serves both.
        let io = world.connect(if self.side == Side::Outbound { self.side } else { Side::Inbound });
        let over = AtomicBool::new(false);
        let latencies = std::thread::scope(|scope| {
            let asking = scope.spawn(|| if self.http2 { ask_http2(io, &over) } else { ask(io, &over) });
            // Also where it panics: the scope waits for its threads.
            let ends = Ends(&over);
            meanwhile();
            drop(ends);
            asking.join().unwrap()
        });
        Latencies(latencies)
    }
}

struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn ask(mut io: TcpStream, over: &AtomicBool) -> Vec<Duration> {
    let mut latencies = Vec::new();
    while latencies.is_empty() || !over.load(Ordering::Relaxed) {
        let asked = Instant::now();
        io.write_all(b"GET / HTTP/1.1\r\nhost: neighbour\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(HELLO.as_bytes()) {
            let mut piece = [0; 1024];
            let n = io.read(&mut piece).expect("an honest neighbour is answered");
            assert!(n > 0, "an honest neighbour was cut off: {}", String::from_utf8_lossy(&answer));
            answer.extend(&piece[..n]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
        latencies.push(asked.elapsed());
        std::thread::sleep(Duration::from_millis(1));
    }
    latencies
}

fn ask_http2(io: TcpStream, over: &AtomicBool) -> Vec<Duration> {
    io.set_nonblocking(true).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let io = TokioIo::new(tokio::net::TcpStream::from_std(io).unwrap());
        let (mut sender, driver) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(driver);
        let mut latencies = Vec::new();
        while latencies.is_empty() || !over.load(Ordering::Relaxed) {
            let asked = Instant::now();
            let req = http::Request::get("http://neighbour/").body(Empty::<Bytes>::new()).unwrap();
            let answered = async {
                let rsp = sender.send_request(req).await.unwrap();
                assert_eq!(rsp.status(), 200, "{:?}", rsp.headers());
                rsp.into_body().collect().await
            };
            let answered = tokio::time::timeout(Duration::from_secs(20), answered).await;
            let body = answered.expect("an honest neighbour is answered").unwrap().to_bytes();
            assert_eq!(body, HELLO);
            latencies.push(asked.elapsed());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        latencies
    })
}

/// Attacks, in a whole run for as long as latencies need to be gathered.
fn go_on(attack: &(impl Fn(&World) + Sync), world: &World) {
    as_another_machine_would(|| {
        let began = Instant::now();
        attack(world);
        while began.elapsed() < calm() && full() {
            attack(world);
        }
    });
}

/// Attackers are neighbours on other machines: what they need of this one's processors must not be what is missing
/// where somebody is served.
pub(crate) fn as_another_machine_would<T: Send>(attack: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let attacker = scope.spawn(|| {
            step_back();
            attack()
        });
        attacker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Leaves the processors to the other threads.
pub(crate) fn step_back() {
    rustix::process::nice(19).unwrap();
}

/// How long latencies are gathered before an attack, and in a whole run at least during it. An ordinary run is judged by
/// [`noise`], and only warms up meanwhile.
fn calm() -> Duration {
    Duration::from_millis(if full() { 5_000 } else { 500 })
}

/// Latencies below this say nothing where application, honest neighbour and attackers share a processor; nor do higher
/// ones in an ordinary run, where neither the build is one for speed nor the machine quiet.
fn noise() -> Duration {
    Duration::from_millis(if full() { 2 } else { 1000 })
}

/// How long a flood goes on.
pub(crate) fn flood_time() -> Duration {
    Duration::from_secs(if full() { 10 } else { 2 })
}
