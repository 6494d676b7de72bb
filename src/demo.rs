//! Can one machine show what several clusters do? Pods are network and mount namespaces with an address and a proxy each;
//! a router namespace joins them; the control planes, the proxies and the two sample programs are this same binary in
//! other roles.
//!
//! ```text
//!   rootless · apart                            what takes root's place, and that of the proxies' own user
//!   namespace ─▶ network ─▶ process ─▶ pod      a foot in a network, all joined, one program, what it finds around it
//!   manifests · listing ─▶ cluster ─▶ kubelet   what clusters want, the pods of it, their control plane, their start
//!   image · node                                what containers run, what the node asks of them
//!   world ─▶ guide · three_clusters ─▶ scenario all that runs, what is done with it, and whether it held
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
pub mod manifests;
pub mod listing;
pub mod cluster;
pub mod kubelet;
pub mod world;
pub mod guide;
pub mod three_clusters;
pub mod scenario;
