//! Can one machine show what two clusters do? Pods are network and mount namespaces with an address and a proxy each;
//! a router namespace joins them; the control planes, the proxies and the two sample programs are this same binary in
//! other roles.
//!
//! ```text
//!   rootless · apart                            what takes root's place, and that of the proxies' own user
//!   namespace ─▶ network ─▶ process ─▶ pod      a foot in a network, all joined, one program, what it finds around it
//!   guide · listing ─▶ cluster ─▶ kubelet       manifests, the pods they ask for, their control plane, their start
//!   image · node                                what containers run, what the node asks of them
//!   scenario ─▶ verdict                         the guide's steps in order, and whether it held
//! ```
//!
//! Nothing here is seen from outside: a namespace without a name ends with its thread and its processes, and its links
//! end with it.

pub mod rootless;
pub mod namespace;
pub mod network;
pub mod process;
pub mod apart;
pub mod pod;
pub mod image;
pub mod node;
pub mod folder;
pub mod guide;
pub mod listing;
pub mod cluster;
pub mod kubelet;
pub mod world;
pub mod tables;
pub mod verdict;
pub mod scenario;
