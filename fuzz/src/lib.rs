//! What the fuzz targets share: a second opinion on HTTP/1 and on the rules of policy, the inbound path in a box,
//! policies, and seeds.

pub mod inbound;
pub mod naive;
pub mod policies;
pub mod seeds;
pub mod strict;
