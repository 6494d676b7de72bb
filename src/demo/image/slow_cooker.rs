//! `slow_cooker`: a steady trickle of requests, and a line of figures for every interval. The rate is kept even when
//! answers are late, up to what one connection at a time can carry.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at, timeout};
use tokio_util::sync::CancellationToken;

mod report;

use self::report::Tally;
pub use self::report::{Report, Unreadable};

/// What the guide's manifest says to `slow_cooker`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Requests per second of each connection.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    qps: u32,
    /// Connections.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    concurrency: u32,
    /// Time between two lines of figures.
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    interval: Duration,
    /// Longest wait for one answer.
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Method of every request.
    #[arg(long, default_value = "GET")]
    method: Method,
    /// Value of the host header, if not the URL's.
    #[arg(long)]
    host: Option<String>,
    /// Where the requests go: http://NAME[:PORT][/PATH].
    url: Uri,
}

/// First line of the output, printed when the first request is about to be sent.
pub const STARTED: &str = "# sending ";

/// Sends until asked to stop, then prints the figures of the last, unfinished interval. On SIGUSR1 it prints them at
/// once and goes on.
///
/// # Errors
/// When the URL is not one to send to.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let target = Target::new(&args)?;
    // Before the first line, so that who has seen it may send one.
    let asked = signal(SignalKind::user_defined1())?;
    println!(
        "{STARTED}{} {} req/s with concurrency={} to {}",
        args.qps.saturating_mul(args.concurrency),
        args.method,
        args.concurrency,
        args.url
    );
    println!("{}", report::HEADER);
    let tally = Mutex::new(Tally::default());
    let stop = CancellationToken::new();
    let workers =
        futures_util::future::join_all((0..args.concurrency).map(|_| work(&args, &target, &tally, &stop)));
    let reports = async {
        let result = print_until_stopped(args.interval, asked, &tally).await;
        stop.cancel();
        result
    };
    let (started, _) = tokio::join!(reports, workers);
    println!("{}", std::mem::take(&mut *tally.lock()).report(started?.elapsed()));
    Ok(ExitCode::SUCCESS)
}

/// Waits for SIGTERM or SIGINT.
///
/// # Errors
/// When the handlers cannot be installed.
pub(super) async fn asked_to_stop() -> std::io::Result<()> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    Ok(())
}

/// Prints a line per interval; gives the start of the unfinished one.
async fn print_until_stopped(
    every: Duration,
    mut asked: Signal,
    tally: &Mutex<Tally>,
) -> std::io::Result<Instant> {
    let mut stopped = std::pin::pin!(asked_to_stop());
    let mut started = Instant::now();
    let mut ticks = interval_at(started + every, every);
    loop {
        tokio::select! {
            signal = &mut stopped => return signal.map(|()| started),
            _ = ticks.tick() => {}
            _ = asked.recv() => {}
        }
        let (finished, now) = (std::mem::take(&mut *tally.lock()), Instant::now());
        println!("{}", finished.report(now - started));
        started = now;
    }
}

/// One connection's worth of requests, one at a time.
async fn work(args: &Args, target: &Target, tally: &Mutex<Tally>, stop: &CancellationToken) {
    let mut ticks = interval(Duration::from_secs(1) / args.qps);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut connection = None;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let started = Instant::now();
        // Not cut short by `stop`: a request that was sent is counted.
        let outcome = timeout(args.timeout, target.request(&mut connection)).await;
        match outcome {
            Ok(Ok(status)) => tally.lock().answered(status, started.elapsed()),
            Ok(Err(e)) => failed(tally, &mut connection, &format!("{e:#}")),
            Err(_) => failed(tally, &mut connection, "timed out"),
        }
    }
}

fn failed(tally: &Mutex<Tally>, connection: &mut Option<Connection>, why: &str) {
    *connection = None;
    eprintln!("request failed: {why}");
    tally.lock().failed();
}

struct Target {
    method: Method,
    /// As in the URL, for connecting.
    name: String,
    port: u16,
    host: String,
    path: String,
}

type Connection = SendRequest<Empty<Bytes>>;

impl Target {
    fn new(args: &Args) -> anyhow::Result<Self> {
        let url = &args.url;
        if url.scheme_str() != Some("http") {
            bail!("{url}: expected http://NAME[:PORT][/PATH]");
        }
        let authority = url.authority().with_context(|| format!("{url}: no host name"))?;
        Ok(Self {
            method: args.method.clone(),
            name: authority.host().to_owned(),
            port: authority.port_u16().unwrap_or(80),
            host: args.host.clone().unwrap_or_else(|| authority.to_string()),
            path: url.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        })
    }

    /// Sends one request on the kept connection, or a new one, and reads the whole answer.
    async fn request(&self, connection: &mut Option<Connection>) -> anyhow::Result<StatusCode> {
        let mut kept = connection.take();
        let usable = match &mut kept {
            Some(sender) => sender.ready().await.is_ok(),
            None => false,
        };
        let mut sender = match kept {
            Some(sender) if usable => sender,
            _ => self.connect().await?,
        };
        let req = Request::builder()
            .method(self.method.clone())
            .uri(self.path.as_str())
            .header(header::HOST, self.host.as_str())
            .body(Empty::new())?;
        let rsp = sender.send_request(req).await?;
        let status = rsp.status();
        let mut body = rsp.into_body();
        while let Some(frame) = body.frame().await {
            frame?;
        }
        *connection = Some(sender);
        Ok(status)
    }

    async fn connect(&self) -> anyhow::Result<Connection> {
        let stream = TcpStream::connect((self.name.as_str(), self.port))
            .await
            .with_context(|| format!("cannot connect to {}:{}", self.name, self.port))?;
        stream.set_nodelay(true)?;
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
        // Ends with the connection, that is when the sender is dropped or the peer closes.
        drop(tokio::spawn(driver));
        Ok(sender)
    }
}
