//! Bad neighbours: whatever they send, the others are served as before, and nothing of it is kept.
//!
//! The real program runs in a pod of its own network, so these tests need namespaces, with root or without, as `netns`
//! has them; where there are none they say so and pass, and fail with `CAUSEWAY_REQUIRE_NETNS=1`. By default attacks are
//! a tenth of what they are meant to be; `CAUSEWAY_NEIGHBOURS=full` runs them whole, twice each: against a decoy first,
//! which tells what attackers cost who only shares a machine with them. Each prints what it measured:
//! `cargo test --test neighbours -- --nocapture --test-threads 1`, in a whole run best one by one.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod app;
#[path = "../control/mod.rs"]
mod control;
mod h2;
mod knowledge;
#[path = "../lone_pod/mod.rs"]
mod lone_pod;
#[path = "../netns/namespace.rs"]
mod namespace;
mod siege;
mod world;

mod descriptors;
mod floods;
mod heads;
mod silence;
mod slow;
mod storm;
mod upgrade;
