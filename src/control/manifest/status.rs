//! What the policy controller would write into statuses: which routes and rate limits a Server accepts
//! (controlplane 3.6). A folder need not hold any.

use std::collections::{BTreeMap, BTreeSet};

use super::{Documents, Meta, Note, Object, ObjectName, RateLimitPolicy, Route, RouteKind};

/// By Server.
pub(in crate::control) struct Accepted {
    /// In the order in which they count.
    pub(in crate::control) routes: BTreeMap<ObjectName, Vec<Object<Route>>>,
    pub(in crate::control) rate_limits: BTreeMap<ObjectName, Object<RateLimitPolicy>>,
    /// What is not accepted, and why.
    pub(in crate::control) notes: Vec<Note>,
}

/// Looks at every Server that a route or a rate limit names.
pub(in crate::control) fn accepted(documents: &Documents) -> Accepted {
    let mut accepted = Accepted { routes: BTreeMap::new(), rate_limits: BTreeMap::new(), notes: Vec::new() };
    routes(documents, &mut accepted);
    rate_limits(documents, &mut accepted);
    accepted
}

/// An HTTPRoute loses to any GRPCRoute of the same Server.
fn routes(documents: &Documents, accepted: &mut Accepted) {
    let parents = |object: &Object<Route>| -> Vec<ObjectName> {
        object.1.servers.iter().map(|server| object.0.name.beside(server)).collect()
    };
    let of_grpc = documents.routes.values().filter(|(_, route)| route.kind == RouteKind::Grpc);
    let of_grpc: BTreeSet<ObjectName> = of_grpc.flat_map(parents).collect();
    for object in documents.routes.values() {
        for server in parents(object) {
            let why = if !documents.servers.contains_key(&server) {
                "NoMatchingParent"
            } else if object.1.kind != RouteKind::Grpc && of_grpc.contains(&server) {
                "RouteReasonConflicted, it has a GRPCRoute"
            } else {
                accepted.routes.entry(server).or_default().push(object.clone());
                continue;
            };
            accepted.notes.push(refused(&object.0, object.1.kind.name(), &server, why));
        }
    }
    for routes in accepted.routes.values_mut() {
        routes.sort_by_key(|(meta, route)| {
            (age(meta), meta.name.clone(), route.kind.group(), route.kind.name())
        });
    }
}

/// The first one of each Server.
fn rate_limits(documents: &Documents, accepted: &mut Accepted) {
    const KIND: &str = "HTTPLocalRateLimitPolicy";
    let mut all: Vec<&Object<RateLimitPolicy>> = documents.rate_limits.values().collect();
    all.sort_by_key(|(meta, _)| (age(meta), &meta.name));
    for object in all {
        let (meta, policy) = object;
        let server = meta.name.beside(&policy.server.value);
        let first = match documents.servers.contains_key(&server) {
            true => accepted.rate_limits.entry(server.clone()).or_insert_with(|| object.clone()),
            false => {
                accepted.notes.push(refused(meta, KIND, &server, "NoMatchingTarget"));
                continue;
            }
        };
        if first.0.name != meta.name {
            accepted.notes.push(refused(meta, KIND, &server, "RateLimitReasonAlreadyExists"));
        }
    }
}

/// Oldest first; those that do not say it come last.
fn age(meta: &Meta) -> (bool, Option<std::time::SystemTime>) {
    (meta.created.is_none(), meta.created)
}

fn refused(meta: &Meta, kind: &str, server: &ObjectName, why: &str) -> Note {
    let message = format!("{kind} {} is not accepted by Server {server}: {why}", meta.name);
    Note { at: meta.at.clone(), message }
}
