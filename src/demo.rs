//! Can one machine show what two clusters do? Pods are network and mount namespaces with an address and a proxy each;
//! a router namespace joins them; the control planes, the proxies and the two sample programs are this same binary in
//! other roles.
//!
//! ```text
//!   namespace ─▶ network ─▶ process ─▶ pod        one foot in a network, all joined, one program, all of it
//!   image                                         the sample programs that the guide's containers run
//! ```
//!
//! Nothing here is seen from outside: a namespace without a name ends with its thread and its processes, and its links
//! end with it.

pub mod namespace;
pub mod network;
pub mod process;
pub mod pod;
pub mod image;
