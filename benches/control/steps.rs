//! The pure functions that are timed. Each is a function of its own in the program too, so that callgrind counts it.

use std::path::PathBuf;
use std::sync::Arc;

use causeway::control::Snapshot;
use causeway::control::index::{Allocations, Linked, LinkedClusters};
use causeway::control::manifest::{self, Documents, Parsed};
use causeway::control::mirror::Gateways;

use super::world::{CLUSTERS, settings};

#[inline(never)]
pub(crate) fn parse(texts: &[Vec<(PathBuf, String)>]) -> Vec<Vec<Parsed>> {
    let file = |(path, text): &(PathBuf, String)| manifest::parse(&Arc::from(path.as_path()), text);
    texts.iter().map(|files| files.iter().map(file).collect()).collect()
}

#[inline(never)]
pub(crate) fn assemble(parsed: &[Vec<Parsed>]) -> anyhow::Result<Vec<Arc<Documents>>> {
    let cluster = |files: &Vec<Parsed>| {
        let assembled = manifest::assemble(files, "linkerd-multicluster");
        anyhow::ensure!(assembled.problems.is_empty(), "{:?}", assembled.problems.first());
        Ok(Arc::new(assembled.documents))
    };
    parsed.iter().map(cluster).collect()
}

/// All but the first.
#[inline(never)]
pub(crate) fn observe(documents: &[Arc<Documents>], given: &[Arc<Allocations>]) -> LinkedClusters {
    let others = documents.iter().zip(given).zip(CLUSTERS).skip(1);
    let observed = others.map(|((documents, given), cluster)| {
        let linked = Linked::observe(documents.clone(), Some(given.clone()), &settings(0));
        (format!("file://../{cluster}"), linked)
    });
    observed.collect()
}

#[inline(never)]
pub(crate) fn index(own: &Documents, given: &Allocations) -> Snapshot {
    build(own, &LinkedClusters::new(), 0, given).0
}

#[inline(never)]
pub(crate) fn mirror(own: &Documents, linked: &LinkedClusters, given: &Allocations) -> Snapshot {
    build(own, linked, 0, given).0
}

/// As after a change that turns out to be none.
#[inline(never)]
pub(crate) fn compare(
    before: &Snapshot,
    own: &Documents,
    linked: &LinkedClusters,
    given: &Allocations,
) -> bool {
    *before == build(own, linked, 0, given).0
}

pub(crate) fn build(
    own: &Documents,
    linked: &LinkedClusters,
    at: usize,
    given: &Allocations,
) -> (Snapshot, Allocations) {
    Snapshot::build(own, linked, &Gateways::default(), &settings(at), given)
}
