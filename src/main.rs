//! The program: chooses an allocator and hands over.
//!
//! The allocator gives freed memory back on a thread of its own. Without it, it does so only while the program goes on
//! allocating, and a proxy that has become idle would keep what it once needed. It serves the cryptography library too:
//! what ten thousand handshakes leave behind in the C library's own is megabytes for ever.

use std::process::ExitCode;

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    causeway::cli::main(std::env::args_os())
}
