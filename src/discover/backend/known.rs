//! Which of the live backends is one that a policy describes?

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::model::outbound::{Backend as Spec, BackendKind};
use crate::model::{Authority, ResourceRef};

use super::Backend;

/// Backends by what they lead to. However many there are, few lead to the same and differ in how they do.
pub(in crate::discover) struct Known<B = Arc<Backend>>(HashMap<Key, Vec<B>>);

#[derive(PartialEq, Eq, Hash)]
struct Key {
    meta: ResourceRef,
    to: To,
}

#[derive(PartialEq, Eq, Hash)]
enum To {
    Name(Authority),
    Addr(SocketAddr),
    Nothing,
}

impl Key {
    fn of(spec: &Spec) -> Self {
        let to = match &spec.kind {
            BackendKind::Balance { authority, .. } => To::Name(authority.clone()),
            BackendKind::Forward(endpoint) => To::Addr(endpoint.addr),
            BackendKind::Fail => To::Nothing,
        };
        Self { meta: spec.meta.clone(), to }
    }
}

impl<B> Default for Known<B> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<B> Known<B> {
    pub(super) fn find(&self, spec: &Spec, same: impl Fn(&B) -> bool) -> Option<&B> {
        self.0.get(&Key::of(spec))?.iter().find(|backend| same(backend))
    }

    pub(super) fn add(&mut self, spec: &Spec, backend: B) {
        self.0.entry(Key::of(spec)).or_default().push(backend);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use super::*;
    use crate::model::Endpoint;
    use crate::model::outbound::Load;

    fn to(name: &str, kind: BackendKind) -> Spec {
        Spec { meta: ResourceRef::object("core", "Service", name), kind }
    }

    fn balance(n: usize) -> Spec {
        let authority = format!("s{n}.demo.svc.cluster.local:80").parse().unwrap();
        to(&format!("s{n}"), BackendKind::Balance { authority, load: Load::default() })
    }

    #[test]
    fn among_ten_thousand_backends_each_is_found_at_one_glance() {
        let looks = Cell::new(0);
        let mut known = Known::default();
        let find = |known: &Known<Spec>, spec: &Spec| {
            let same = |held: &Spec| {
                looks.set(looks.get() + 1);
                held == spec
            };
            known.find(spec, same).is_some()
        };
        for n in 0..10_000 {
            assert!(!find(&known, &balance(n)));
            known.add(&balance(n), balance(n));
        }
        assert_eq!(looks.get(), 0);
        for n in 0..10_000 {
            assert!(find(&known, &balance(n)));
        }
        assert_eq!(looks.get(), 10_000);
    }

    #[test]
    fn backends_that_lead_to_the_same_in_another_way_are_others() {
        let mut slow = balance(1);
        let decay = Duration::from_secs(60);
        if let BackendKind::Balance { load, .. } = &mut slow.kind {
            *load = Load { decay, ..Load::default() };
        }
        let endpoint = |weight| Endpoint { weight, ..Endpoint::plain("10.0.0.1:80".parse().unwrap()) };
        let forward = |weight| to("x", BackendKind::Forward(Box::new(endpoint(weight))));
        let all = [
            balance(1),
            slow,
            forward(1),
            forward(2),
            to("x", BackendKind::Fail),
            to("y", BackendKind::Fail),
        ];
        let mut known = Known::default();
        for spec in &all {
            assert_eq!(known.find(spec, |held| held == spec), None);
            known.add(spec, spec.clone());
        }
        for spec in &all {
            assert_eq!(known.find(spec, |held| held == spec), Some(spec));
        }
    }
}
