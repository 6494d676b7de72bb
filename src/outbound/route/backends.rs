//! Which backend of a rule or route is used now, and what else waits for an endpoint beside it (contract 3.4).

use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use super::{Taken, TakenOpaque};
use crate::discover::Backend;
use crate::error::{Fault, Reason};
use crate::model::outbound::{Distribution, OpaqueRefusal, RouteBackend};

impl<'a> Taken<'a> {
    /// The backend to use now: one that has a ready endpoint, where there is a choice (contract 3.4).
    ///
    /// # Errors
    /// The rule has no backend.
    pub fn backend(&self) -> Result<&'a RouteBackend<Arc<Backend>>, Fault> {
        choose(&self.rule.backends, |to| to.backend.is_ready()).ok_or_else(|| Reason::LoadShed.into())
    }

    /// Whether any of its backends has a ready endpoint.
    pub fn is_ready(&self) -> bool {
        each(&self.rule.backends).any(|to| to.backend.is_ready())
    }

    /// Where its requests may go instead of a backend.
    pub fn others(&self, but: &'a Backend) -> Others<'a, RouteBackend<Arc<Backend>>> {
        Others { all: &self.rule.backends, but }
    }
}

/// Backends of a rule or route but one, that may have endpoints: what waits for one of that goes there as soon as there
/// is one.
pub struct Others<'a, B> {
    all: &'a Distribution<B>,
    but: &'a Backend,
}

impl<B> Copy for Others<'_, B> {}

impl<B> Clone for Others<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<'a, B: AsRef<Backend>> Others<'a, B> {
    pub fn are_none(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Waits until one of them has a ready endpoint.
    pub async fn until_ready(&self, deadline: Instant) {
        let waiting = self.iter().map(|backend| Box::pin(backend.wait_ready(deadline)));
        let mut waiting: FuturesUnordered<_> = waiting.collect();
        while waiting.next().await.is_some_and(|is_ready| !is_ready) {}
        if waiting.is_empty() && !self.iter().any(Backend::is_ready) {
            std::future::pending().await
        }
    }

    fn iter(&self) -> impl Iterator<Item = &'a Backend> {
        let Self { all, but } = *self;
        let others = each(all).map(AsRef::as_ref);
        others.filter(move |backend| !std::ptr::eq(*backend, but) && backend.has_endpoints())
    }
}

impl AsRef<Backend> for RouteBackend<Arc<Backend>> {
    fn as_ref(&self) -> &Backend {
        &self.backend
    }
}

fn each<B>(all: &Distribution<B>) -> impl Iterator<Item = &B> {
    let (first, random) = match all {
        Distribution::Empty => (&[][..], &[][..]),
        Distribution::FirstAvailable(all) => (all.as_slice(), &[][..]),
        Distribution::RandomAvailable(all) => (&[][..], all.as_slice()),
    };
    first.iter().chain(random.iter().map(|(to, _)| to))
}

impl<'a> TakenOpaque<'a> {
    /// Where its connections may go instead of a backend.
    pub fn others(&self, but: &'a Backend) -> Others<'a, Arc<Backend>> {
        Others { all: self.backends, but }
    }

    /// The backend to use now, as for requests.
    ///
    /// # Errors
    /// The route refuses everything, or has no backend.
    pub fn backend(&self) -> Result<&'a Arc<Backend>, Fault> {
        match self.refusal {
            Some(OpaqueRefusal::Forbidden) => Err(Reason::Forbidden.into()),
            Some(OpaqueRefusal::Invalid) => Err(Reason::InvalidPolicy.into()),
            None => {
                choose(self.backends, |backend| backend.is_ready()).ok_or_else(|| Reason::LoadShed.into())
            }
        }
    }
}

pub(in crate::outbound) fn choose<B>(among: &Distribution<B>, is_ready: impl Fn(&B) -> bool) -> Option<&B> {
    match among {
        Distribution::Empty => None,
        Distribution::FirstAvailable(all) => all.iter().find(|to| is_ready(to)).or_else(|| all.first()),
        Distribution::RandomAvailable(all) => weighted(all, is_ready).or_else(|| weighted(all, |_| true)),
    }
}

fn weighted<B>(all: &[(B, u32)], is_open: impl Fn(&B) -> bool) -> Option<&B> {
    let open = || all.iter().filter(|(to, _)| is_open(to));
    let total: u64 = open().map(|(_, weight)| u64::from(*weight)).sum();
    if total == 0 {
        return None;
    }
    let mut at = fastrand::u64(..total);
    open()
        .find(|(_, weight)| match at.checked_sub(u64::from(*weight)) {
            Some(rest) => {
                at = rest;
                false
            }
            None => true,
        })
        .map(|(to, _)| to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_shares_among_those_that_are_ready() {
        let all = Distribution::RandomAvailable(vec![("a", 9), ("b", 1), ("c", 10)]);
        let mut seen = [0_u32; 3];
        for _ in 0..10_000 {
            match choose(&all, |to| *to != "c") {
                Some(&"a") => seen[0] += 1,
                Some(&"b") => seen[1] += 1,
                _ => seen[2] += 1,
            }
        }
        assert!((8_700..9_300).contains(&seen[0]) && seen[2] == 0, "{seen:?}");
        let first = Distribution::FirstAvailable(vec!["a", "b"]);
        assert_eq!((choose(&first, |to| *to == "b"), choose(&first, |_| false)), (Some(&"b"), Some(&"a")));
        assert_eq!(choose(&Distribution::<u8>::Empty, |_| true), None);
        assert!(choose(&all, |_| false).is_some(), "one that is not ready is waited for");
    }
}
