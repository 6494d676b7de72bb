//! The subcommands: one file each, flags in, work started elsewhere.

pub mod certs;
