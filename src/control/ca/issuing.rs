//! A cluster's issuer and trust anchors while they are replaced: read again from their folder every second, and in force
//! without a restart (controlplane 4.3).
//!
//! An issuer that cannot be used (its key is another's, it leads to no anchor, a file is missing) changes nothing, and is
//! an alarm until one can.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use super::folder::{self, FolderError, Material};
use super::{Authority, authority};
use crate::drain::Drain;

const LOOK: Duration = Duration::from_secs(1);

/// The issuer of the moment. Clones have the same one.
#[derive(Clone, Debug)]
pub struct Issuing {
    authority: watch::Receiver<Arc<Authority>>,
    stale: Arc<AtomicBool>,
}

/// Where the material of one cluster lies, and for how long its issuer signs.
#[derive(Clone, Debug)]
pub struct Place {
    pub dir: PathBuf,
    pub cluster: String,
    pub lifetime: Duration,
}

impl Place {
    /// Reads the material; the issuer must verify at `now`.
    pub fn open(&self, now: SystemTime) -> Result<(Material, Authority), FolderError> {
        let material = folder::material(&self.dir, &self.cluster)?;
        let authority = material.authority(now)?.with_lifetime(self.lifetime, authority::CLOCK_SKEW);
        Ok((material, authority))
    }
}

impl Issuing {
    /// One that is never replaced.
    pub fn fixed(authority: Authority) -> Self {
        Self { authority: watch::channel(Arc::new(authority)).1, stale: Arc::default() }
    }

    /// What lies at `place`, followed until drained.
    pub fn follow(place: Place, drain: &Drain) -> Result<Self, FolderError> {
        let (mut known, authority) = place.open(SystemTime::now())?;
        let (tell, authority) = watch::channel(Arc::new(authority));
        let issuing = Self { authority, stale: Arc::default() };
        let (stale, draining) = (issuing.stale.clone(), drain.clone());
        drain.spawn(async move {
            let mut tick = interval(LOOK);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut wrong = None;
            loop {
                tokio::select! {
                    () = draining.signaled() => return,
                    _ = tick.tick() => {}
                }
                match look(&place, &mut known) {
                    Ok(None) => wrong = None,
                    Ok(Some(authority)) => {
                        info!(cluster = place.cluster, "a new issuer, or new trust anchors, are in force");
                        tell.send_replace(Arc::new(authority));
                        wrong = None;
                    }
                    Err(error) => {
                        let error = error.to_string();
                        if wrong.as_ref() != Some(&error) {
                            warn!(error, "the issuer cannot be replaced; the last good one stays in force");
                        }
                        wrong = Some(error);
                    }
                }
                stale.store(wrong.is_some(), Relaxed);
            }
        });
        Ok(issuing)
    }

    pub fn now(&self) -> Arc<Authority> {
        self.authority.borrow().clone()
    }

    /// Whether what lies in the folder cannot be used, so that an older issuer is in force.
    pub fn is_stale(&self) -> bool {
        self.stale.load(Relaxed)
    }

    /// Resolves with the next one; never where none will come.
    pub async fn replaced(&mut self) -> Arc<Authority> {
        if self.authority.changed().await.is_err() {
            return std::future::pending().await;
        }
        self.authority.borrow_and_update().clone()
    }
}

/// A new authority, if the files say something new.
fn look(place: &Place, known: &mut Material) -> Result<Option<Authority>, FolderError> {
    let material = folder::material(&place.dir, &place.cluster)?;
    if material == *known {
        return Ok(None);
    }
    let (material, authority) = place.open(SystemTime::now())?;
    *known = material;
    Ok(Some(authority))
}

#[cfg(test)]
mod tests {
    use super::super::Anchor;
    use super::*;
    use crate::tls::TrustAnchors;

    const LIMIT: Duration = Duration::from_secs(10);

    struct World {
        dir: tempfile::TempDir,
        old: Anchor,
        new: Anchor,
    }

    impl World {
        fn new() -> (Self, Issuing, Drain) {
            let dir = tempfile::tempdir().unwrap();
            let now = SystemTime::now();
            folder::create(dir.path(), &["west"], now).unwrap();
            let read = |file| std::fs::read_to_string(dir.path().join(file)).unwrap();
            let old = Anchor::from_pem(&read("ca-bundle.crt"), &read("ca.key")).unwrap();
            let lifetime = Duration::from_secs(60);
            let place = Place { dir: dir.path().into(), cluster: "west".into(), lifetime };
            let drain = Drain::default();
            let issuing = Issuing::follow(place, &drain).unwrap();
            (Self { dir, old, new: Anchor::generate(now).unwrap() }, issuing, drain)
        }

        fn write(&self, file: &str, text: &str) {
            std::fs::write(self.dir.path().join(file), text).unwrap();
        }
    }

    async fn replaced(issuing: &mut Issuing) -> Arc<Authority> {
        tokio::time::timeout(LIMIT, issuing.replaced()).await.expect("it is replaced")
    }

    #[tokio::test]
    async fn anchors_and_issuer_are_replaced_one_after_the_other() {
        let (world, mut issuing, drain) = World::new();
        world.write("ca-bundle.crt", &format!("{}{}", world.old.pem(), world.new.pem()));
        assert_eq!(replaced(&mut issuing).await.anchors().len(), 2);
        let issuer = world.new.issuer_for("west", SystemTime::now()).unwrap();
        world.write("west/issuer.key", &issuer.key);
        tokio::time::timeout(LIMIT, async {
            while !issuing.is_stale() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await
        .expect("a key without its certificate is no issuer");
        world.write("west/issuer.crt", &issuer.certificate);
        let by_new = replaced(&mut issuing).await;
        world.write("ca-bundle.crt", world.new.pem());
        let alone = replaced(&mut issuing).await;
        let (issued, _) = alone.own(&"web.example".parse().unwrap(), SystemTime::now()).unwrap();
        let lasts = issued.valid_until.duration_since(SystemTime::now()).unwrap();
        assert!(lasts < Duration::from_secs(100), "{lasts:?}");
        let trusted = TrustAnchors::from_pem(world.new.pem().as_bytes()).unwrap();
        let chain: Vec<_> = issued.intermediates.into_iter().map(Into::into).collect();
        trusted.verify(&issued.leaf.into(), &chain, rustls::pki_types::UnixTime::now()).unwrap();
        assert_eq!(by_new.issuer_pem(), issuer.certificate);
        drain.finish(LIMIT).await;
    }

    #[tokio::test]
    async fn an_issuer_of_nobody_and_an_empty_bundle_change_nothing() {
        let (world, issuing, drain) = World::new();
        let before = issuing.now();
        for (file, text) in [
            ("ca-bundle.crt", String::new()),
            ("west/issuer.crt", world.new.issuer_for("west", SystemTime::now()).unwrap().certificate),
        ] {
            let good = std::fs::read_to_string(world.dir.path().join(file)).unwrap();
            for (text, stale) in [(&text, true), (&good, false)] {
                world.write(file, text);
                tokio::time::timeout(LIMIT, async {
                    while issuing.is_stale() != stale {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                })
                .await
                .expect("it is told");
            }
            assert!(Arc::ptr_eq(&before, &issuing.now()), "{file}");
        }
        drain.finish(LIMIT).await;
    }
}
