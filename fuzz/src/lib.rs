//! What the fuzz targets share: a second opinion on HTTP/1, the inbound path in a box, and seeds.

pub mod inbound;
pub mod seeds;
pub mod strict;
