//! Where do the demo's clusters come from? The manifests of `examples/guide`, carried in the binary, so that an
//! installed one needs no repository.

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

macro_rules! manifests {
    ($cluster:literal: $($file:literal),+ $(,)?) => {
        Manifests {
            cluster: $cluster,
            files: &[$(($file, include_str!(concat!("../../examples/guide/", $cluster, "/", $file)))),+],
        }
    };
}

/// Kubernetes namespace of all that the guide runs, in both clusters.
pub const NAMESPACE: &str = "mc-demo";

/// Holds the service.
pub const EAST: Manifests = manifests!("east": "01-namespace.yaml", "02-bb.yaml", "03-policy.yaml");

/// Calls it.
pub const WEST: Manifests = manifests!(
    "west": "01-namespace.yaml", "02-link.yaml", "03-slow-cooker.yaml", "04-slow-cooker-evil.yaml",
);

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_binary_carries_every_manifest_of_the_guide() {
        for Manifests { cluster, files: table } in [EAST, WEST] {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/guide").join(cluster);
            let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name());
            let files: BTreeSet<_> = files.map(|name| name.into_string().unwrap()).collect();
            let carried: BTreeSet<_> = table.iter().map(|(name, _)| (*name).to_owned()).collect();
            assert_eq!(carried, files, "{cluster}");
        }
    }
}
