//! What only a real kernel can show: redirection, addresses of one's own, what is on the wire.
//!
//! These tests need namespaces. Without root each runs again in a user namespace; where there are none either they say
//! so and pass, and with `CAUSEWAY_REQUIRE_NETNS=1` they fail instead.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod canary;
#[path = "../chart/mod.rs"]
mod chart;
mod deaths;
mod demo;
mod drain;
mod explain;
mod failover;
mod gateway;
mod idle;
mod ingress;
mod injected;
mod iptables;
mod ipv6;
mod load;
mod lost_cluster;
mod mesh;
mod namespace;
mod network;
mod outage;
mod pod;
mod profiles;
mod redirect;
mod rotation;
mod ruin;
mod speaks_first;
mod split;
mod wire;
mod world;
