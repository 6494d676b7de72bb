//! `slow_cooker`: a steady trickle of requests, and a line of figures for every interval. The rate is kept even when
//! answers are late: requests that find no idle connection open one of their own.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{Method, Uri};
use parking_lot::Mutex;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at, timeout};
use tokio_util::sync::CancellationToken;

mod record;
mod report;
mod target;

pub use self::record::Record;
use self::report::Tally;
pub use self::report::{Report, Unreadable};
use self::target::{Answer, Target};

/// What the guide's manifest says to `slow_cooker`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Requests per second, for each of --concurrency.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    qps: u32,
    /// How many times --qps is sent.
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
    let records = std::env::var(record::ASKED_FOR).is_ok_and(|asked| asked == "true");
    let cooker = Arc::new(Cooker {
        target: Target::new(&args)?,
        timeout: args.timeout,
        tally: Mutex::default(),
        records,
    });
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
    let stop = CancellationToken::new();
    let senders = (0..args.concurrency).map(|_| send(&cooker, args.qps, &stop));
    let reports = async {
        let result = print_until_stopped(args.interval, asked, &cooker.tally).await;
        stop.cancel();
        result
    };
    let (started, _) = tokio::join!(reports, futures_util::future::join_all(senders));
    println!("{}", std::mem::take(&mut *cooker.tally.lock()).report(started?.elapsed()));
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

/// Starts requests at a steady rate, whether earlier ones have ended or not.
async fn send(cooker: &Arc<Cooker>, qps: u32, stop: &CancellationToken) {
    let mut ticks = interval(Duration::from_secs(1) / qps);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut sent = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            _ = ticks.tick() => drop(sent.spawn(cooker.clone().request())),
        }
        while sent.try_join_next().is_some() {}
    }
    // Not cut short: a request that was sent is counted.
    while sent.join_next().await.is_some() {}
}

struct Cooker {
    target: Target,
    timeout: Duration,
    tally: Mutex<Tally>,
    /// Whether each request is worth a line.
    records: bool,
}

impl Cooker {
    async fn request(self: Arc<Self>) {
        let (sent, started) = (SystemTime::now(), Instant::now());
        let outcome = timeout(self.timeout, self.target.request()).await;
        let took = started.elapsed();
        let outcome = match outcome {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(e)) => Err(format!("{e:#}")),
            Err(_) => Err("timed out".to_owned()),
        };
        match &outcome {
            Ok(answer) => self.tally.lock().answered(answer.status, took),
            Err(why) => {
                eprintln!("request failed: {why}");
                self.tally.lock().failed();
            }
        }
        if self.records {
            let record = Record::of(sent, took, outcome.as_ref().map_err(String::as_str));
            match serde_json::to_string(&record) {
                Ok(line) => println!("{line}"),
                Err(e) => eprintln!("cannot write a record: {e}"),
            }
        }
    }
}
