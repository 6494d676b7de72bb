//! What objects are known by.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Namespace and name, in the order in which everything is sorted. Copies share the texts: one object is known
/// under its name in many places.
#[derive(Clone, Debug, Eq)]
pub struct ObjectName {
    /// Empty for objects that lie in no namespace.
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

thread_local! {
    /// The namespace of the latest name that was made.
    static LATEST: RefCell<Arc<str>> = RefCell::new(Arc::from(""));
}

impl ObjectName {
    /// Objects that are read one after the other mostly lie in one namespace: they share its name.
    pub fn new(namespace: &str, name: &str) -> Self {
        let namespace = LATEST.with_borrow_mut(|latest| {
            if **latest != *namespace {
                *latest = namespace.into();
            }
            latest.clone()
        });
        Self { namespace, name: name.into() }
    }

    /// Another object of the same namespace.
    pub fn beside(&self, name: &str) -> Self {
        Self { namespace: self.namespace.clone(), name: name.into() }
    }
}

/// Texts that are shared are the same without a look at them, which would be in memory far away.
fn compare(a: &Arc<str>, b: &Arc<str>) -> Ordering {
    if Arc::ptr_eq(a, b) { Ordering::Equal } else { a.cmp(b) }
}

impl Ord for ObjectName {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(&self.namespace, &other.namespace).then_with(|| compare(&self.name, &other.name))
    }
}

impl PartialOrd for ObjectName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for ObjectName {
    fn eq(&self, other: &Self) -> bool {
        let same = |a: &Arc<str>, b: &Arc<str>| Arc::ptr_eq(a, b) || a == b;
        same(&self.name, &other.name) && same(&self.namespace, &other.namespace)
    }
}

impl Hash for ObjectName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.namespace.hash(state);
        self.name.hash(state);
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            return f.write_str(&self.name);
        }
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
