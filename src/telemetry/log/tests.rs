use tracing::{debug, info, warn};

use super::*;

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is written while `log` runs under `filter`.
fn written(filter: &str, format: Format, log: impl FnOnce(&LogHandle)) -> String {
    let captured = Captured::default();
    let writer = captured.clone();
    let (subscriber, handle) = subscriber(filter, format, move || writer.clone()).unwrap();
    tracing::subscriber::with_default(subscriber, || log(&handle));
    let bytes = captured.0.lock().clone();
    String::from_utf8(bytes).unwrap()
}

const INJECTED: &str = "warn,linkerd=info,hickory=error,[{headers}]=off,[{request}]=off";

#[test]
fn the_injected_filter_speaks_of_this_crate() {
    let text = written(INJECTED, Format::Plain, |handle| {
        info!("own");
        debug!("too detailed");
        info!(target: "h2", "foreign");
        warn!(target: "h2", "foreign warning");
        warn!(target: "hickory_resolver::x", "hickory warning");
        assert_eq!(handle.filter().as_deref(), Some(INJECTED), "as typed");
    });
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(text.contains("own") && text.contains("foreign warning"), "{text}");
}

#[test]
fn every_linkerd_directive_is_ours() {
    for (typed, own) in [
        ("linkerd=info", "causeway=info"),
        ("linkerd2_proxy=debug", "causeway=debug"),
        ("linkerd_app_core[x]=trace", "causeway[x]=trace"),
        ("linkerd", "causeway"),
        ("hickory=error", "hickory=error"),
        ("warn", "warn"),
    ] {
        assert_eq!(translated(typed), own);
    }
}

#[test]
fn a_filter_can_be_replaced_and_a_bad_one_changes_nothing() {
    let text = written("warn", Format::Plain, |handle| {
        info!("before");
        handle.set("linkerd=debug").unwrap();
        debug!("after");
        for bad in ["causeway=loud", "a=b=c", "[{headers=off"] {
            assert!(matches!(handle.set(bad), Err(LogError::Filter { .. })), "{bad:?}");
        }
        assert_eq!(handle.filter().as_deref(), Some("linkerd=debug"));
        debug!("still");
        handle.set("off").unwrap();
        tracing::error!("silenced");
    });
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(text.contains("after") && text.contains("still"), "{text}");
}

#[test]
fn off_installs_nothing() {
    let handle = init("off", Format::Plain).unwrap();
    assert_eq!(handle.filter(), None);
    assert!(matches!(handle.set("warn"), Err(LogError::Off)));
}

#[test]
fn bad_filters_are_refused_with_their_text() {
    let error = subscriber("warn,causeway=loud", Format::Plain, io::sink).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("warn,causeway=loud"), "{error}");
}

#[test]
fn control_characters_never_reach_the_output() {
    let hostile = "x\n2026 ERROR forged\r\x1b[31m\u{9b}2J\u{7f}é";
    for format in [Format::Plain, Format::Json] {
        let text = written("info", format, |_| info!(sni = %hostile, "{hostile}"));
        assert_eq!(text.lines().count(), 1, "{text:?}");
        let line = text.strip_suffix('\n').unwrap();
        assert!(!line.chars().any(char::is_control), "{line:?}");
        assert!(line.contains('é'), "{line:?}");
        if format == Format::Json {
            let json: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(json["fields"]["sni"], hostile);
        }
    }
}
