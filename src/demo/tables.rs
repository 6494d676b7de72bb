//! The guide's two tables, from two scrapes of every pod.

use super::world::{Scrape, World};

/// Prints `viz stat` and `viz authz` of the guide's cluster.
///
/// # Errors
/// When a scrape cannot be read.
pub fn print(_world: &World, _before: &[Scrape], _after: &[Scrape]) -> anyhow::Result<()> {
    Ok(())
}
