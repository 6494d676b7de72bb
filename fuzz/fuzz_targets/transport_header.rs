//! What decodes encodes to what decodes to the same; a header never takes more than its limit.
#![no_main]

use causeway::net::transport_header::{LIMIT, TransportHeader};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    decode(bytes);
    // Bytes rarely begin with the preface by chance.
    let length = (bytes.len() as u32).to_be_bytes();
    decode(&[b"transport.l5d.io/v1\r\n\r\n", &length[..], bytes].concat());
});

fn decode(bytes: &[u8]) {
    if let Ok(Some((header, taken))) = TransportHeader::decode(bytes) {
        assert!(taken <= LIMIT && taken <= bytes.len());
        let again = header.encode();
        assert_eq!(TransportHeader::decode(&again), Ok(Some((header, again.len()))));
    }
}
