//! HTTP manners that both sides share: bodies, hop-by-hop headers, HTTP/1 carried over HTTP/2,
//! upgrades, and answers of our own. Named so that it is never mistaken for the crate `http`.

pub mod body;
pub mod clock;
pub mod filters;
pub mod frames;
pub mod framing;
pub mod guard;
pub mod headers;
mod loan;
pub mod orig_proto;
pub mod respond;
pub mod server;
pub mod unread;
pub mod uri;
pub mod upgrade;
pub mod vet;

pub use body::{Body, Claim, End, Extra, Observe, Replay, RequestBody};
pub use loan::Allowance;
