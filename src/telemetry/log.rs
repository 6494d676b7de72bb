//! What does the proxy log, and where does it go?
//!
//! To standard error, as plain lines or JSON, through a filter that can be replaced while running.
//! Filters are written for the reference (`warn,linkerd=info,…`): see [`directives`].
//!
//! Text from a peer belongs in fields, `?value` rather than `%value`: `Debug` keeps its quotes and shows
//! what is odd about it. Whatever the call site does, no control character reaches the output: a peer can
//! neither start a line of its own nor speak to the terminal.

mod directives;

use std::io::{self, Write};
use std::sync::Arc;

use parking_lot::Mutex;
use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, reload};

/// The filter when none is given, contract 1.3.
pub const DEFAULT_FILTER: &str = "warn,linkerd=info,hickory=error";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Plain,
    Json,
}

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("{filter:?} is not a log filter: expected directives such as warn,linkerd=info ({source})")]
    Filter { filter: String, source: tracing_subscriber::filter::ParseError },
    #[error("logging is off and stays off until restart")]
    Off,
    #[error("another subscriber is already installed")]
    Installed,
}

/// The running filter. Clones share it.
#[derive(Clone)]
pub struct LogHandle(Option<Arc<Running>>);

struct Running {
    typed: Mutex<String>,
    replace: Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>,
}

/// Starts logging for the whole process. With the filter `off` nothing is installed. Directives that
/// cannot be understood are left out, and said.
///
/// # Errors
/// Something else logs already.
pub fn init(filter: &str, format: Format) -> Result<LogHandle, LogError> {
    if filter.trim().eq_ignore_ascii_case("off") {
        return Ok(LogHandle::off());
    }
    let (parsed, ignored) = directives::parse_lossy(filter);
    let (subscriber, handle) = subscriber(filter, parsed, format, io::stderr);
    subscriber.try_init().map_err(|_| LogError::Installed)?;
    for directive in ignored {
        tracing::warn!(?directive, "ignored: expected a log directive such as linkerd=info");
    }
    Ok(handle)
}

/// What [`init`] installs, over any writer.
pub(crate) fn subscriber<W>(
    typed: &str,
    parsed: EnvFilter,
    format: Format,
    writer: W,
) -> (impl Subscriber + Send + Sync + use<W>, LogHandle)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (filtering, reloading) = reload::Layer::new(parsed);
    let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(Escaped(writer));
    let lines: Box<dyn Layer<_> + Send + Sync> = match format {
        Format::Plain => lines.boxed(),
        Format::Json => lines.json().boxed(),
    };
    let handle = LogHandle(Some(Arc::new(Running {
        typed: Mutex::new(typed.to_string()),
        replace: Box::new(move |filter| reloading.reload(filter)),
    })));
    (Registry::default().with(filtering).with(lines), handle)
}

impl LogHandle {
    /// Nothing is logged and no filter can be set.
    pub fn off() -> Self {
        Self(None)
    }

    /// The filter as it was typed; `None` when logging is off.
    pub fn filter(&self) -> Option<String> {
        Some(self.0.as_ref()?.typed.lock().clone())
    }

    /// Replaces the filter; an unreadable one leaves the old one in place.
    pub fn set(&self, filter: &str) -> Result<(), LogError> {
        let running = self.0.as_ref().ok_or(LogError::Off)?;
        let parsed = parse(filter)?;
        let mut typed = running.typed.lock();
        (running.replace)(parsed).map_err(|_| LogError::Off)?;
        *typed = filter.to_string();
        Ok(())
    }
}

pub(crate) fn parse(filter: &str) -> Result<EnvFilter, LogError> {
    directives::parse(filter).map_err(|source| LogError::Filter { filter: filter.to_string(), source })
}

/// A writer of whole events that lets no control character through but the line end.
struct Escaped<W>(W);

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for Escaped<W> {
    type Writer = Escaped<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        Escaped(self.0.make_writer())
    }

    fn make_writer_for(&'a self, meta: &tracing::Metadata<'_>) -> Self::Writer {
        Escaped(self.0.make_writer_for(meta))
    }
}

impl<W: Write> Write for Escaped<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let (line, end) = match event.strip_suffix(b"\n") {
            Some(line) => (line, "\n"),
            None => (event, ""),
        };
        let mut text = String::with_capacity(event.len());
        for c in String::from_utf8_lossy(line).chars() {
            match c {
                '\n' => text.push_str("\\n"),
                // The form that JSON knows too.
                c if c.is_control() => text.push_str(&format!("\\u{:04x}", u32::from(c))),
                c => text.push(c),
            }
        }
        self.0.write_all((text + end).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests;
