//! Can one machine show what two clusters do? Pods are network and mount namespaces with an address and a proxy each;
//! a router namespace joins them; the control planes, the proxies and the two sample programs are this same binary in
//! other roles.
//!
//! ```text
//!   namespace ── network ── process          one pod, all pods joined, one program in a pod
//! ```
//!
//! Nothing here is seen from outside: a namespace without a name ends with its thread and its processes, and its links
//! end with it.

pub mod namespace;
pub mod network;
