//! The folder that holds a mesh's trust material, made by `causeway certs`.
//!
//! ```text
//! DIR/ca-bundle.crt            trust anchors: every cluster and every proxy
//! DIR/ca.key                   their key; needed only to add clusters
//! DIR/<cluster>/issuer.crt     one issuer for each cluster, signed by the anchor
//! DIR/<cluster>/issuer.key
//! DIR/<cluster>/token.key      signs the cluster's service-account tokens
//! ```
//!
//! Keys are readable by their owner alone. What exists is never overwritten.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rcgen::KeyPair;

use super::{Anchor, Authority, InvalidAuthority, TokenKey};

/// Why the folder cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("{} does not exist: make it with causeway certs create --cluster NAME DIR", .path.display())]
    Missing { path: PathBuf },
    #[error("{}: {error}", .path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("{}: {error}", .path.display())]
    Key { path: PathBuf, error: rcgen::Error },
    #[error("{}: {error}", .path.display())]
    Authority { path: PathBuf, error: InvalidAuthority },
    #[error("{}: {error}", .path.display())]
    Token { path: PathBuf, error: super::token::InvalidKey },
    #[error("{name:?} is no name for a cluster: expected lower-case letters, digits and '-'")]
    ClusterName { name: String },
}

impl FolderError {
    /// Whether a file is not there, or cannot be read by whoever asks.
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::Missing { .. } | Self::Io { .. })
    }
}

/// One cluster's trust material.
#[derive(Debug)]
pub struct ClusterFiles {
    pub authority: Authority,
    pub tokens: TokenKey,
}

/// One cluster's certificates, as they lie in the folder: PEM, and nothing of it verified.
#[derive(Debug, PartialEq, Eq)]
pub struct Certificates {
    /// The bundle.
    pub anchors: String,
    /// From the issuer upwards.
    pub issuer: String,
    bundle: PathBuf,
    path: PathBuf,
}

impl Certificates {
    /// The trust material that they are part of, with the keys that lie beside the issuer, which must verify at `now`.
    pub fn open(self, now: SystemTime) -> Result<ClusterFiles, FolderError> {
        let tokens = self.path.with_file_name("token.key");
        let key = read(&self.path.with_file_name("issuer.key"))?;
        let authority = Material { certificates: self, key }.authority(now)?;
        Ok(ClusterFiles { authority, tokens: read_tokens(tokens)? })
    }
}

/// What an issuer is made of, likewise.
#[derive(PartialEq, Eq)]
pub struct Material {
    certificates: Certificates,
    key: String,
}

impl Material {
    /// The issuer; it must verify at `now`.
    pub fn authority(&self, now: SystemTime) -> Result<Authority, FolderError> {
        let Certificates { anchors, issuer, bundle, path } = &self.certificates;
        Authority::from_pem(issuer, &self.key, anchors, now).map_err(|error| {
            let blamed = if matches!(error, InvalidAuthority::Anchors(_)) { bundle } else { path };
            FolderError::Authority { path: blamed.clone(), error }
        })
    }
}

/// Reads what one cluster's issuer is made of, and verifies nothing.
pub fn material(dir: &Path, cluster: &str) -> Result<Material, FolderError> {
    check_name(cluster)?;
    let key = read(&dir.join(cluster).join("issuer.key"))?;
    Ok(Material { certificates: certificates(dir, cluster)?, key })
}

/// Makes what is missing for these clusters, and returns the files that were written. An anchor
/// that is already there is kept, so clusters can be added later.
pub fn create(dir: &Path, clusters: &[&str], now: SystemTime) -> Result<Vec<PathBuf>, FolderError> {
    for name in clusters {
        check_name(name)?;
    }
    let mut written = Vec::new();
    let (bundle, key) = (dir.join("ca-bundle.crt"), dir.join("ca.key"));
    let anchor = if bundle.exists() {
        let error = |error| FolderError::Key { path: key.clone(), error };
        Anchor::from_pem(&read(&bundle)?, &read(&key)?).map_err(error)?
    } else {
        let anchor = Anchor::generate(now).map_err(|error| FolderError::Key { path: key.clone(), error })?;
        make_dir(dir)?;
        // The key first: an anchor without its key could never be completed.
        write(&key, &anchor.key_pem(), 0o600, &mut written)?;
        write(&bundle, anchor.pem(), 0o644, &mut written)?;
        anchor
    };
    for name in clusters {
        create_cluster(&anchor, &dir.join(name), name, now, &mut written)?;
    }
    Ok(written)
}

fn create_cluster(
    anchor: &Anchor,
    dir: &Path,
    name: &str,
    now: SystemTime,
    written: &mut Vec<PathBuf>,
) -> Result<(), FolderError> {
    let failed = |error| FolderError::Key { path: dir.into(), error };
    make_dir(dir)?;
    if !dir.join("issuer.crt").exists() {
        let issuer = anchor.issuer_for(name, now).map_err(failed)?;
        write(&dir.join("issuer.key"), &issuer.key, 0o600, written)?;
        write(&dir.join("issuer.crt"), &issuer.certificate, 0o644, written)?;
    }
    if !dir.join("token.key").exists() {
        let key = KeyPair::generate().map_err(failed)?;
        write(&dir.join("token.key"), &key.serialize_pem(), 0o600, written)?;
    }
    Ok(())
}

/// Reads one cluster's trust material; its issuer must verify at `now`.
pub fn open(dir: &Path, cluster: &str, now: SystemTime) -> Result<ClusterFiles, FolderError> {
    certificates(dir, cluster)?.open(now)
}

/// Reads one cluster's certificates; no key is needed.
pub fn certificates(dir: &Path, cluster: &str) -> Result<Certificates, FolderError> {
    check_name(cluster)?;
    let (bundle, path) = (dir.join("ca-bundle.crt"), dir.join(cluster).join("issuer.crt"));
    Ok(Certificates { anchors: read(&bundle)?, issuer: read(&path)?, bundle, path })
}

/// Reads the key of one cluster's service-account tokens.
pub fn open_tokens(dir: &Path, cluster: &str) -> Result<TokenKey, FolderError> {
    check_name(cluster)?;
    read_tokens(dir.join(cluster).join("token.key"))
}

fn read_tokens(path: PathBuf) -> Result<TokenKey, FolderError> {
    TokenKey::from_pem(&read(&path)?).map_err(|error| FolderError::Token { path, error })
}

/// Names become folders: nothing that could lead elsewhere.
fn check_name(name: &str) -> Result<(), FolderError> {
    let ok = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if (1..=63).contains(&name.len()) && name.bytes().all(ok) {
        return Ok(());
    }
    Err(FolderError::ClusterName { name: name.chars().take(64).collect() })
}

fn make_dir(path: &Path) -> Result<(), FolderError> {
    fs::create_dir_all(path).map_err(|error| FolderError::Io { path: path.into(), error })
}

fn read(path: &Path) -> Result<String, FolderError> {
    fs::read_to_string(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => FolderError::Missing { path: path.into() },
        _ => FolderError::Io { path: path.into(), error },
    })
}

fn write(path: &Path, text: &str, mode: u32, written: &mut Vec<PathBuf>) -> Result<(), FolderError> {
    let failed = |error| FolderError::Io { path: path.into(), error };
    let mut file =
        fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    written.push(path.into());
    Ok(())
}

impl std::fmt::Debug for Material {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Material").field("path", &self.certificates.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn clusters_share_the_anchor_and_can_be_added_later() {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        assert_eq!(create(dir.path(), &["west"], now).unwrap().len(), 5);
        let before = read(&dir.path().join("ca-bundle.crt")).unwrap();
        assert_eq!(create(dir.path(), &["west", "east"], now).unwrap().len(), 3);
        assert_eq!(read(&dir.path().join("ca-bundle.crt")).unwrap(), before);
        for cluster in ["west", "east"] {
            assert_eq!(open(dir.path(), cluster, now).unwrap().authority.anchors_pem(), before);
        }
        assert!(create(dir.path(), &["west", "east"], now).unwrap().is_empty());
    }

    #[test]
    fn keys_are_for_their_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        create(dir.path(), &["west"], SystemTime::now()).unwrap();
        for key in ["ca.key", "west/issuer.key", "west/token.key"] {
            let mode = fs::metadata(dir.path().join(key)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{key}");
        }
    }

    #[test]
    fn names_lead_nowhere_else_and_missing_files_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        for bad in ["", "..", "a/b", "West", "a.b"] {
            assert!(
                matches!(create(dir.path(), &[bad], now), Err(FolderError::ClusterName { .. })),
                "{bad:?}"
            );
            assert!(matches!(open(dir.path(), bad, now), Err(FolderError::ClusterName { .. })), "{bad:?}");
        }
        create(dir.path(), &["west"], now).unwrap();
        let missing = open(dir.path(), "north", now).unwrap_err().to_string();
        assert!(missing.contains("north/issuer.crt"), "{missing}");
    }

    #[test]
    fn an_issuer_of_another_anchor_is_refused() {
        let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let now = SystemTime::now();
        create(ours.path(), &["west"], now).unwrap();
        create(theirs.path(), &["west"], now).unwrap();
        let bundle = "ca-bundle.crt";
        fs::copy(theirs.path().join(bundle), ours.path().join(bundle)).unwrap();
        let refused = open(ours.path(), "west", now).unwrap_err();
        assert!(matches!(refused, FolderError::Authority { error: InvalidAuthority::Untrusted(_), .. }));
    }
}
