//! What are they speaking? Pure parsers over the first bytes of a connection (contract 2.4, 3.3).
//!
//! A parser says what the bytes are, or that it needs more of them; the answer is the same however the
//! bytes were split on their way. Reading and waiting are left to the caller, and so is the deadline.

pub mod client_hello;
pub mod http;
pub mod read;

pub use read::{Http, read_client_hello, read_http};
