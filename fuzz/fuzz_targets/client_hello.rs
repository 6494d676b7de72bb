//! The answer is the same however the bytes are split.
#![no_main]

use causeway::detect::client_hello::{Progress, parse};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let whole = parse(bytes);
    let decided = (0..=bytes.len()).map(|n| parse(&bytes[..n])).find(|seen| *seen != Progress::NeedMore);
    assert_eq!(decided.unwrap_or(Progress::NeedMore), whole);
});
