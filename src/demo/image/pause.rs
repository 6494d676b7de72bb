//! `pause`: a pod in which only the proxy works, as a gateway's is, still has a container.

use std::process::ExitCode;

/// Waits until asked to stop.
///
/// # Errors
/// When it cannot be asked.
pub async fn run() -> anyhow::Result<ExitCode> {
    super::slow_cooker::asked_to_stop().await?;
    Ok(ExitCode::SUCCESS)
}
