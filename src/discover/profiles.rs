//! Profiles of the Services that inbound requests are for: what they say is counted, and decides nothing, since callers
//! name the Service (contract 3.13, 6.1).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::Request;
use linkerd2_proxy_api::destination::GetDestination;
use linkerd2_proxy_api::destination::destination_client::DestinationClient;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::warn;

use crate::api;
use crate::config::Suffixes;
use crate::controller::Controller;
use crate::model::matching::Effort;
use crate::model::service_profile::{Condition, RequestMatch, ResponseClass};
use crate::model::{Authority, Profile};
use crate::telemetry::Metrics;
use crate::telemetry::requests::Requests;

use super::policy::{lookup_is_final, names_nothing};
use super::profiled::takes;
use super::stream::{self, Outages, Patience};

/// What the control plane is asked, and how long it is waited for.
pub struct ProfilesConfig {
    /// Sent as it is, trailing newline included.
    pub context: String,
    /// Names for which profiles are asked.
    pub suffixes: Suffixes,
    /// From the first request for a Service on.
    pub wait: Duration,
    pub idle: Duration,
    pub patience: Patience,
}

/// The profiles of all Services that are called.
pub struct Profiles {
    config: ProfilesConfig,
    controller: Controller,
    metrics: Arc<Metrics>,
    entries: Mutex<HashMap<Authority, Entry>>,
}

struct Entry {
    named: Arc<Named>,
    used: Instant,
}

/// Names that are asked for at once, at most: callers make them up, and each is a stream among those of what is needed.
const MOST: usize = 64;

/// How long a name of nothing is kept unused, at most.
const NOTHING: Duration = Duration::from_secs(10);

/// How long it is kept where there is no place for another, after the wait for its profile.
const ROOM: Duration = Duration::from_secs(1);

/// What was answered; `None` where there is nothing to count by.
type Answer = Option<Arc<Counted>>;

/// A Service's profile, live.
pub struct Named {
    answer: watch::Receiver<Option<Answer>>,
    /// Until then a first answer is waited for.
    by: Instant,
    /// Since the last sweep.
    used: AtomicBool,
    watching: JoinHandle<()>,
}

/// A profile's routes, in order.
pub struct Counted(Vec<Route>);

/// Requests that are counted alike, and how their answers are judged.
pub struct Route {
    condition: Condition<RequestMatch>,
    pub requests: Arc<Requests>,
    /// `None` where there are none.
    pub classes: Option<Arc<[ResponseClass]>>,
}

impl Profiles {
    pub fn new(config: ProfilesConfig, controller: Controller, metrics: Arc<Metrics>) -> Self {
        Self { config, controller, metrics, entries: Mutex::default() }
    }

    /// Whether the control plane is asked for a Service's profile.
    pub fn asks_for(&self, service: &Authority) -> bool {
        service.name().is_some_and(|name| self.config.suffixes.contains(name))
    }

    /// The profile of a Service that is asked for. `None` where that is one too many.
    pub fn get(&self, service: &Authority) -> Option<Arc<Named>> {
        let mut entries = self.entries.lock();
        if let Some(entry) = entries.get(service) {
            return Some(entry.named.clone());
        }
        if entries.len() >= MOST {
            let nothing = entries.iter().find(|(_, entry)| entry.named.is_of_nothing());
            let nothing = nothing.map(|(name, _)| name.clone())?;
            entries.remove(&nothing);
        }
        let (named, used) = (Arc::new(self.watch(service.clone())), Instant::now());
        entries.insert(service.clone(), Entry { named: named.clone(), used });
        Some(named)
    }

    /// Forgets Services that no request has been for in a while.
    pub fn sweep(&self, now: Instant) {
        self.entries.lock().retain(|_, Entry { named, used }| {
            if named.used.swap(false, Ordering::Relaxed) {
                *used = now;
            }
            let idle = if named.leads_nowhere() { self.config.idle.min(NOTHING) } else { self.config.idle };
            now.duration_since(*used) < idle
        });
    }

    fn watch(&self, service: Authority) -> Named {
        let (tx, answer) = watch::channel(None);
        let (controller, patience) = (self.controller.clone(), self.config.patience);
        let metrics = self.metrics.clone();
        let (path, context_token) = (service.to_string(), self.config.context.clone());
        let request = GetDestination { scheme: String::new(), path, context_token };
        let watching = tokio::spawn(async move {
            let what = format!("profile of {service}, which is called here");
            let open = || {
                let (mut client, request) = (DestinationClient::new(controller.clone()), request.clone());
                async move { client.get_profile(request).await }
            };
            let on = |message| {
                let counted = api::destination::profile(message).map_or_else(
                    |error| {
                        warn!(%service, %error, "a profile is invalid; nothing is counted by it");
                        None
                    },
                    |profile| Counted::new(&service, &profile, &metrics),
                );
                tx.send_replace(Some(counted.map(Arc::new)));
            };
            let (mut delays, outages) = (patience.backoff.delays(), Outages::default());
            loop {
                let refused = stream::follow(&what, patience, &outages, names_nothing, &open, &on).await;
                tx.send_replace(Some(None));
                if lookup_is_final(&refused) {
                    return tx.closed().await;
                }
                sleep(delays.next_delay()).await;
            }
        });
        let by = Instant::now() + self.config.wait;
        Named { answer, by, used: AtomicBool::new(true), watching }
    }
}

impl Named {
    fn leads_nowhere(&self) -> bool {
        matches!(&*self.answer.borrow(), Some(None))
    }

    /// It has led nowhere for long enough to make room for another name: who makes names up has few asked for.
    fn is_of_nothing(&self) -> bool {
        self.leads_nowhere() && Instant::now() > self.by + ROOM
    }

    /// What has been answered; `None` before that. A use.
    pub fn now(&self) -> Option<Answer> {
        self.used.store(true, Ordering::Relaxed);
        self.answer.borrow().clone()
    }

    /// The first answer, if it comes in time.
    pub async fn first(&self) -> Answer {
        let mut answer = self.answer.clone();
        let first = timeout_at(self.by, answer.wait_for(Option::is_some)).await;
        first.ok()?.ok()?.clone()?
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

impl Counted {
    /// `None` where a profile has no name, or no routes.
    fn new(service: &Authority, profile: &Profile, metrics: &Metrics) -> Option<Self> {
        let dst = Authority::named(profile.name.clone()?, service.port?);
        let routes = profile.service.routes.iter().map(|of| Route {
            condition: of.condition.clone(),
            requests: metrics.profiles.inbound(&dst, &of.labels),
            classes: Some(of.responses.clone()).filter(|classes| !classes.is_empty()).map(Arc::from),
        });
        let routes: Vec<_> = routes.collect();
        (!routes.is_empty()).then_some(Self(routes))
    }

    /// The first route that takes a request; none where finding it would take too long.
    pub fn route<B>(&self, req: &Request<B>) -> Option<&Route> {
        let mut effort = Effort::to_count();
        for route in &self.0 {
            if takes(&route.condition, req, &mut effort).ok()? {
                return Some(route);
            }
        }
        None
    }
}
