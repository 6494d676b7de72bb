//! How is traffic for a name to be treated that a gateway was asked for (contract 4.9)? Pure.
//!
//! HTTP goes where the profile says, whatever policy does: it is the caller's cluster that routes. Opaque connections
//! go where policy says. Without a profile nothing goes anywhere.

use crate::model::outbound::{
    Backend, BackendKind, Distribution, HttpRoute, HttpRule, Load, OpaqueRefusal, OpaqueRoute,
    OutboundProtocol,
};
use crate::model::{Authority, OutboundPolicy, Profile, ResourceRef};

use super::policy::Answer;
use super::profiled::service;

/// `None` where the profile says nothing: the name has no such port, or is nothing's.
pub(super) fn policy(profile: Option<&Profile>, port: u16, policy: &Answer) -> Option<OutboundPolicy> {
    let profile = profile?;
    let backend = backend(profile, port)?;
    let to = || Distribution::FirstAvailable(vec![backend.clone()]);
    let meta = ResourceRef::default_named("gateway");
    let http = || vec![HttpRoute::new(meta.clone(), vec![HttpRule::new(vec![], to())])].into();
    let opaque = match policy {
        Answer::Policy(policy) => opaque(&policy.protocol),
        Answer::Unknown if profile.endpoint.is_some() => vec![opaque_route(None, to())],
        Answer::Unknown | Answer::Invalid | Answer::Refused(_) => vec![refusal()],
    };
    Some(OutboundPolicy {
        parent: backend.meta.clone(),
        protocol: OutboundProtocol::Detect { http1: http(), http2: http(), opaque },
    })
}

/// A Service is balanced over, a pod is forwarded to.
fn backend(profile: &Profile, port: u16) -> Option<Backend> {
    if let Some(name) = &profile.name {
        let authority = Authority::named(name.clone(), port);
        let kind = BackendKind::Balance { authority, load: Load::default() };
        return Some(Backend { meta: service(name, port), kind });
    }
    let endpoint = profile.endpoint.clone()?;
    let kind = BackendKind::Forward(Box::new(endpoint));
    Some(Backend { meta: ResourceRef::default_named("gateway"), kind })
}

/// A policy that says that the port speaks HTTP has nothing to say of what does not.
fn opaque(protocol: &OutboundProtocol) -> Vec<OpaqueRoute> {
    match protocol {
        OutboundProtocol::Detect { opaque, .. } | OutboundProtocol::Opaque(opaque) => opaque.clone(),
        _ => vec![refusal()],
    }
}

fn refusal() -> OpaqueRoute {
    opaque_route(Some(OpaqueRefusal::Invalid), Distribution::Empty)
}

fn opaque_route(refusal: Option<OpaqueRefusal>, backends: Distribution) -> OpaqueRoute {
    OpaqueRoute { refusal, ..OpaqueRoute::new(ResourceRef::default_named("gateway"), backends) }
}

#[cfg(test)]
mod tests {
    use crate::model::Endpoint;

    use super::*;

    fn named() -> Profile {
        Profile { name: Some("bb.demo.svc.cluster.local".parse().unwrap()), ..Profile::default() }
    }

    fn routes(profile: &Profile, answer: &Answer) -> (BackendKind, OpaqueRoute) {
        let policy = policy(Some(profile), 8080, answer).unwrap();
        let OutboundProtocol::Detect { http1, http2, opaque } = policy.protocol else { panic!("detects") };
        assert_eq!(http1, http2);
        let Distribution::FirstAvailable(backends) = &http1.routes[0].rules[0].backends else {
            panic!("one backend")
        };
        (backends[0].backend.kind.clone(), opaque[0].clone())
    }

    fn policy_of(protocol: OutboundProtocol) -> Answer {
        Answer::Policy(Box::new(OutboundPolicy { parent: ResourceRef::default_named("x"), protocol }))
    }

    #[test]
    fn requests_go_by_the_profile_and_opaque_connections_by_policy() {
        let elsewhere = opaque_route(None, Distribution::Empty);
        let answer = policy_of(OutboundProtocol::Opaque(vec![elsewhere.clone()]));
        let (kind, opaque) = routes(&named(), &answer);
        let BackendKind::Balance { authority, .. } = kind else { panic!("balanced") };
        assert_eq!(authority.to_string(), "bb.demo.svc.cluster.local:8080");
        assert_eq!(opaque, elsewhere);
    }

    #[test]
    fn what_policy_does_not_say_of_opaque_connections_is_not_guessed() {
        for answer in [Answer::Unknown, Answer::Invalid, policy_of(OutboundProtocol::Http1(vec![].into()))] {
            assert_eq!(routes(&named(), &answer).1.refusal, Some(OpaqueRefusal::Invalid));
        }
    }

    #[test]
    fn a_pods_name_leads_to_the_pod() {
        let endpoint = Endpoint::plain("10.0.0.9:8080".parse().unwrap());
        let profile = Profile { endpoint: Some(endpoint.clone()), ..Profile::default() };
        let (kind, opaque) = routes(&profile, &Answer::Unknown);
        assert_eq!(kind, BackendKind::Forward(Box::new(endpoint)));
        assert_eq!(opaque.refusal, None);
    }

    #[test]
    fn without_a_word_in_the_profile_nothing_goes_anywhere() {
        let answer = policy_of(OutboundProtocol::Opaque(vec![opaque_route(None, Distribution::Empty)]));
        assert_eq!(policy(None, 80, &answer), None);
        assert_eq!(policy(Some(&Profile::default()), 80, &answer), None);
    }
}
