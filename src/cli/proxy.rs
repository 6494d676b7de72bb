//! `causeway proxy`: the sidecar, configured by its environment alone (contract 1.3).

use std::process::ExitCode;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::info;

use crate::app::{Proxy, StartError, Surroundings};
use crate::config::{Config, LogFormat};
use crate::telemetry::log;

/// Bad configuration (contract 1.1).
const BAD_CONFIGURATION: u8 = 64;

/// How a proxy that ran came to its end.
enum End {
    /// Its connections had finished, or the grace period was over.
    Drained,
    /// It was told a second time. The exit code is what a shell gives for the signal.
    Insisted(u8),
}

/// Runs the proxy until it is told to end. Exit code 0 after a drain, 64 for a bad configuration,
/// 1 where it could not start, 143 and 130 for a second SIGTERM and SIGINT.
pub fn run() -> ExitCode {
    let config = match Config::from_process() {
        Ok(config) => config,
        Err(errors) => {
            eprintln!("{errors}");
            return ExitCode::from(BAD_CONFIGURATION);
        }
    };
    let format = match config.log.format {
        LogFormat::Plain => log::Format::Plain,
        LogFormat::Json => log::Format::Json,
    };
    let log = match log::init(&config.log.filter, format) {
        Ok(log) => log,
        Err(error) => {
            eprintln!("LINKERD2_PROXY_LOG: {error}");
            return ExitCode::from(BAD_CONFIGURATION);
        }
    };
    let workers = config.runtime.workers(num_cpus::get());
    let ran = runtime(workers)
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(serve(config, log, workers)));
    match ran {
        Ok(End::Drained) => ExitCode::SUCCESS,
        Ok(End::Insisted(signal)) => ExitCode::from(signal),
        Err(error) => {
            tracing::error!("cannot start: {error:#}");
            eprintln!("causeway proxy: cannot start: {error:#}");
            match error.downcast_ref() {
                Some(StartError::Documents(_)) => ExitCode::from(BAD_CONFIGURATION),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn runtime(workers: usize) -> std::io::Result<Runtime> {
    let mut builder = if workers == 1 { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    builder.worker_threads(workers).max_blocking_threads(workers).thread_name("proxy").enable_all().build()
}

async fn serve(config: Config, log: log::LogHandle, workers: usize) -> anyhow::Result<End> {
    for ignored in &config.ignored {
        tracing::warn!("ignored: {ignored}");
    }
    let proxy = Proxy::bind(config, log, &Surroundings::pod()).await?;
    info!(
        inbound = %proxy.inbound_addr()?,
        outbound = %proxy.outbound_addr()?,
        admin = %proxy.admin_addr(),
        workers,
        version = env!("CARGO_PKG_VERSION"),
        "listening; waiting for a certificate"
    );
    let mut signals = Signals::new()?;
    let shutdown = proxy.shutdown_token();
    let insisted = async move {
        signals.next().await;
        shutdown.cancel();
        signals.next().await
    };
    tokio::select! {
        ran = proxy.run() => Ok(ran.map(|()| End::Drained)?),
        signal = insisted => {
            tracing::warn!("told to end a second time; closing what is left");
            Ok(End::Insisted(signal))
        }
    }
}

/// SIGTERM and SIGINT: the first one drains (contract 7.3), the second one ends.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The exit code that the next signal would give a process that does not handle it.
    async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.terminate.recv() => 143,
            _ = self.interrupt.recv() => 130,
        }
    }
}
