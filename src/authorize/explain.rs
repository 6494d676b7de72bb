//! Why was this caller refused, or let in? The decision once more, with each authorization that was tried.
//!
//! The verdict is that of [`super::http`] and [`super::tcp`], not a second opinion; what is added is what they passed over.

use std::fmt;
use std::net::IpAddr;

use super::condition::{self, Failed};
use super::{Refusal, best, judge, readings};
use crate::model::inbound::Authorization;
use crate::model::matching::{Head, Values};
use crate::model::{Peer, ResourceRef, ServerPolicy};

/// A decision, and how it came about.
#[derive(Clone, Debug)]
pub struct Explanation<'p> {
    pub server: &'p ResourceRef,
    pub verdict: Verdict<'p>,
    /// The path by which the request was refused, where that is not how it came.
    pub read_as: Option<String>,
    /// In order, up to the one that let the caller in.
    pub tried: Vec<Tried<'p>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<'p> {
    /// `route` is `None` of connections that are not HTTP.
    Allowed {
        route: Option<&'p ResourceRef>,
        authz: &'p ResourceRef,
    },
    Denied {
        route: Option<&'p ResourceRef>,
    },
    /// None of these routes takes the request.
    NoRoute {
        routes: Vec<&'p ResourceRef>,
    },
    /// HTTP, where the policy expects none.
    NotHttp,
    /// No HTTP, where the policy expects nothing else.
    HttpAlone,
    /// It can be read in more ways than are judged.
    Unjudged {
        route: &'p ResourceRef,
    },
}

/// One authorization, and the first of its conditions that the caller does not meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tried<'p> {
    pub authz: &'p ResourceRef,
    pub failed: Option<Failed<'p>>,
}

/// Explains the decision on a request.
pub fn http<'p>(
    policy: &'p ServerPolicy,
    client: IpAddr,
    peer: &'p Peer,
    head: &Head<'_>,
) -> Explanation<'p> {
    let routes = policy.protocol.routes().unwrap_or_default();
    let verdict = match super::http(policy, client, peer, head) {
        Ok(permit) => Verdict::Allowed { route: Some(permit.route), authz: permit.authz },
        Err(Refusal::Denied { route }) => Verdict::Denied { route: Some(route) },
        Err(Refusal::Unjudged { route }) => Verdict::Unjudged { route },
        Err(Refusal::RouteNotFound) if policy.protocol.routes().is_none() => Verdict::NotHttp,
        Err(Refusal::RouteNotFound) => {
            Verdict::NoRoute { routes: routes.iter().map(|route| &route.meta).collect() }
        }
    };
    let others = readings::of(routes, head).unwrap_or_default();
    let mut all = std::iter::once(*head).chain(others.iter().map(|reading| reading.of(head)));
    let decisive = all.find(|head| judge(routes, client, peer, head).is_err()).unwrap_or(*head);
    let route = best(routes, &decisive).map(|best| best.route);
    Explanation {
        server: &policy.meta,
        verdict,
        read_as: read_as(head, &decisive),
        tried: route.map(|route| tried(&route.authorizations, client, peer)).unwrap_or_default(),
    }
}

/// Explains the decision on a connection that is not HTTP, or not to be taken for it.
pub fn tcp<'p>(policy: &'p ServerPolicy, client: IpAddr, peer: &'p Peer) -> Explanation<'p> {
    let verdict = match super::tcp(policy, client, peer) {
        Ok(permit) => Verdict::Allowed { route: None, authz: permit.authz },
        Err(_) if policy.protocol.is_http_alone() => Verdict::HttpAlone,
        Err(_) => Verdict::Denied { route: None },
    };
    let tried = match verdict {
        Verdict::HttpAlone => Vec::new(),
        _ => tried(&policy.authorizations, client, peer),
    };
    Explanation { server: &policy.meta, verdict, read_as: None, tried }
}

fn tried<'p>(authorizations: &'p [Authorization], client: IpAddr, peer: &'p Peer) -> Vec<Tried<'p>> {
    let mut tried = Vec::new();
    for authorization in authorizations {
        let failed = condition::check(authorization, client, peer).err();
        tried.push(Tried { authz: &authorization.meta, failed });
        if failed.is_none() {
            break;
        }
    }
    tried
}

/// How the request was read when it was refused, if that is not how it came.
fn read_as(came: &Head<'_>, read: &Head<'_>) -> Option<String> {
    let path = (came.path != read.path).then(|| format!("{:?}", read.path));
    let values = match read.values {
        Values::All => None,
        Values::Pieces => Some("headers by what stands between commas".to_owned()),
        Values::OnlyHeader(name, value) => Some(format!("{name}: {:?}", String::from_utf8_lossy(value))),
        Values::OnlyQuery(name, value) => Some(format!("?{name}={value:?}")),
    };
    let parts: Vec<String> = path.into_iter().chain(values).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

impl Explanation<'_> {
    pub fn is_allowed(&self) -> bool {
        matches!(self.verdict, Verdict::Allowed { .. })
    }
}

/// One line, for a log.
impl fmt::Display for Explanation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.verdict)?;
        if let Some(read_as) = &self.read_as {
            write!(f, "; it may be read as {read_as}")?;
        }
        if self.tried.is_empty() && matches!(self.verdict, Verdict::Denied { .. }) {
            return f.write_str(": there is none");
        }
        f.write_str(if self.tried.is_empty() { "" } else { ": " })?;
        condition::list(f, self.tried.iter())
    }
}

impl fmt::Display for Verdict<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allowed { route: Some(route), authz } => {
                write!(f, "{} lets the client in, on {}", Named(authz), Named(route))
            }
            Self::Allowed { route: None, authz } => write!(f, "{} lets the client in", Named(authz)),
            Self::Denied { route: Some(route) } => {
                write!(f, "no authorization of {} lets the client in", Named(route))
            }
            Self::Denied { route: None } => f.write_str("no authorization of the server lets the client in"),
            Self::NoRoute { routes } => {
                f.write_str("no route takes the request (")?;
                condition::list(f, routes.iter().map(|route| Named(route)))?;
                f.write_str(")")
            }
            Self::NotHttp => f.write_str("the policy of the port is not for HTTP"),
            Self::HttpAlone => f.write_str("the port is for HTTP alone"),
            Self::Unjudged { route } => {
                write!(
                    f,
                    "{} would take the request, which can be read in more ways than are judged",
                    Named(route)
                )
            }
        }
    }
}

impl fmt::Display for Tried<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.failed {
            Some(failed) => write!(f, "[{}: {failed}]", Named(self.authz)),
            None => write!(f, "[{}: lets it in]", Named(self.authz)),
        }
    }
}

/// `kind/name`, of whatever stands there: quotes and controls are escaped.
struct Named<'a>(&'a ResourceRef);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.0.kind().escape_debug(), self.0.name().escape_debug())
    }
}
