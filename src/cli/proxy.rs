//! `causeway proxy`: the sidecar, configured by its environment alone (contract 1.3).

use std::process::ExitCode;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::app::{Proxy, Surroundings};
use crate::config::{Config, LogFormat};
use crate::telemetry::log;

/// Bad configuration (contract 1.1).
const BAD_CONFIGURATION: u8 = 64;

/// Runs the proxy until it is told to end. Exit code 0 after a drain, 64 for a bad configuration,
/// 1 where it could not start.
pub fn run() -> ExitCode {
    // A name that is not Unicode is not one of ours, and a value that is not is a mistake to report.
    let env = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    let config = match Config::from_env(&env) {
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
    let ran = runtime(&config)
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(serve(config, log)));
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("cannot start: {error:#}");
            eprintln!("causeway proxy: cannot start: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn runtime(config: &Config) -> std::io::Result<Runtime> {
    let available = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = config.runtime.workers(available);
    let mut builder = if workers == 1 { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    builder.worker_threads(workers).max_blocking_threads(workers).thread_name("proxy").enable_all().build()
}

async fn serve(config: Config, log: log::LogHandle) -> anyhow::Result<()> {
    for ignored in &config.ignored {
        tracing::warn!("ignored: {ignored}");
    }
    let proxy = Proxy::bind(config, log, &Surroundings::pod()).await?;
    info!(
        inbound = %proxy.inbound_addr()?,
        outbound = %proxy.outbound_addr()?,
        admin = %proxy.admin_addr(),
        version = env!("CARGO_PKG_VERSION"),
        "listening; waiting for a certificate"
    );
    end_on_signal(proxy.shutdown_token())?;
    Ok(proxy.run().await?)
}

/// SIGTERM and SIGINT both drain (contract 7.3).
fn end_on_signal(shutdown: CancellationToken) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        shutdown.cancel();
    });
    Ok(())
}
