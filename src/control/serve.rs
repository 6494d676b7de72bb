//! A [`Snapshot`](super::Snapshot) over gRPC: the API that a cluster's controllers speak to proxies.

pub mod identity;
