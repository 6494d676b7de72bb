//! The private key and the signing request of this proxy, in `key.p8` and `csr.der` (contract 2.1).
//!
//! An image's start helper may have made them; if not, they are made here. They never change while the
//! proxy runs.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::SignatureScheme;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::model::DnsName;
use crate::tls::crypto;

const KEY: &str = "key.p8";
const CSR: &str = "csr.der";

/// A private key and the request to certify it.
pub struct Documents {
    pub(super) key: PrivateKeyDer<'static>,
    /// PKCS#10, DER.
    pub(super) csr: Vec<u8>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read {path:?}: {error}")]
    Read { path: PathBuf, error: io::Error },
    #[error("cannot write {path:?}: {error}")]
    Write { path: PathBuf, error: io::Error },
    #[error("{0:?} is empty")]
    Empty(PathBuf),
    #[error("{0:?} is not an ECDSA P-256 key in PKCS#8 DER")]
    Key(PathBuf),
    #[error("cannot make a key and a signing request: {0}")]
    Make(rcgen::Error),
}

impl Documents {
    /// Uses what lies in `dir` if both files are there, otherwise makes both for `name`. The folder must
    /// exist.
    pub fn load_or_make(dir: &Path, name: &DnsName) -> Result<Self, Error> {
        let (key_path, csr_path) = (dir.join(KEY), dir.join(CSR));
        let (key, csr) = match (read(&key_path)?, read(&csr_path)?) {
            (Some(key), Some(csr)) => (key, csr),
            // A request without its key is worth nothing, and a key alone may belong to another name.
            _ => {
                let (key, csr) = make(name).map_err(Error::Make)?;
                write_private(&csr_path, &csr)?;
                write_private(&key_path, &key)?;
                (key, csr)
            }
        };
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key));
        if is_p256(&key) { Ok(Self { key, csr }) } else { Err(Error::Key(key_path)) }
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match fs::read(path) {
        Ok(bytes) if bytes.is_empty() => Err(Error::Empty(path.to_owned())),
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::Read { path: path.to_owned(), error }),
    }
}

/// The reference's helper names the workload twice: as common name and as the one alternative name.
fn make(name: &DnsName) -> Result<(Vec<u8>, Vec<u8>), rcgen::Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::new([name.to_string()])?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name.as_str());
    let csr = params.serialize_request(&key)?;
    Ok((key.serialize_der(), csr.der().to_vec()))
}

/// Readable by the owner alone from the first moment, and never half written.
fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let fresh = path.with_extension("new");
    let written = || {
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
        file.write_all(bytes)?;
        fs::rename(&fresh, path)
    };
    written().map_err(|error| Error::Write { path: path.to_owned(), error })
}

/// Peers ask for this scheme; with another key our certificate would never be sent.
fn is_p256(key: &PrivateKeyDer<'static>) -> bool {
    let loaded = crypto::provider().key_provider.load_private_key(key.clone_key());
    loaded.is_ok_and(|key| key.choose_scheme(&[SignatureScheme::ECDSA_NISTP256_SHA256]).is_some())
}

impl std::fmt::Debug for Documents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Documents")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use rcgen::{CertificateSigningRequestParams, PKCS_ECDSA_P384_SHA384, SanType};
    use rustls::pki_types::CertificateSigningRequestDer;

    use super::*;

    const NAME: &str = "web.ns.serviceaccount.identity.linkerd.cluster.local";

    fn load(dir: &Path) -> Result<Documents, Error> {
        Documents::load_or_make(dir, &NAME.parse().unwrap())
    }

    #[test]
    fn the_request_names_the_workload_twice_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let csr = load(dir.path()).unwrap().csr;
        let read =
            CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(csr)).unwrap();
        assert_eq!(read.params.subject_alt_names, [SanType::DnsName(NAME.try_into().unwrap())]);
        let subject: Vec<_> = read.params.distinguished_name.iter().collect();
        assert_eq!(subject.len(), 1);
        assert_eq!(*subject[0].0, DnType::CommonName);
        assert_eq!(*subject[0].1, NAME.into());
    }

    #[test]
    fn both_files_are_private_and_used_again() {
        let dir = tempfile::tempdir().unwrap();
        let first = load(dir.path()).unwrap();
        for file in [KEY, CSR] {
            let mode = fs::metadata(dir.path().join(file)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
        let again = load(dir.path()).unwrap();
        assert_eq!((&again.key, &again.csr), (&first.key, &first.csr));

        fs::remove_file(dir.path().join(CSR)).unwrap();
        assert_ne!(load(dir.path()).unwrap().key, first.key);
    }

    #[test]
    fn what_lies_there_must_be_usable() {
        let dir = tempfile::tempdir().unwrap();
        load(dir.path()).unwrap();
        let key = dir.path().join(KEY);
        let p384 = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap().serialize_der();
        for bad in [b"nonsense".to_vec(), p384] {
            fs::write(&key, bad).unwrap();
            assert!(matches!(load(dir.path()), Err(Error::Key(_))));
        }
        fs::write(&key, "").unwrap();
        assert!(matches!(load(dir.path()), Err(Error::Empty(_))));
        assert!(matches!(load(&dir.path().join("missing")), Err(Error::Write { .. })));
    }
}
