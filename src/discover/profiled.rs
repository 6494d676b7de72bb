//! How do requests and connections go that a service profile speaks for (contract 3.3, 3.4, 3.11)?
//!
//! A profile with a name comes before policy: for HTTP if it has routes or overrides, for opaque connections if it has
//! overrides. What it says is decided without I/O; [`Profiled`] is the live form of that.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Request};

use crate::limit::retries::Retries;
use crate::model::matching::{Effort, TooCostly};
use crate::model::outbound::{
    Backend as Spec, BackendKind, Distribution, HttpRoutes, Load, OpaqueRoute, OutboundProtocol,
};
use crate::model::service_profile::{self, Condition, RequestMatch, ResponseClass, ServiceProfile};
use crate::model::{Authority, DnsName, OutboundPolicy, Profile, ResourceRef};
use crate::telemetry::Metrics;
use crate::telemetry::profiles::ProfileRoute;

use super::Backend;

/// Where all that a profile speaks for goes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Says {
    /// The Service.
    pub(super) dst: Authority,
    pub(super) parent: ResourceRef,
    pub(super) to: Distribution,
    /// Opaque connections go there too.
    pub(super) opaque: bool,
}

/// A profile's routes, over live backends.
pub struct Profiled {
    pub parent: ResourceRef,
    pub to: Distribution<Arc<Backend>>,
    /// Of opaque connections, where it speaks for them.
    pub opaque: Option<OpaqueRoute<Arc<Backend>>>,
    /// The Service, as requests are told for whom they are.
    pub canonical: HeaderValue,
    /// In order; the last takes all requests.
    routes: Vec<Route>,
}

/// Requests that are counted, retried and timed out alike.
pub struct Route {
    /// `None` takes every request.
    condition: Option<Condition<RequestMatch>>,
    pub counts: ProfileRoute,
    /// `None` where there are none.
    pub classes: Option<Arc<[ResponseClass]>>,
    /// Where its requests may be sent again.
    pub retries: Option<Arc<Retries>>,
    /// From a request's arrival to the head of its answer.
    pub timeout: Option<Duration>,
}

/// What a profile says of requests for this port; `None` where policy is asked.
pub(super) fn says(profile: &Profile, port: u16) -> Option<Says> {
    let name = profile.name.as_ref().filter(|_| profile.service.is_said())?;
    let dst = Authority::named(name.clone(), port);
    let balance = |authority: &Authority| Spec {
        meta: authority.name().map_or_else(unknown, |name| service(name, authority.port.unwrap_or(port))),
        kind: BackendKind::Balance { authority: authority.clone(), load: Load::default() },
    };
    let overrides = &profile.service.overrides;
    let to = match overrides.as_slice() {
        [] => Distribution::FirstAvailable(vec![balance(&dst)]),
        all => {
            Distribution::RandomAvailable(all.iter().map(|to| (balance(&to.authority), to.weight)).collect())
        }
    };
    Some(Says { parent: service(name, port), dst, to, opaque: !overrides.is_empty() })
}

/// Takes out of a policy what a profile decides. Returns whether that had said that HTTP is spoken.
pub(super) fn override_policy(policy: &mut OutboundPolicy, says: &Says) -> bool {
    let made = |http: &HttpRoutes| http.routes.iter().any(|route| !route.meta.is_default());
    let none = || HttpRoutes::from(Vec::new());
    let (declared, opaque) = match &mut policy.protocol {
        OutboundProtocol::Detect { http1, http2, opaque } => {
            let declared = made(http1) || made(http2);
            (*http1, *http2) = (none(), none());
            (declared, Some(opaque))
        }
        OutboundProtocol::Http1(routes)
        | OutboundProtocol::Http2(routes)
        | OutboundProtocol::Grpc(routes) => {
            *routes = none();
            (false, None)
        }
        OutboundProtocol::Opaque(opaque) => (false, Some(opaque)),
        OutboundProtocol::Tls(_) => (false, None),
    };
    if let Some(opaque) = opaque.filter(|_| says.opaque) {
        opaque.clear();
    }
    declared
}

impl Profiled {
    pub(super) fn new(
        says: Says,
        given: &ServiceProfile,
        retries: &Arc<Retries>,
        metrics: &Metrics,
        live: &mut impl FnMut(Spec) -> Arc<Backend>,
    ) -> Option<Self> {
        let Says { dst, parent, to, opaque } = says;
        let to = to.map(live);
        let opaque =
            opaque.then(|| OpaqueRoute::new(ResourceRef::default_named("serviceprofile"), to.clone()));
        let route = |of: &service_profile::Route| Route {
            condition: Some(of.condition.clone()),
            counts: metrics.profiles.route(&dst, &of.labels, of.retryable),
            classes: Some(of.responses.clone()).filter(|classes| !classes.is_empty()).map(Arc::from),
            retries: of.retryable.then(|| retries.clone()),
            timeout: of.timeout,
        };
        let counts = metrics.profiles.route(&dst, &Default::default(), false);
        let rest = Route { condition: None, counts, classes: None, retries: None, timeout: None };
        let routes = given.routes.iter().map(route).chain([rest]).collect();
        let canonical = HeaderValue::try_from(dst.to_string()).ok()?;
        Some(Self { parent, to, opaque, canonical, routes })
    }

    /// The first route that takes a request.
    ///
    /// # Errors
    /// Finding it would take too long.
    pub fn route<B>(&self, req: &Request<B>) -> Result<Option<&Route>, TooCostly> {
        let mut effort = Effort::default();
        for route in &self.routes {
            let Some(condition) = &route.condition else { return Ok(Some(route)) };
            if takes(condition, req, &mut effort)? {
                return Ok(Some(route));
            }
        }
        Ok(None)
    }
}

/// Whether a route's condition holds of a request.
pub(super) fn takes<B>(
    condition: &Condition<RequestMatch>,
    req: &Request<B>,
    effort: &mut Effort,
) -> Result<bool, TooCostly> {
    let path = req.uri().path();
    let mut spent = Ok(());
    let holds = condition.holds(&mut |test| match test {
        RequestMatch::Method(method) => {
            spent = spent.and_then(|()| effort.spend(1));
            method == req.method()
        }
        RequestMatch::Path(pattern) => {
            spent = spent.and_then(|()| effort.spend(path.len() + 1));
            spent.is_ok() && pattern.covers(path.as_bytes())
        }
    });
    spent.map(|()| holds)
}

/// The Service that a name is of, as metrics call it.
pub(super) fn service(name: &DnsName, port: u16) -> ResourceRef {
    match name.as_str().split('.').collect::<Vec<_>>().as_slice() {
        [service, namespace, "svc", ..] => ResourceRef::Resource {
            group: "core".into(),
            kind: "Service".into(),
            name: (*service).into(),
            namespace: (*namespace).into(),
            section: "".into(),
            port,
        },
        _ => unknown(),
    }
}

fn unknown() -> ResourceRef {
    ResourceRef::default_named("unknown")
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::model::matching::Pattern;
    use crate::model::service_profile::Override;

    fn path(text: &str) -> Condition<RequestMatch> {
        Condition::Is(RequestMatch::Path(Pattern::new(text).unwrap()))
    }

    fn route(condition: Condition<RequestMatch>) -> service_profile::Route {
        let labels = Default::default();
        service_profile::Route { labels, condition, responses: vec![], retryable: false, timeout: None }
    }

    fn profile(routes: usize, overrides: &[(&str, u32)]) -> Profile {
        let overrides =
            overrides.iter().map(|(to, weight)| Override { authority: to.parse().unwrap(), weight: *weight });
        let service = ServiceProfile {
            routes: (0..routes).map(|_| route(path("/"))).collect(),
            overrides: overrides.collect(),
            ..ServiceProfile::default()
        };
        Profile { name: Some("bb.demo.svc.cluster.local".parse().unwrap()), service, ..Profile::default() }
    }

    fn policy() -> OutboundPolicy {
        let meta = ResourceRef::default_named("policy");
        let http = || vec![crate::model::outbound::HttpRoute::new(meta.clone(), vec![])].into();
        let opaque = vec![OpaqueRoute::new(meta.clone(), Distribution::Empty)];
        let protocol = OutboundProtocol::Detect { http1: http(), http2: http(), opaque };
        OutboundPolicy { parent: meta.clone(), protocol }
    }

    /// How many routes policy has left, of HTTP and of opaque connections; `None` where the profile says nothing.
    fn left(profile: &Profile) -> Option<(usize, Vec<OpaqueRoute>)> {
        let says = says(profile, 8080)?;
        let mut policy = policy();
        override_policy(&mut policy, &says);
        let OutboundProtocol::Detect { http1, http2, opaque } = policy.protocol else { panic!("detects") };
        Some((http1.routes.len() + http2.routes.len(), opaque))
    }

    #[test]
    fn a_profile_comes_before_policy_where_it_has_a_name_and_something_to_say() {
        assert_eq!(left(&profile(0, &[])), None);
        assert_eq!(left(&Profile { name: None, ..profile(1, &[]) }), None);
        let (http, opaque) = left(&profile(1, &[])).unwrap();
        assert_eq!((http, opaque[0].meta.name()), (0, "policy"), "of opaque connections it says nothing");
        let (http, opaque) = left(&profile(0, &[("a.demo:80", 1)])).unwrap();
        assert_eq!((http, opaque.len()), (0, 0));
    }

    #[test]
    fn a_route_that_somebody_made_says_that_http_is_spoken_though_a_profile_replaces_it() {
        let profile = profile(0, &[("a.demo:80", 1)]);
        let says = says(&profile, 8080).unwrap();
        assert!(!override_policy(&mut policy(), &says), "a default route says nothing");
        let mut made = policy();
        let OutboundProtocol::Detect { http2, .. } = &mut made.protocol else { panic!("detects") };
        http2.routes[0].meta = ResourceRef::object("gateway.networking.k8s.io", "HTTPRoute", "x");
        assert!(override_policy(&mut made, &says));
    }

    #[test]
    fn all_goes_to_the_service_or_where_overrides_say() {
        let kind = |to: &Spec| match &to.kind {
            BackendKind::Balance { authority, load } => (authority.to_string(), *load),
            _ => panic!("balanced"),
        };
        let own = says(&profile(1, &[]), 8080).unwrap();
        let Distribution::FirstAvailable(to) = &own.to else { panic!("one") };
        assert_eq!(kind(&to[0]), ("bb.demo.svc.cluster.local:8080".to_owned(), Load::default()));
        let split = [("a.demo.svc.cluster.local:81", 9000), ("b.other:80", 1000)];
        let Distribution::RandomAvailable(to) = says(&profile(0, &split), 8080).unwrap().to else {
            panic!("two")
        };
        let to: Vec<_> =
            to.iter().map(|(to, weight)| (kind(to).0, to.meta.name().to_owned(), *weight)).collect();
        let expected = [("a.demo.svc.cluster.local:81", "a", 9000), ("b.other:80", "unknown", 1000)];
        assert_eq!(to, expected.map(|(to, meta, weight)| (to.to_owned(), meta.to_owned(), weight)));
    }

    #[test]
    fn conditions_are_made_of_methods_and_whole_paths() {
        let get = || Condition::Is(RequestMatch::Method(Method::GET));
        let takes = |condition: &Condition<RequestMatch>, method: Method, path: &str| {
            let req = Request::builder().method(method).uri(path).body(()).unwrap();
            takes(condition, &req, &mut Effort::default()).unwrap()
        };
        let all = Condition::All(vec![get(), Condition::Not(Box::new(path("/a/.*")))]);
        assert!(takes(&all, Method::GET, "/b?x=/a/") && !takes(&all, Method::GET, "/a/b"));
        assert!(!takes(&all, Method::POST, "/b"));
        let any = Condition::Any(vec![path("/a|/b"), Condition::All(vec![])]);
        assert!(takes(&any, Method::PUT, "/c"), "all of nothing holds");
        assert!(takes(&path("^/a$"), Method::GET, "/a") && !takes(&path("/a"), Method::GET, "/a/b"));
        let dear = Condition::Any((0..1_000).map(|n| path(&format!("b{n}"))).collect());
        let long = Request::get(format!("/{}", "a".repeat(16_000))).body(()).unwrap();
        assert_eq!(super::takes(&dear, &long, &mut Effort::default()), Err(TooCostly));
        let many = Condition::Any((0..1_000).map(|_| get()).collect());
        let (post, mut effort) = (Request::post("/").body(()).unwrap(), Effort::default());
        let asked = (0..5_000).take_while(|_| super::takes(&many, &post, &mut effort).is_ok());
        assert_eq!(asked.count(), (4 << 20) / 1_000, "each look counts");
    }
}
