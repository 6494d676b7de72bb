//! What proxies log.

use std::io;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tracing::Dispatch;

use crate::sandbox::until;

/// What the proxies of this thread log, as long as it is held.
pub struct Log {
    lines: Arc<Mutex<Vec<u8>>>,
    _logging: tracing::subscriber::DefaultGuard,
}

#[derive(Clone)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    pub fn listen() -> Self {
        // Beside a second one: where there is but one, a thread without it would silence what it says first, for all.
        static SECOND: OnceLock<Dispatch> = OnceLock::new();
        SECOND.get_or_init(|| {
            tracing_subscriber::fmt()
                .with_max_level(tracing::Level::INFO)
                .with_writer(io::sink)
                .finish()
                .into()
        });
        let lines = Arc::<Mutex<Vec<u8>>>::default();
        let writer = Lines(lines.clone());
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_max_level(tracing::Level::INFO)
            .with_writer(move || writer.clone())
            .finish();
        Self { lines, _logging: tracing::subscriber::set_default(subscriber) }
    }

    /// The first line with all of these.
    pub async fn line(&self, parts: &[&str]) -> String {
        let find = || {
            let text = String::from_utf8_lossy(&self.lines.lock()).into_owned();
            text.lines().find(|line| parts.iter().all(|part| line.contains(part))).map(str::to_owned)
        };
        until(&format!("a line with {parts:?}"), async || find().is_some()).await;
        find().unwrap()
    }

    /// The latest line.
    pub fn last(&self) -> String {
        String::from_utf8_lossy(&self.lines.lock()).lines().last().unwrap_or_default().to_owned()
    }

    pub fn says(&self, text: &str) -> bool {
        String::from_utf8_lossy(&self.lines.lock()).contains(text)
    }
}
