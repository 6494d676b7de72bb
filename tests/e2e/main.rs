//! Whole proxies in one process: real sockets, real TLS, a scripted control plane over real gRPC.
//!
//! Every pod has a loopback address of its own; original destinations are injected. What a test asserts
//! is what the far application, or the client, saw.

// Everything here is a test, and fails by panicking.
#![allow(clippy::unwrap_used, clippy::large_futures, unreachable_pub)]

mod application;
mod callers;
#[path = "../chart/mod.rs"]
mod chart;
mod client;
mod fickle;
#[path = "../hello/mod.rs"]
mod hello;
mod log;
mod pair;
mod policies;
mod raw;
mod sandbox;
mod scripted;

mod admin_pages;
mod authorization;
mod authorizations;
mod breakers;
mod certificates;
mod default_policies;
mod direct_port;
mod discovery;
mod drain;
mod endpoints;
mod environment;
mod filters;
mod futures;
mod gateway;
mod guards;
mod headers;
mod inbound_profiles;
mod ingress;
mod metrics;
mod lost;
mod mutual_tls;
mod opaque;
mod outages;
mod paths;
mod ports;
mod profiles;
mod refusals;
mod queues;
mod requests;
mod retries;
mod routes;
mod spoofing;
mod speaks_first;
mod streams;
mod strict;
mod timeouts;
mod trust;
