//! Decisions and explanations, compared with each other and with a second reading of the rules.

use proptest::prelude::*;

use super::generated::{authorization, client, peer, request, server};
use super::*;
use crate::authorize::explain::{Explanation, Verdict};

#[allow(unreachable_pub)]
#[path = "../../../fuzz/src/naive.rs"]
mod naive;

fn outcome<'p>(
    decided: Result<HttpPermit<'p>, Refusal<'p>>,
) -> Result<(&'p str, &'p str), naive::Refused<'p>> {
    match decided {
        Ok(permit) => Ok((permit.route.name(), permit.authz.name())),
        Err(Refusal::RouteNotFound) => Err(naive::Refused::NoRoute),
        Err(Refusal::Denied { route }) => Err(naive::Refused::Denied(route.name())),
        Err(Refusal::Unjudged { route }) => Err(naive::Refused::Unjudged(route.name())),
    }
}

/// The same as in a decision.
fn verdict<'p>(explained: &Explanation<'p>) -> Result<(&'p str, &'p str), naive::Refused<'p>> {
    match &explained.verdict {
        Verdict::Allowed { route, authz } => Ok((route.map_or("", |route| route.name()), authz.name())),
        Verdict::Denied { route } => Err(naive::Refused::Denied(route.map_or("", |route| route.name()))),
        Verdict::NoRoute { .. } | Verdict::NotHttp | Verdict::HttpAlone => Err(naive::Refused::NoRoute),
        Verdict::Unjudged { route } => Err(naive::Refused::Unjudged(route.name())),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn decisions_equal_a_naive_reading_of_the_rules(
        server in server(), client in client(), peer in peer(), req in request()
    ) {
        let wanted = naive::http(&server, client, &peer, &req);
        let decided = outcome(http(&server, client, &peer, &Head::of(&req)));
        prop_assert!(naive::agrees(&wanted, decided), "{:?}, not {:?}", decided, wanted);
        let wanted = naive::tcp(&server, client, &peer);
        prop_assert_eq!(tcp(&server, client, &peer).ok().map(|permit| permit.authz.name()), wanted);
    }

    #[test]
    fn an_authorization_more_never_takes_access_away(
        server in server(), more in authorization(), at: prop::sample::Index, of: prop::sample::Index,
        client in client(), peer in peer(), req in request()
    ) {
        let mut wider = server.clone();
        wider.authorizations.insert(at.index(server.authorizations.len() + 1), more.clone());
        if let ServerProtocol::Http1(routes) | ServerProtocol::Grpc(routes) | ServerProtocol::Detect { routes, .. } = &mut wider.protocol
            && !routes.is_empty()
        {
            let of = of.index(routes.len());
            let route = &mut routes[of];
            route.authorizations.insert(at.index(route.authorizations.len() + 1), more);
        }
        prop_assert!(tcp(&wider, client, &peer).is_ok() >= tcp(&server, client, &peer).is_ok());
        let get = |policy| http(policy, client, &peer, &Head::of(&req)).is_ok();
        prop_assert!(get(&wider) >= get(&server));
    }

    #[test]
    fn an_explanation_has_the_decision_and_what_led_to_it(
        server in server(), client in client(), peer in peer(), req in request()
    ) {
        let head = Head::of(&req);
        let explained = explain::http(&server, client, &peer, &head);
        let decided = outcome(http(&server, client, &peer, &head));
        prop_assert_eq!(verdict(&explained), decided);
        let last = explained.tried.last();
        match decided {
            Ok((_, authz)) => {
                prop_assert!(last.is_some_and(|last| last.failed.is_none() && last.authz.name() == authz));
                prop_assert!(explained.read_as.is_none());
            }
            Err(naive::Refused::Denied(_)) => prop_assert!(explained.tried.iter().all(|tried| tried.failed.is_some())),
            Err(naive::Refused::NoRoute) => prop_assert!(explained.tried.is_empty()),
            Err(naive::Refused::Unjudged(_)) => {}
        }
        let explained = explain::tcp(&server, client, &peer);
        prop_assert_eq!(explained.is_allowed(), tcp(&server, client, &peer).is_ok());
        prop_assert_eq!(explained.is_allowed(), explained.tried.last().is_some_and(|last| last.failed.is_none()));
    }

    #[test]
    fn any_path_is_judged(path in "/[ -~]{0,40}") {
        let policy = guarded();
        if let Ok(req) = Request::get(path).body(()) {
            let _ = http(&policy, CLIENT, &PLAIN, &Head::of(&req));
        }
    }
}
