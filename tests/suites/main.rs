//! What do suites of cases say that nobody here wrote? gRPC's interoperability cases through a pair of proxies, and
//! h2spec's cases against each listener; both from Go, at the versions that `go.mod` pins.
//!
//! These tests need namespaces, as `netns` has them, and Go. Without one they say so and pass; with `CAUSEWAY_REQUIRE_NETNS=1` only Go may be
//! missing. Where `LINKERD2_PROXY_BIN` names the reference proxy it is held to the same cases.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod grpc;
mod h2spec;
#[path = "../netns/mesh.rs"]
#[allow(dead_code, reason = "shared with the namespace tests, which use all of it")]
mod mesh;
#[path = "../netns/namespace.rs"]
mod namespace;
mod program;
mod requests;
#[path = "../netns/world.rs"]
#[allow(dead_code, reason = "shared with the namespace tests, which use all of it")]
mod world;
