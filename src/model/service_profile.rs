//! What a ServiceProfile adds to a Service's profile: routes, other destinations, a budget of retries
//! (controlplane 2.9).

use std::time::Duration;

use http::Method;

use super::name::Authority;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServiceProfile {
    pub routes: Vec<Route>,
    pub overrides: Vec<Override>,
    pub budget: RetryBudget,
}

/// Requests that are counted, retried and timed out alike. The first that matches wins.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    pub name: String,
    pub condition: Condition<RequestMatch>,
    pub responses: Vec<ResponseClass>,
    pub retryable: bool,
    pub timeout: Option<Duration>,
}

/// A test, or tests put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition<T> {
    All(Vec<Self>),
    Any(Vec<Self>),
    Not(Box<Self>),
    Is(T),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestMatch {
    Method(Method),
    /// A regular expression for the whole path.
    Path(String),
}

/// Whether responses of some kind are failures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseClass {
    pub condition: Condition<StatusRange>,
    pub failure: bool,
}

/// Inclusive; 0 where an end is not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusRange {
    pub min: u32,
    pub max: u32,
}

/// Another destination for part of the traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// Without a port: that of the request.
    pub authority: Authority,
    /// 10000 for a weight of 1.
    pub weight: u32,
}

/// Retries that are allowed: a part of all requests, and some more each second.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryBudget {
    pub ratio: f32,
    pub per_second: u32,
    pub ttl: Duration,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { ratio: 0.2, per_second: 10, ttl: Duration::from_secs(10) }
    }
}
