//! What a ServiceProfile adds to a Service's profile: routes, other destinations, a budget of retries
//! (controlplane 2.9).

use std::collections::BTreeMap;
use std::time::Duration;

use http::Method;

use super::matching::Pattern;
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
    /// What metrics call it: of a manifest's route, its name as `route`.
    pub labels: BTreeMap<String, String>,
    pub condition: Condition<RequestMatch>,
    pub responses: Vec<ResponseClass>,
    pub retryable: bool,
    /// From a request's arrival to the head of its answer, whatever is tried in between.
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
    /// For the whole path.
    Path(Pattern),
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

impl ServiceProfile {
    /// Whether it says more than policy does: of requests, where or how they go (contract 3.3).
    pub fn is_said(&self) -> bool {
        !self.routes.is_empty() || !self.overrides.is_empty()
    }
}

impl<T> Condition<T> {
    /// Whether it holds, if `test` says so of what it is made of.
    pub fn holds(&self, test: &mut impl FnMut(&T) -> bool) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.holds(test)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(test)),
            Self::Not(part) => !part.holds(test),
            Self::Is(part) => test(part),
        }
    }
}

impl StatusRange {
    pub fn contains(self, status: u16) -> bool {
        let status = u32::from(status);
        self.min <= status && (self.max == 0 || status <= self.max)
    }
}

/// Whether a response is a failure, as the first class says that it is of. `None` where it is of none.
pub fn is_failure(classes: &[ResponseClass], status: u16) -> Option<bool> {
    let of =
        |class: &&ResponseClass| class.condition.holds(&mut |range: &StatusRange| range.contains(status));
    classes.iter().find(of).map(|class| class.failure)
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { ratio: 0.2, per_second: 10, ttl: Duration::from_secs(10) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(condition: Condition<StatusRange>, failure: bool) -> ResponseClass {
        ResponseClass { condition, failure }
    }

    #[test]
    fn the_first_class_of_a_response_says_whether_it_failed() {
        let range = |min, max| Condition::Is(StatusRange { min, max });
        let classes = [
            class(Condition::All(vec![range(500, 0), Condition::Not(Box::new(range(503, 503)))]), true),
            class(Condition::Any(vec![range(404, 404), range(0, 199)]), true),
            class(range(500, 599), false),
        ];
        let of = |status| is_failure(&classes, status);
        assert_eq!([of(500), of(503), of(404), of(100)], [Some(true), Some(false), Some(true), Some(true)]);
        assert_eq!((of(200), of(400)), (None, None));
        assert_eq!(is_failure(&[], 500), None);
    }
}
