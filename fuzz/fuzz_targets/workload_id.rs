//! What parses prints to what parses to the same.
#![no_main]

use causeway::model::WorkloadId;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(id) = text.parse::<WorkloadId>() {
        assert_eq!(id.to_string().parse(), Ok(id));
    }
});
