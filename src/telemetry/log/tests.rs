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
    let (subscriber, handle) = subscriber(filter, parse(filter).unwrap(), format, move || writer.clone());
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
fn the_reference_s_targets_and_fields_select_our_events() {
    let filter = "off,linkerd_app_outbound=debug,[{client}]=info";
    let text = written(filter, Format::Plain, |handle| {
        debug!(target: "causeway::outbound::http", "ours");
        debug!(target: "causeway::inbound", "another's");
        info!(target: "causeway::inbound", client = 1, "with the field");
        handle.set("warn,linkerd=debug,linkerd[{client}]=off").unwrap();
        info!(target: "causeway::inbound", client = 1, "silenced by its field");
        debug!(target: "causeway::inbound", "without the field");
    });
    assert_eq!(text.lines().count(), 3, "{text}");
    for seen in ["ours", "with the field", "without the field"] {
        assert!(text.contains(seen), "{text}");
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
    let error = parse("warn,causeway=loud").unwrap_err();
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
