//! What only a real kernel can show: redirection, addresses of one's own, what is on the wire.
//!
//! These tests need root. Where namespaces cannot be made they say so and pass; with `CAUSEWAY_REQUIRE_NETNS=1` they
//! fail instead.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod canary;
#[path = "../chart/mod.rs"]
mod chart;
mod demo;
mod drain;
mod injected;
mod iptables;
mod ipv6;
mod load;
mod mesh;
mod network;
mod outage;
mod pod;
mod redirect;
mod wire;
mod world;
