//! Whatever a client sends, the application is sent whole requests that policy let in, each once, for one host, and
//! with nobody's name but the caller's.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| causeway_fuzz::inbound::run(input));
