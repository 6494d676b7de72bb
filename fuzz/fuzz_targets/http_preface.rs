//! The answer is the same however the bytes are split, and always there at the limit.
#![no_main]

use causeway::detect::http::{LIMIT, Progress, detect, settle};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let whole = detect(bytes);
    let decided = (0..=bytes.len()).map(|n| detect(&bytes[..n])).find(|seen| *seen != Progress::NeedMore);
    assert_eq!(decided.unwrap_or(Progress::NeedMore), whole);
    assert!(bytes.len() < LIMIT || whole != Progress::NeedMore);
    assert_ne!(settle(bytes), Progress::NeedMore);
});
