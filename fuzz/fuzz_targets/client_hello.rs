//! The answer is the same however the bytes are split. A name that is found is the one that rustls finds.
#![no_main]

use causeway::detect::client_hello::{Progress, parse};
use rustls::server::Acceptor;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let whole = parse(bytes);
    let decided = (0..=bytes.len()).map(|n| parse(&bytes[..n])).find(|seen| *seen != Progress::NeedMore);
    assert_eq!(decided.unwrap_or(Progress::NeedMore), whole);
    // What names no server is left alone, so only a name must be right.
    if let (Progress::Hello { sni: Some(name) }, Some(theirs)) = (whole, second_opinion(bytes)) {
        assert_eq!(theirs.as_deref(), Some(name.as_str()));
    }
});

/// The name that rustls reads, if it takes the bytes for a ClientHello.
fn second_opinion(mut bytes: &[u8]) -> Option<Option<String>> {
    let mut acceptor = Acceptor::default();
    while !bytes.is_empty() {
        acceptor.read_tls(&mut bytes).ok()?;
        if let Some(accepted) = acceptor.accept().ok()? {
            return Some(accepted.client_hello().server_name().map(str::to_ascii_lowercase));
        }
    }
    None
}
