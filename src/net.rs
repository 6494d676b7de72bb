//! Sockets: accepting, original destinations, putting read bytes back, relaying, and the preface that
//! one proxy sends another.

pub mod listen;
pub mod orig_dst;
pub mod prefixed;
pub mod relay;
pub mod socket;
pub mod transport_header;
pub(crate) mod write_through;

pub use listen::{Accepted, Listener};
pub use orig_dst::OrigDst;
pub use prefixed::Prefixed;
