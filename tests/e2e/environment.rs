//! The environment that an injector writes: every variable's values, and whole environments.

#[rustfmt::skip] // A table.
mod cases;
mod injected;
mod process;
mod table;
