use tempfile::TempDir;

use super::*;
use crate::config::Anchors;
use crate::tls::testing::TestCa;

const WEB: &str = "web.ns.serviceaccount.identity.linkerd.cluster.local";

/// A proxy's trust, from a file that said `first` when it started.
struct World {
    dir: TempDir,
    trust: Trust,
}

impl World {
    fn new(own: &TestCa) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca-bundle.crt");
        fs::write(&path, own.root_pem()).unwrap();
        let source = TrustSource::File(path);
        assert_eq!(first(&source).unwrap().len(), 1);
        Self { dir, trust: Trust::new(&source, ExpiredPeers::Drain, own.store(WEB)) }
    }

    /// Anchors in force, stale, reloads that succeeded and failed, after the file says this.
    async fn after(&mut self, text: &str) -> (usize, bool, u64, u64) {
        fs::write(self.dir.path().join("ca-bundle.crt"), text).unwrap();
        self.now().await
    }

    async fn now(&mut self) -> (usize, bool, u64, u64) {
        self.trust.follow().await;
        let TrustState { stale, reloads_ok, reloads_err, .. } = &*self.trust.state;
        let counts = (stale.load(Relaxed), reloads_ok.load(Relaxed), reloads_err.load(Relaxed));
        (self.trust.store.anchors().len(), counts.0, counts.1, counts.2)
    }
}

#[tokio::test]
async fn a_changed_file_is_taken_into_use_and_the_same_certificates_are_no_change() {
    let (old, new) = (TestCa::new("old"), TestCa::new("new"));
    let mut world = World::new(&old);
    assert_eq!(world.now().await, (1, false, 0, 0));
    let both = format!("{}# the new one\n{}", old.root_pem(), new.root_pem());
    assert_eq!(world.after(&both).await, (2, false, 1, 0));
    let turned = format!("{}{}", new.root_pem(), old.root_pem());
    assert_eq!(world.after(&turned).await, (2, false, 1, 0));
    assert!(world.trust.store.is_trusted());
    assert_eq!(world.after(new.root_pem()).await, (1, false, 2, 0));
    assert!(!world.trust.store.is_trusted() && world.trust.store.is_ready());
    assert_eq!(world.trust.state.anchors.load(Relaxed), 1);
}

#[tokio::test]
async fn a_file_that_cannot_be_used_changes_nothing_and_is_an_alarm_until_it_can() {
    let (old, new) = (TestCa::new("old"), TestCa::new("new"));
    let mut world = World::new(&old);
    let half = format!("{}{}", old.root_pem(), &new.root_pem()[..200]);
    let garbage = format!("{}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", new.root_pem());
    assert_eq!(world.after("").await, (1, true, 0, 1));
    // Further mistakes of the same kind are the same alarm.
    for bad in ["not PEM", half.as_str(), &garbage] {
        assert_eq!(world.after(bad).await, (1, true, 0, 1), "{bad:?}");
    }
    let path = world.dir.path().join("ca-bundle.crt");
    fs::remove_file(&path).unwrap();
    assert_eq!(world.now().await, (1, true, 0, 2));
    fs::create_dir(&path).unwrap();
    assert_eq!(world.now().await, (1, true, 0, 3));
    fs::remove_dir(&path).unwrap();
    assert_eq!(world.after(&"\n".repeat(LARGEST as usize + 1)).await, (1, true, 0, 3));
    assert!(world.trust.store.is_trusted());
    assert_eq!(world.after(old.root_pem()).await, (1, false, 0, 3));
    assert_eq!(world.after(new.root_pem()).await, (1, false, 1, 3));
}

#[test]
fn a_file_must_be_good_as_a_whole_and_a_text_in_part() {
    let ca = TestCa::new("root");
    let text = format!("{}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", ca.root_pem());
    assert_eq!(first(&TrustSource::Text(Anchors(text.as_str().into()))).unwrap().len(), 1);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca-bundle.crt");
    assert!(matches!(first(&TrustSource::File(path.clone())), Err(Unusable::Read { .. })));
    fs::write(&path, text).unwrap();
    assert!(matches!(first(&TrustSource::File(path)), Err(Unusable::Invalid { .. })));
}
