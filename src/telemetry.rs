//! What does the proxy say about itself: metrics and logs.
//!
//! [`Metrics`] holds every family of contract 6.1 that this crate fills; the path fetches handles from it
//! and keeps them. Labels come from discovery, policy and verified identities.

pub mod labels;
pub mod registry;
pub mod transport;
