//! The labels and annotations that an object was given, or those that follow from another one's. The latter are put
//! together when somebody asks: about most mirrors nobody does between two changes.

use std::sync::{Arc, OnceLock};

use super::metadata;
use crate::control::manifest::labelled::Labels;
use crate::control::manifest::{Exclusions, Link, Meta};

/// Labels and annotations of an object.
#[derive(Clone, Debug)]
pub enum Metadata {
    Given(Texts),
    Copied(Arc<Copied>),
}

/// Labels and annotations, of an object or of the slice that an endpoint is in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts {
    pub labels: Arc<Labels>,
    pub annotations: Arc<Labels>,
}

impl Texts {
    pub fn of(object: &Meta) -> Self {
        Self { labels: object.labels.clone(), annotations: object.annotations.clone() }
    }
}

/// What a mirror carries.
#[derive(Debug)]
pub struct Copied {
    source: Source,
    made: OnceLock<Texts>,
}

/// What it follows from.
#[derive(Debug)]
pub(super) enum Source {
    /// And its opaque ports, where it does not say them itself.
    Service(Origin, Option<String>),
    /// Those of a mirror that is reached through a gateway.
    Endpoints(Origin),
    Federated(Union),
}

/// An object of a linked cluster.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) link: Arc<Link>,
    pub(super) meta: Arc<Meta>,
}

/// Services that are one.
#[derive(Debug)]
pub(super) struct Union {
    /// The first member.
    pub(super) meta: Arc<Meta>,
    /// The first one's opaque ports, where it does not say them itself.
    pub(super) opaque: Option<String>,
    /// What the first one does not bring along.
    pub(super) excluded: Arc<Exclusions>,
    /// A Service of this cluster is a member.
    pub(super) local: bool,
    /// Links to the clusters of the others, and of the first one where that is not of this cluster.
    pub(super) links: Vec<Arc<Link>>,
}

impl Metadata {
    pub fn given(labels: Arc<Labels>, annotations: Arc<Labels>) -> Self {
        Self::Given(Texts { labels, annotations })
    }

    pub(super) fn copied(source: Source) -> Self {
        Self::Copied(Arc::new(Copied { source, made: OnceLock::new() }))
    }

    pub fn texts(&self) -> &Texts {
        match self {
            Self::Given(given) => given,
            Self::Copied(copied) => copied.made.get_or_init(|| copied.source.make()),
        }
    }

    pub fn labels(&self) -> &Arc<Labels> {
        &self.texts().labels
    }

    pub fn annotations(&self) -> &Arc<Labels> {
        &self.texts().annotations
    }

    /// Writes an annotation, in the place of what it said before.
    pub fn annotate(&mut self, key: &str, value: String) {
        let mut given = self.texts().clone();
        Arc::make_mut(&mut given.annotations).insert(key.to_owned(), value);
        *self = Self::Given(given);
    }
}

impl Default for Metadata {
    fn default() -> Self {
        Self::Given(Texts::default())
    }
}

impl Eq for Metadata {}

impl PartialEq for Metadata {
    /// Of one source the same follows: then nothing has to be put together.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Copied(a), Self::Copied(b)) if Arc::ptr_eq(a, b) || a.source.is(&b.source) => true,
            _ => self.texts() == other.texts(),
        }
    }
}

impl Source {
    fn make(&self) -> Texts {
        let (labels, annotations) = match self {
            Self::Service(Origin { link, meta }, opaque) => {
                (metadata::labels(link, meta), metadata::annotations(link, meta, opaque.as_deref()))
            }
            Self::Endpoints(Origin { link, meta }) => {
                (metadata::endpoints_labels(link, meta), metadata::endpoints_annotations(link, meta, None))
            }
            Self::Federated(union) => (
                metadata::copied_labels(&union.meta, &union.excluded),
                metadata::federated_annotations(union),
            ),
        };
        Texts { labels: Arc::new(labels), annotations: Arc::new(annotations) }
    }

    /// Whether the other is made of the very same objects.
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Service(a, opaque), Self::Service(b, other)) => a.is(b) && opaque == other,
            (Self::Endpoints(a), Self::Endpoints(b)) => a.is(b),
            (Self::Federated(a), Self::Federated(b)) => {
                Arc::ptr_eq(&a.meta, &b.meta)
                    && a.opaque == b.opaque
                    && a.excluded == b.excluded
                    && a.local == b.local
                    && a.links.len() == b.links.len()
                    && a.links.iter().zip(&b.links).all(|(a, b)| Arc::ptr_eq(a, b))
            }
            _ => false,
        }
    }
}

impl Origin {
    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.meta, &other.meta) && Arc::ptr_eq(&self.link, &other.link)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::control::manifest::{self, Documents};

    const LINK: &str = "
apiVersion: multicluster.linkerd.io/v1alpha3
kind: Link
metadata: {name: east, namespace: linkerd-multicluster}
spec: {targetClusterName: east, clusterCredentialsSecret: c, excludedLabels: [plain]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: d, resourceVersion: '77', labels: {app: web, plain: x}}
spec: {ports: [{port: 80}]}
";

    type Objects = (Arc<Link>, Arc<Meta>);

    fn objects(text: &str) -> Objects {
        let file: Arc<Path> = Arc::from(Path::new("m.yaml"));
        let Documents { links, services, .. } =
            manifest::assemble([&manifest::parse(&file, text)], "linkerd-multicluster").documents;
        let link = links.values().next().unwrap().1.clone();
        let meta = services.values().next().unwrap().0.clone();
        (link, meta)
    }

    /// What each kind of mirror carries.
    fn carried((link, meta): Objects, opaque: &str) -> [Metadata; 3] {
        let opaque = Some(opaque.to_owned());
        let (excluded, links) = (link.excluded.clone(), vec![link.clone()]);
        let union = Union { meta: meta.clone(), opaque: opaque.clone(), excluded, local: true, links };
        let origin = Origin { link, meta };
        let service = Source::Service(origin.clone(), opaque);
        [service, Source::Endpoints(origin), Source::Federated(union)].map(Metadata::copied)
    }

    fn is_made(metadata: &Metadata) -> bool {
        matches!(metadata, Metadata::Copied(copied) if copied.made.get().is_some())
    }

    #[test]
    fn what_follows_from_the_same_objects_is_the_same_without_being_put_together() {
        let objects = objects(LINK);
        for (metadata, twin) in carried(objects.clone(), "80").into_iter().zip(carried(objects, "80")) {
            assert_eq!(metadata, twin);
            assert!(!is_made(&metadata) && !is_made(&twin));
            assert_eq!((metadata.labels()["app"].as_str(), metadata.labels().get("plain")), ("web", None));
            assert!(is_made(&metadata));
        }
    }

    #[test]
    fn what_follows_from_other_objects_is_the_same_if_it_says_the_same() {
        assert_eq!(carried(objects(LINK), "80"), carried(objects(LINK), "80"));
        let compared = |before: [Metadata; 3], now: [Metadata; 3]| [0, 1, 2].map(|at| before[at] == now[at]);
        let kinds = |changed: &str| compared(carried(objects(LINK), "80"), carried(objects(changed), "80"));
        assert_eq!(kinds(&LINK.replace("plain: x", "plain: y")), [true; 3], "it is left out");
        assert_eq!(kinds(&LINK.replace("app: web", "app: other")), [false; 3]);
        assert_eq!(kinds(&LINK.replace("[plain]", "[]")), [false; 3]);
        let opaque = |ports: &str| carried(objects(LINK), ports);
        assert_eq!(compared(opaque("80"), opaque("81")), [false, true, false], "of Services only");
        assert_eq!(kinds(&LINK.replace("targetClusterName: east", "targetClusterName: west")), [false; 3]);
        assert_eq!(kinds(&LINK.replace("'77'", "'78'")), [false, true, true], "the mirror's version");
    }

    #[test]
    fn what_is_written_on_it_is_beside_what_it_carries() {
        let [mut metadata, ..] = carried(objects(LINK), "80");
        metadata.annotate("a", "b".into());
        assert_eq!(metadata.annotations()["a"], "b");
        assert_eq!(metadata.annotations()["config.linkerd.io/opaque-ports"], "80");
        assert_eq!(metadata.labels()["app"], "web");
    }
}
