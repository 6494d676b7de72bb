//! The two look-ups of a target, and what follows from their answers (contract 3.2).

use std::error::Error as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};

use ipnet::IpNet;
use linkerd2_proxy_api::destination::GetDestination;
use linkerd2_proxy_api::destination::destination_client::DestinationClient;
use linkerd2_proxy_api::outbound::outbound_policies_client::OutboundPoliciesClient;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tonic::{Code, Status};
use tracing::warn;

use crate::api;
use crate::config::Suffixes;
use crate::controller::Controller;
use crate::limit::retries::Retries;
use crate::model::outbound::{
    Backend as BackendSpec, BackendKind, Distribution, HttpRoute, HttpRule, Load, OpaqueRoute,
    OutboundProtocol,
};
use crate::model::service_profile::RetryBudget;
use crate::model::{Authority, Endpoint, OutboundPolicy, Profile, ResourceRef};

use super::backend::{Backends, Known};
use super::stream::{self, Outages, Patience};
use super::{Destination, Policy, Profiled, Routing, Target, named, profiled};

/// Asks the control plane about targets.
pub struct Lookups {
    pub policies: Controller,
    pub profiles: Controller,
    /// Sent as they are, trailing newlines included.
    pub workload: String,
    pub context: String,
    /// Addresses for which profiles are asked; none by default (contract 1.3).
    pub profile_networks: Vec<IpNet>,
    /// The same of names.
    pub profile_suffixes: Suffixes,
    /// Addresses that nobody knows are not forwarded to (contract 3.12).
    pub ingress: bool,
    pub patience: Patience,
    pub backends: Arc<Backends>,
}

enum News {
    Policy(Result<OutboundPolicy, api::InvalidPolicy>),
    PolicyRefused(Code),
    Profile(Result<Option<Profile>, api::InvalidProfile>),
}

/// What has been answered so far.
#[derive(Default)]
struct Answers {
    policy: Option<Answer>,
    profile: Option<Result<Option<Profile>, Invalid>>,
}

/// What of a routing lives on in the next.
#[derive(Default)]
struct Live {
    backends: Known,
    retries: Option<Arc<Retries>>,
}

impl Live {
    /// The state of a budget: it goes on for as long as the profile says the same of it.
    fn retries(&mut self, budget: &RetryBudget) -> Arc<Retries> {
        let same = self.retries.take().filter(|retries| retries.of == *budget);
        self.retries.insert(same.unwrap_or_else(|| Arc::new(Retries::new(budget.clone())))).clone()
    }
}

/// An answer that could not be understood, and has been reported.
struct Invalid;

pub(super) enum Answer {
    Policy(Box<OutboundPolicy>),
    Invalid,
    /// `NotFound` or `Unimplemented`: the address is nothing that policy knows.
    Unknown,
    Refused(Code),
}

impl Lookups {
    /// Keeps a destination fresh, for as long as somebody holds it.
    pub(super) fn watch(self: Arc<Self>, destination: &Arc<Destination>) -> JoinHandle<()> {
        let (target, outages) = (destination.target.clone(), destination.outages.clone());
        let destination = Arc::downgrade(destination);
        tokio::spawn(async move {
            let (tx, mut rx) = mpsc::unbounded_channel();
            // Aborted with this task.
            let mut watches = JoinSet::new();
            watches.spawn(self.clone().watch_policy(target.clone(), outages.clone(), tx.clone()));
            watches.spawn(self.clone().watch_profile(target.clone(), outages.clone(), tx));
            let mut answers = Answers::default();
            let mut live = Live::default();
            while let Some(news) = rx.recv().await {
                answers.take(news);
                let Some(routing) = self.decide(&target, &answers, &mut live, &outages) else { continue };
                let Some(destination) = Weak::upgrade(&destination) else { return };
                destination.publish(routing);
            }
        })
    }

    async fn watch_policy(
        self: Arc<Self>,
        target: Target,
        outages: Outages,
        tx: mpsc::UnboundedSender<News>,
    ) {
        let what = format!("policy of {target}");
        let asked = match target {
            Target::Addr(addr) => api::outbound::Target::Addr(addr),
            Target::Name(name, port) | Target::Override(name, port) => {
                api::outbound::Target::Authority(Authority::named(name, port))
            }
        };
        let spec = api::outbound::encode_request(&self.workload, &asked);
        let open = || {
            let (mut client, spec) = (OutboundPoliciesClient::new(self.policies.clone()), spec.clone());
            async move { client.watch(spec).await }
        };
        let on = |message| {
            let _ = tx.send(News::Policy(api::outbound::policy(message)));
        };
        let refused = stream::follow(&what, self.patience, &outages, policy_is_final, open, on).await;
        let _ = tx.send(News::PolicyRefused(refused.code()));
    }

    async fn watch_profile(
        self: Arc<Self>,
        target: Target,
        outages: Outages,
        tx: mpsc::UnboundedSender<News>,
    ) {
        let (asked, is_final): (_, fn(&Status) -> bool) = match &target {
            Target::Addr(addr) => (covers(&self.profile_networks, addr.ip()), lookup_is_final),
            Target::Name(name, _) | Target::Override(name, _) => {
                (self.profile_suffixes.contains(name), names_nothing)
            }
        };
        if !asked {
            let _ = tx.send(News::Profile(Ok(None)));
            return;
        }
        let request = GetDestination {
            scheme: String::new(),
            path: target.to_string(),
            context_token: self.context.clone(),
        };
        let open = || {
            let (mut client, request) = (DestinationClient::new(self.profiles.clone()), request.clone());
            async move { client.get_profile(request).await }
        };
        let what = format!("profile of {target}");
        let on = |message| {
            let profile = api::destination::profile(message).map(Some);
            let _ = tx.send(News::Profile(profile));
        };
        let mut delays = self.patience.backoff.delays();
        loop {
            let refused = stream::follow(&what, self.patience, &outages, is_final, &open, &on).await;
            if lookup_is_final(&refused) {
                break;
            }
            // A name of nothing, until the control plane knows of it: to a gateway, the empty profile says so.
            let nothing = matches!(target, Target::Name(..)).then(Profile::default);
            let _ = tx.send(News::Profile(Ok(nothing)));
            tokio::time::sleep(delays.next_delay()).await;
        }
        // Refused: as if there were no profile.
        let _ = tx.send(News::Profile(Ok(None)));
    }

    /// The decision tables of contract 3.2 and, for names, 4.9. `None` while an answer is missing.
    fn decide(
        &self,
        target: &Target,
        answers: &Answers,
        live: &mut Live,
        outages: &Outages,
    ) -> Option<Routing> {
        let Ok(profile) = answers.profile.as_ref()? else { return Some(Routing::Invalid) };
        let profile = profile.as_ref();
        let mut policy = match (target, answers.policy.as_ref()?) {
            (_, Answer::Refused(code)) => return Some(Routing::Refused(*code)),
            (Target::Name(_, port), policy) => match (profile, named::policy(profile, *port, policy)) {
                (None, _) => return Some(Routing::Unprofiled),
                (Some(_), None) => return Some(Routing::Nowhere),
                (Some(_), Some(policy)) => policy,
            },
            (_, Answer::Policy(policy)) => (**policy).clone(),
            (_, Answer::Invalid) => return Some(Routing::Invalid),
            (Target::Addr(addr), Answer::Unknown) if !self.ingress => forward_policy(*addr, profile),
            // An ingress leads nowhere that discovery does not know.
            (target, Answer::Unknown) => match profile.and_then(|known| known_policy(known, target.port())) {
                Some(policy) => policy,
                None => return Some(Routing::Refused(Code::NotFound)),
            },
        };
        let mut speaks = profile.and_then(|profile| Some((profile, profiled::says(profile, target.port())?)));
        let declared = speaks.as_mut().is_some_and(|(_, says)| {
            // What a gateway must not understand of policy is about opaque connections: they stay refused.
            says.opaque &= !matches!(answers.policy, Some(Answer::Invalid));
            profiled::override_policy(&mut policy, says)
        });
        let retries = speaks.as_ref().map(|(profile, _)| live.retries(&profile.service.budget));
        let mut used = Known::default();
        let mut take = |spec: BackendSpec, breaker| {
            self.backends.reuse_or_start(&live.backends, &mut used, (spec, breaker), outages)
        };
        let policy = policy.map(&mut take);
        let metrics = &self.backends.metrics;
        let profiled = speaks.zip(retries).and_then(|((profile, says), retries)| {
            Profiled::new(says, &profile.service, &retries, metrics, &mut |spec| take(spec, None))
        });
        live.backends = used;
        let (opaque, http) =
            profile.map_or((false, false), |profile| (profile.opaque, !profile.service.routes.is_empty()));
        let http = http || declared;
        Some(Routing::Policy(Box::new(Policy { policy, opaque, profile: profiled.map(Box::new), http })))
    }
}

impl Answers {
    fn take(&mut self, news: News) {
        match news {
            News::Policy(Ok(policy)) => self.policy = Some(Answer::Policy(Box::new(policy))),
            News::Policy(Err(error)) => {
                warn!(%error, "the policy of a target is invalid; its traffic is refused");
                self.policy = Some(Answer::Invalid);
            }
            News::PolicyRefused(Code::NotFound | Code::Unimplemented) => self.policy = Some(Answer::Unknown),
            News::PolicyRefused(code) => self.policy = Some(Answer::Refused(code)),
            News::Profile(profile) => {
                // Passing over it could send in plaintext what it says is meshed.
                self.profile = Some(profile.map_err(|error| {
                    warn!(%error, "the profile of a target is invalid; its traffic is refused");
                    Invalid
                }));
            }
        }
    }
}

/// An address that policy does not know: forward to the profile's endpoint, with its identity, or to
/// the address itself, which nothing says is meshed.
fn forward_policy(target: SocketAddr, profile: Option<&Profile>) -> OutboundPolicy {
    let endpoint = profile.and_then(|p| p.endpoint.clone());
    let name = if profile.is_some() { "endpoint" } else { "fallback" };
    policy_to(name, BackendKind::Forward(Box::new(endpoint.unwrap_or_else(|| Endpoint::plain(target)))))
}

/// What policy does not know and the profile does: its endpoint, or else its Service.
fn known_policy(profile: &Profile, port: u16) -> Option<OutboundPolicy> {
    if let Some(endpoint) = profile.endpoint.clone() {
        return Some(policy_to("endpoint", BackendKind::Forward(Box::new(endpoint))));
    }
    let authority = Authority::named(profile.name.clone()?, port);
    Some(policy_to("profile", BackendKind::Balance { authority, load: Load::default() }))
}

/// Detects, and sends everything to one backend.
fn policy_to(name: &str, kind: BackendKind) -> OutboundPolicy {
    let meta = ResourceRef::default_named(name);
    let backend = BackendSpec { meta: meta.clone(), kind };
    let to = || Distribution::FirstAvailable(vec![backend.clone()]);
    let http = || vec![HttpRoute::new(meta.clone(), vec![HttpRule::new(vec![], to())])].into();
    let opaque = vec![OpaqueRoute::new(meta.clone(), to())];
    OutboundPolicy {
        protocol: OutboundProtocol::Detect { http1: http(), http2: http(), opaque },
        parent: meta,
    }
}

fn covers(networks: &[IpNet], ip: IpAddr) -> bool {
    networks.iter().any(|net| net.contains(&ip))
}

pub(super) fn lookup_is_final(status: &Status) -> bool {
    matches!(status.code(), Code::InvalidArgument | Code::FailedPrecondition)
}

fn policy_is_final(status: &Status) -> bool {
    lookup_is_final(status) || matches!(status.code(), Code::NotFound | Code::Unimplemented)
}

/// A Service that does not exist is `Unknown`, a pod's name `NotFound` (controlplane 2.9). What went wrong on the way
/// is `Unknown` as well, and has a source.
pub(super) fn names_nothing(status: &Status) -> bool {
    let told = matches!(status.code(), Code::Unknown | Code::NotFound) && status.source().is_none();
    lookup_is_final(status) || told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_address_is_forwarded_as_it_is_and_says_so() {
        let target: SocketAddr = "10.1.0.9:80".parse().unwrap();
        let policy = forward_policy(target, None);
        assert_eq!(policy.parent, ResourceRef::default_named("fallback"));
        let OutboundProtocol::Detect { opaque, .. } = policy.protocol else { panic!("detects") };
        let Distribution::FirstAvailable(backends) = &opaque[0].backends else { panic!("one backend") };
        assert_eq!(backends[0].kind, BackendKind::Forward(Box::new(Endpoint::plain(target))));
    }

    #[test]
    fn what_policy_does_not_know_is_told_from_what_it_refuses() {
        for code in [Code::NotFound, Code::Unimplemented, Code::InvalidArgument, Code::FailedPrecondition] {
            let unknown = matches!(code, Code::NotFound | Code::Unimplemented);
            assert!(policy_is_final(&Status::new(code, "")));
            assert_eq!(lookup_is_final(&Status::new(code, "")), !unknown);
            let mut answers = Answers::default();
            answers.take(News::PolicyRefused(code));
            match answers.policy {
                Some(Answer::Unknown) => assert!(unknown, "{code:?}"),
                Some(Answer::Refused(refused)) => assert!(!unknown && refused == code),
                _ => panic!("{code:?}"),
            }
        }
        assert!(!policy_is_final(&Status::unavailable("")) && !policy_is_final(&Status::internal("")));
    }

    #[test]
    fn a_profiles_endpoint_is_forwarded_to_with_its_identity() {
        let mut endpoint = Endpoint::plain("10.1.0.9:80".parse().unwrap());
        endpoint.inbound_port = Some(4143);
        let profile = Profile { endpoint: Some(endpoint.clone()), ..Profile::default() };
        let policy = forward_policy(endpoint.addr, Some(&profile));
        let OutboundProtocol::Detect { http1, .. } = policy.protocol else { panic!("detects") };
        let Distribution::FirstAvailable(backends) = &http1.routes[0].rules[0].backends else {
            panic!("one backend")
        };
        assert_eq!(backends[0].backend.kind, BackendKind::Forward(Box::new(endpoint)));
    }
    #[test]
    fn an_ingress_knows_a_target_by_its_profile_alone() {
        let kind = |profile: &Profile| {
            let policy = known_policy(profile, 8080)?;
            let OutboundProtocol::Detect { opaque, .. } = policy.protocol else { panic!("detects") };
            let Distribution::FirstAvailable(backends) = &opaque[0].backends else { panic!("one backend") };
            Some((policy.parent.name().to_owned(), backends[0].kind.clone()))
        };
        assert_eq!(kind(&Profile::default()), None);
        let name = Some("bb.demo.svc.cluster.local".parse().unwrap());
        let named = Profile { name, ..Profile::default() };
        let authority = "bb.demo.svc.cluster.local:8080".parse().unwrap();
        let balance = BackendKind::Balance { authority, load: Load::default() };
        assert_eq!(kind(&named), Some(("profile".to_owned(), balance)));
        let endpoint = Endpoint::plain("10.1.0.9:80".parse().unwrap());
        let both = Profile { endpoint: Some(endpoint.clone()), ..named };
        let forward = BackendKind::Forward(Box::new(endpoint));
        assert_eq!(kind(&both), Some(("endpoint".to_owned(), forward)));
    }
}
