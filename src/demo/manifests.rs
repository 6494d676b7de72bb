//! Where do the demo's clusters come from? The manifests of `examples`, carried in the binary, so that an installed one
//! needs no repository.

use std::io;
use std::path::Path;

/// The manifests of one cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manifests {
    pub cluster: &'static str,
    /// File names and their contents.
    pub files: &'static [(&'static str, &'static str)],
}

/// Writes a cluster's manifests into `folder`, which is made.
///
/// # Errors
/// When the folder cannot be written.
pub fn write(manifests: &Manifests, folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    manifests.files.iter().try_for_each(|(name, content)| std::fs::write(folder.join(name), content))
}

/// One cluster of an example: `manifests!("guide/", "east": "01-namespace.yaml")`.
macro_rules! manifests {
    ($example:literal, $cluster:literal: $($file:literal),+ $(,)?) => {
        $crate::demo::manifests::Manifests {
            cluster: $cluster,
            files: &[$((
                $file,
                include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/", $example, $cluster, "/", $file)),
            )),+],
        }
    };
}
pub(super) use manifests;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::demo::{guide, three_clusters};

    #[test]
    fn the_binary_carries_every_manifest_of_its_examples() {
        let names =
            |manifests: &Manifests| manifests.files.iter().map(|(name, _)| (*name).to_owned()).collect();
        let of_guide = [guide::EAST, guide::WEST].map(|manifests| ("guide", manifests));
        let of_three = three_clusters::ALL.map(|manifests| ("three-clusters", manifests));
        for (example, manifests) in of_guide.into_iter().chain(of_three) {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(example);
            let files = std::fs::read_dir(folder.join(manifests.cluster)).unwrap();
            let files: BTreeSet<_> =
                files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
            let carried: BTreeSet<_> = names(&manifests);
            assert_eq!(carried, files, "{example}, {}", manifests.cluster);
        }
    }
}
