//! A certificate names whom its bytes spell, in the kind of entry that they stand in; and an entry is an identity when
//! a second reading of the rules says so.
#![no_main]

use causeway::model::WorkloadId;
use causeway::tls::subject::{self, Entry};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let names = subject::names(bytes);
    assert_eq!(subject::client(bytes).as_ref(), names.first());
    for name in &names {
        assert!(is_spelled(name, bytes), "{name}");
    }
    let text = String::from_utf8_lossy(bytes);
    let (dns, uri) = (subject::identity(Entry::Dns(&text)), subject::identity(Entry::Uri(&text)));
    assert_eq!(dns.as_ref().map(ToString::to_string), host(&text));
    assert_eq!(uri.as_ref().map(ToString::to_string), is_uri(&text).then(|| text.to_string()));
    assert_eq!(subject::identity(Entry::Other), None);
    if let Ok(id) = text.parse::<WorkloadId>() {
        assert_eq!(id.to_string().parse(), Ok(id), "what parses prints to what parses to the same");
    }
});

/// Whether the name stands among the bytes, as the content of an entry of its kind.
fn is_spelled(name: &WorkloadId, bytes: &[u8]) -> bool {
    let (tag, text) = match name {
        WorkloadId::Dns(name) => (0x82, name.to_string()),
        WorkloadId::Uri(uri) => (0x86, uri.to_string()),
    };
    let same = |at: &[u8]| {
        if tag == 0x82 { at.eq_ignore_ascii_case(text.as_bytes()) } else { at == text.as_bytes() }
    };
    bytes.windows(text.len()).enumerate().any(|(at, window)| {
        let [before @ .., length] = &bytes[..at] else { return false };
        // Longer lengths have more bytes, of which this is the last.
        same(window)
            && usize::from(*length) == text.len() & 0xff
            && before.iter().rev().take(4).any(|b| *b == tag)
    })
}

/// A host's name by RFC 5280 and RFC 1034, with underscores, lower-cased.
fn host(text: &str) -> Option<String> {
    let is_label = |label: &str| {
        let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let ends = label.chars().next().is_some_and(letter) && label.chars().last().is_some_and(letter);
        ends && label.len() < 64 && label.chars().all(|c| letter(c) || c == '-')
    };
    let is_host = text.len() < 254 && text.split('.').all(is_label);
    let last = text.rsplit('.').next().unwrap_or_default();
    let digits = last.chars().all(|c| c.is_ascii_digit());
    (is_host && !digits).then(|| text.to_ascii_lowercase())
}

fn is_uri(text: &str) -> bool {
    let Some(at) = text.find("://") else { return false };
    let scheme = |c: char| c.is_ascii_alphanumeric() || ['+', '-', '.'].contains(&c);
    let visible = text.chars().all(|c| ('!'..='~').contains(&c));
    at > 0 && text[..at].chars().all(scheme) && text.len() > at + 3 && text.len() < 2049 && visible
}
