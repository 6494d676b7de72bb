//! The embedded control plane: what a cluster's controllers would tell a proxy, from folders.
//!
//! ```text
//! folders ─▶ files ─▶ manifest ─▶ mirror ─▶ index ─▶ Snapshot ─▶ serve ─▶ gRPC
//!              ▲ liveness, addresses                    │
//!              └───────────── gateways ◀────────────────┘
//! ```
//!
//! One folder and one process is one cluster. The path never imports anything from here: both meet
//! over gRPC, also inside one process.

pub mod files;
pub mod manifest;
pub mod mirror;
pub mod index;
pub mod hash;
pub mod ordered;
pub mod yaml;
pub mod link;
pub mod check;
pub mod ca;
pub mod gateways;
pub mod serve;
#[cfg(test)]
pub(crate) mod testing;

pub use index::{Settings, Snapshot};
