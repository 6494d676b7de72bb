//! Which backend does this request, or connection, belong to? Decisions only, no I/O.

use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use http::Request;
use tokio::time::Instant;

use crate::discover::{Backend, Policy, Profiled, Routing};
use crate::error::{Fault, Reason};
use crate::model::matching::{self, Effort, Head, HostRank, Rank, RequestMatch, TooCostly};
use crate::model::outbound::{
    Distribution, HttpRoute, HttpRoutes, HttpRule, OpaqueRefusal, OpaqueRoute, OutboundProtocol, RouteBackend,
};
use crate::model::{DnsName, ResourceRef};
use crate::telemetry::streams::Spoken;

/// The route that a request takes, and what its rule says.
pub struct Taken<'a> {
    pub parent: &'a ResourceRef,
    pub route: &'a ResourceRef,
    /// What the policy says that the route's requests are.
    pub spoken: Spoken,
    pub rule: &'a HttpRule<Arc<Backend>>,
    /// The match that led there.
    pub matched: Option<&'a RequestMatch>,
}

/// The route that an opaque connection takes.
pub struct TakenOpaque<'a> {
    pub parent: &'a ResourceRef,
    pub route: &'a ResourceRef,
    refusal: Option<OpaqueRefusal>,
    backends: &'a Distribution<Arc<Backend>>,
}

/// The route of a request: the best-ranked rule, by its route's host first; of equals, the first (contract 3.11).
pub fn http<'a, B>(routing: &'a Routing, req: &Request<B>) -> Result<Taken<'a>, Fault> {
    let policy = usable(routing)?;
    let http2 = req.version() == ::http::Version::HTTP_2;
    let http = http_routes(policy, http2).ok_or(Reason::NotHttp)?;
    let Best { route, rule, matched } = best(http, &Head::of(req))?;
    let spoken = match policy.policy.protocol {
        OutboundProtocol::Grpc(_) => Spoken::Grpc,
        _ => Spoken::Http,
    };
    Ok(Taken { parent: &policy.policy.parent, route: &route.meta, spoken, rule, matched })
}

/// What a service profile says of requests, where one speaks for them: it comes before policy (contract 3.3).
pub fn profile(routing: &Routing) -> Option<&Profiled> {
    match routing {
        Routing::Policy(policy) => policy.profile.as_deref(),
        _ => None,
    }
}

/// A rule of a route, and which of its matches led there.
pub struct Best<'a, B> {
    pub route: &'a HttpRoute<B>,
    pub rule: &'a HttpRule<B>,
    pub matched: Option<&'a RequestMatch>,
}

type Ranked = (Option<HostRank>, Rank);

/// The best-ranked rule, by its route's host first; of equals, the first.
///
/// # Errors
/// None takes the request, or finding it would take too long.
pub fn best<'a, B>(http: &'a HttpRoutes<B>, head: &Head<'_>) -> Result<Best<'a, B>, Reason> {
    let mut effort = Effort::default();
    let mut best: Option<(Ranked, Best<'a, B>)> = None;
    for route in &http.routes {
        let host = matching::best_host_within(&route.hosts, || head.host(), &mut effort);
        let host = host.map_err(|TooCostly| Reason::RouteTooCostly)?;
        let held = best.as_ref().map(|(held, _)| *held);
        if (host.is_none() && !route.hosts.is_empty()) || held.is_some_and(|(held, _)| host < held) {
            continue;
        }
        for rule in &route.rules {
            let held = best.as_ref().map(|(held, _)| *held).filter(|(held, _)| *held == host);
            let above = held.map(|(_, rank)| rank);
            let found = matching::best_above(&rule.matches, head, above, &mut effort);
            if let Some((rank, matched)) = found.map_err(|TooCostly| Reason::RouteTooCostly)? {
                best = Some(((host, rank), Best { route, rule, matched }));
            }
        }
    }
    best.map(|(_, best)| best).ok_or(Reason::NoRoute)
}

/// The route of an opaque connection: a service profile's, if it has one, whatever policy speaks; else the first.
pub fn opaque(routing: &Routing) -> Result<TakenOpaque<'_>, Fault> {
    let policy = usable(routing)?;
    if let Some(profile) = &policy.profile
        && let Some(route) = &profile.opaque
    {
        return Ok(taken(&profile.parent, route));
    }
    let (OutboundProtocol::Detect { opaque: routes, .. } | OutboundProtocol::Opaque(routes)) =
        &policy.policy.protocol
    else {
        return Err(Reason::OtherProtocol.into());
    };
    Ok(taken(&policy.policy.parent, routes.first().ok_or(Reason::NoRoute)?))
}

/// The route of a connection that asks for a server of this name: the best-ranked, of equals the first.
pub fn tls<'a>(routing: &'a Routing, name: &DnsName) -> Result<TakenOpaque<'a>, Fault> {
    let policy = usable(routing)?;
    let OutboundProtocol::Tls(routes) = &policy.policy.protocol else { return Err(Reason::NoRoute.into()) };
    let mut best = None;
    for route in routes {
        let rank = matching::best_host(&route.snis, || Some(name.as_str()));
        if rank.is_none() && !route.snis.is_empty() {
            continue;
        }
        if best.as_ref().is_none_or(|(held, _)| rank > *held) {
            best = Some((rank, route));
        }
    }
    Ok(taken(&policy.policy.parent, best.ok_or(Reason::NoRoute)?.1))
}

fn taken<'a>(parent: &'a ResourceRef, route: &'a OpaqueRoute<Arc<Backend>>) -> TakenOpaque<'a> {
    TakenOpaque { parent, route: &route.meta, refusal: route.refusal, backends: &route.backends }
}

fn usable(routing: &Routing) -> Result<&Policy, Fault> {
    match routing {
        Routing::Policy(policy) => Ok(policy),
        Routing::Invalid => Err(Reason::InvalidPolicy.into()),
        Routing::Refused(_) => Err(Reason::Discovery.into()),
        Routing::Nowhere | Routing::Unprofiled => Err(Reason::GatewayDomain.into()),
    }
}

fn http_routes(policy: &Policy, is_http2: bool) -> Option<&HttpRoutes<Arc<Backend>>> {
    match &policy.policy.protocol {
        OutboundProtocol::Detect { http1, http2, .. } => Some(if is_http2 { http2 } else { http1 }),
        OutboundProtocol::Http1(http) | OutboundProtocol::Http2(http) | OutboundProtocol::Grpc(http) => {
            Some(http)
        }
        OutboundProtocol::Opaque(_) | OutboundProtocol::Tls(_) => None,
    }
}

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

pub(super) fn choose<B>(among: &Distribution<B>, is_ready: impl Fn(&B) -> bool) -> Option<&B> {
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
    use crate::model::matching::{HeaderMatch, HostMatch, PathMatch, Pattern, ValueMatch};
    use proptest::prelude::*;

    fn by(path: Option<PathMatch>, method: bool) -> RequestMatch {
        let method = method.then_some(::http::Method::GET);
        RequestMatch { path, method, ..RequestMatch::default() }
    }

    fn matches() -> impl Strategy<Value = RequestMatch> {
        let pattern = |text: &str| PathMatch::Regex(Pattern::new(text).unwrap());
        let path = prop_oneof![
            Just(None),
            "(/[ab]){0,3}/?".prop_map(|path| Some(PathMatch::Prefix(path))),
            "(/[ab]){1,3}".prop_map(|path| Some(PathMatch::Exact(path))),
            Just(Some(pattern("/a.*"))),
            Just(Some(pattern(".*/b"))),
            Just(Some(PathMatch::Rpc { service: Some("a".into()), method: None })),
            Just(Some(PathMatch::Rpc { service: None, method: Some("b".into()) })),
        ];
        (path, any::<bool>()).prop_map(|(path, method)| by(path, method))
    }

    fn routes() -> impl Strategy<Value = HttpRoutes<()>> {
        let hosts = prop_oneof![
            Just(vec![]),
            Just(vec![HostMatch::Exact("a.b".into())]),
            Just(vec![HostMatch::Suffix(vec!["b".into()])]),
            Just(vec![HostMatch::Exact("c".into())]),
        ];
        let rule = proptest::collection::vec(matches(), 0..3)
            .prop_map(|matches| HttpRule::new(matches, Distribution::Empty));
        let route = (hosts, proptest::collection::vec(rule, 0..3)).prop_map(|(hosts, rules)| HttpRoute {
            hosts,
            ..HttpRoute::new(ResourceRef::default_named("x"), rules)
        });
        proptest::collection::vec(route, 0..5).prop_map(HttpRoutes::from)
    }

    /// Every rule is looked at.
    fn naive<'a>(
        http: &'a HttpRoutes<()>,
        head: &Head<'_>,
    ) -> Option<(&'a HttpRule<()>, Option<&'a RequestMatch>)> {
        let mut best = None;
        for route in &http.routes {
            let host = matching::best_host(&route.hosts, || head.host());
            if host.is_none() && !route.hosts.is_empty() {
                continue;
            }
            for rule in &route.rules {
                let Some((rank, matched)) = matching::best(&rule.matches, head) else { continue };
                if best.as_ref().is_none_or(|(held, _)| (host, rank) > *held) {
                    best = Some(((host, rank), (rule, matched)));
                }
            }
        }
        best.map(|(_, found)| found)
    }

    proptest! {
        #[test]
        fn looking_no_closer_than_it_takes_finds_what_looking_at_all_does(
            routes in routes(),
            path in "(/[ab]){1,3}/?",
            host in prop_oneof![Just("a.b"), Just("x.b"), Just("d")],
            get in any::<bool>(),
        ) {
            let req = Request::builder().method(if get { "GET" } else { "POST" });
            let req = req.uri(format!("http://{host}{path}")).body(()).unwrap();
            let head = Head::of(&req);
            let found = best(&routes, &head).ok();
            let naive = naive(&routes, &head);
            prop_assert_eq!(found.as_ref().map(|found| std::ptr::from_ref(found.rule)), naive.map(|(rule, _)| std::ptr::from_ref(rule)));
            prop_assert_eq!(found.and_then(|found| found.matched), naive.and_then(|(_, matched)| matched));
        }
    }

    #[test]
    fn patterns_cost_no_more_than_a_request_is_worth() {
        let pattern = |n: usize| by(Some(PathMatch::Regex(Pattern::new(&format!("b{n}")).unwrap())), false);
        let rule = |n| HttpRule::<()>::new(vec![pattern(n)], Distribution::Empty);
        let route = HttpRoute::new(ResourceRef::default_named("x"), (0..1_000).map(rule).collect());
        let routes = HttpRoutes::from(vec![route]);
        let ask = |length| {
            let req = Request::get(format!("/{}", "a".repeat(length))).body(()).unwrap();
            best(&routes, &Head::of(&req)).err()
        };
        assert_eq!(ask(100), Some(Reason::NoRoute));
        assert_eq!(ask(16_000), Some(Reason::RouteTooCostly));
    }

    #[test]
    fn hosts_and_values_cost_no_more_than_a_request_is_worth() {
        let to = |text: &str| RequestMatch {
            headers: vec![HeaderMatch {
                name: "x-to".parse().unwrap(),
                value: ValueMatch::Exact(text.as_bytes().to_vec()),
            }],
            ..RequestMatch::default()
        };
        let ask = |routes: Vec<HttpRoute<()>>, host: &str, values: usize| {
            let mut req = Request::get(format!("http://{host}/"));
            for _ in 0..values {
                req = req.header("x-to", "b");
            }
            best(&HttpRoutes::from(routes), &Head::of(&req.body(()).unwrap())).err()
        };
        let route = |hosts, matches| HttpRoute {
            hosts,
            ..HttpRoute::new(
                ResourceRef::default_named("x"),
                vec![HttpRule::new(matches, Distribution::Empty)],
            )
        };
        // As long as the one that is asked for, and another.
        let long = |n: usize| format!("{n:0>6}.{}", "a.".repeat(123));
        let exact = || vec![route((0..17_000).map(|n| HostMatch::Exact(long(n))).collect(), vec![])];
        assert_eq!(ask(exact(), &long(99_999), 0), Some(Reason::RouteTooCostly));
        assert_eq!(ask(exact(), "b", 0), Some(Reason::NoRoute), "a glance is enough");
        let labels = |n: usize| long(n).split('.').rev().map(str::to_owned).collect();
        let suffixes = || vec![route((0..17_000).map(|n| HostMatch::Suffix(labels(n))).collect(), vec![])];
        assert_eq!(ask(suffixes(), &format!("x.{}", long(99_999)), 0), Some(Reason::RouteTooCostly));
        let headers = || vec![route(vec![], vec![to("a"); 5_000])];
        assert_eq!(ask(headers(), "b", 1), Some(Reason::NoRoute));
        assert_eq!(ask(headers(), "b", 1_000), Some(Reason::RouteTooCostly));
    }

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
