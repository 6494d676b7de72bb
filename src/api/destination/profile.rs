//! What a ServiceProfile says, as a part of what `GetProfile` answers (contract 3.11, controlplane 2.9).
//!
//! Overrides move traffic: one that cannot be understood refuses all of it. Routes only tune: one that cannot be
//! understood is left out, as is a budget, without which nothing is retried.

use std::time::Duration;

use linkerd2_proxy_api::destination as pb;
use linkerd2_proxy_api::http_types::HttpMethod;
use tracing::warn;

use super::InvalidProfile;
use crate::api::encode_duration;
use crate::model::Authority;
use crate::model::matching::Pattern;
use crate::model::service_profile::{
    Condition, Override, RequestMatch, ResponseClass, RetryBudget, Route, ServiceProfile, StatusRange,
};

/// How deep conditions may lie in each other.
const DEEPEST: usize = 16;

/// Reads what a ServiceProfile says.
///
/// # Errors
/// It leads somewhere that cannot be told.
pub(super) fn service_profile(
    routes: Vec<pb::Route>,
    overrides: Vec<pb::WeightedDst>,
    retries: Option<pb::RetryBudget>,
) -> Result<ServiceProfile, InvalidProfile> {
    let budget = retries.and_then(read_budget);
    let overrides = overrides.into_iter().filter(|to| to.weight > 0).map(read_override);
    let overrides = overrides.collect::<Result<_, _>>()?;
    let routes = routes.into_iter().filter_map(|route| {
        let read = read_route(route, budget.is_some());
        if read.is_none() {
            warn!("a profile's route cannot be understood, and is left out");
        }
        read
    });
    Ok(ServiceProfile { routes: routes.collect(), overrides, budget: budget.unwrap_or_default() })
}

fn read_override(from: pb::WeightedDst) -> Result<Override, InvalidProfile> {
    let authority = from.authority.parse::<Authority>().ok();
    let named = authority.filter(|authority| authority.name().is_some() && authority.port.is_some());
    Ok(Override { authority: named.ok_or(InvalidProfile::Override)?, weight: from.weight })
}

fn read_route(from: pb::Route, retries: bool) -> Option<Route> {
    let responses = from.response_classes.into_iter().filter_map(|class| {
        let condition = read_response(class.condition?, DEEPEST);
        Some(ResponseClass { condition: condition?, failure: class.is_failure })
    });
    Some(Route {
        condition: read_request(from.condition?, DEEPEST)?,
        responses: responses.collect(),
        labels: from.metrics_labels.into_iter().collect(),
        retryable: from.is_retryable && retries,
        timeout: from.timeout.and_then(|timeout| Duration::try_from(timeout).ok()),
    })
}

/// One part that cannot be read makes the whole unreadable: without it the rest would take other requests.
fn read_request(from: pb::RequestMatch, depth: usize) -> Option<Condition<RequestMatch>> {
    use pb::request_match::{Match, Seq};
    let depth = depth.checked_sub(1)?;
    let all = |seq: Seq| seq.matches.into_iter().map(|part| read_request(part, depth)).collect::<Option<_>>();
    Some(match from.r#match? {
        Match::All(seq) => Condition::All(all(seq)?),
        Match::Any(seq) => Condition::Any(all(seq)?),
        Match::Not(part) => Condition::Not(Box::new(read_request(*part, depth)?)),
        Match::Path(path) => Condition::Is(RequestMatch::Path(Pattern::new(path.regex.trim()).ok()?)),
        Match::Method(method) => Condition::Is(RequestMatch::Method(method.try_into().ok()?)),
    })
}

fn read_response(from: pb::ResponseMatch, depth: usize) -> Option<Condition<StatusRange>> {
    use pb::response_match::{Match, Seq};
    let depth = depth.checked_sub(1)?;
    let all =
        |seq: Seq| seq.matches.into_iter().map(|part| read_response(part, depth)).collect::<Option<_>>();
    Some(match from.r#match? {
        Match::All(seq) => Condition::All(all(seq)?),
        Match::Any(seq) => Condition::Any(all(seq)?),
        Match::Not(part) => Condition::Not(Box::new(read_response(*part, depth)?)),
        Match::Status(pb::HttpStatusRange { min, max }) => Condition::Is(StatusRange { min, max }),
    })
}

fn read_budget(from: pb::RetryBudget) -> Option<RetryBudget> {
    let ttl = from.ttl.and_then(|ttl| Duration::try_from(ttl).ok());
    let ttl = ttl.filter(|ttl| (Duration::from_secs(1)..=Duration::from_secs(60)).contains(ttl));
    let valid =
        (0.0..=1000.0).contains(&from.retry_ratio) && i32::try_from(from.min_retries_per_second).is_ok();
    let Some(ttl) = ttl.filter(|_| valid) else {
        warn!("a profile's budget of retries cannot be understood: nothing is retried");
        return None;
    };
    Some(RetryBudget { ratio: from.retry_ratio, per_second: from.min_retries_per_second, ttl })
}

pub(super) fn encode_budget(from: &RetryBudget) -> pb::RetryBudget {
    pb::RetryBudget {
        retry_ratio: from.ratio,
        min_retries_per_second: from.per_second,
        ttl: encode_duration(from.ttl),
    }
}

/// An override without a port has that of the request.
pub(super) fn encode_override(from: &Override, port: Option<u16>) -> pb::WeightedDst {
    let authority = Authority { port: from.authority.port.or(port), ..from.authority.clone() };
    pb::WeightedDst { authority: authority.to_string(), weight: from.weight, backend_ref: None }
}

pub(super) fn encode_route(from: &Route) -> pb::Route {
    let responses = from.responses.iter().map(|class| pb::ResponseClass {
        condition: Some(response_match(&class.condition)),
        is_failure: class.failure,
    });
    pb::Route {
        condition: Some(request_match(&from.condition)),
        response_classes: responses.collect(),
        metrics_labels: from.labels.clone().into_iter().collect(),
        is_retryable: from.retryable,
        timeout: from.timeout.and_then(encode_duration),
    }
}

fn request_match(from: &Condition<RequestMatch>) -> pb::RequestMatch {
    use pb::request_match::{Match, Seq};
    let seq = |parts: &[_]| Seq { matches: parts.iter().map(request_match).collect() };
    let matched = match from {
        Condition::All(parts) => Match::All(seq(parts)),
        Condition::Any(parts) => Match::Any(seq(parts)),
        Condition::Not(part) => Match::Not(Box::new(request_match(part))),
        Condition::Is(RequestMatch::Method(method)) => Match::Method(HttpMethod::from(method.clone())),
        Condition::Is(RequestMatch::Path(path)) => {
            Match::Path(pb::PathMatch { regex: path.as_str().to_owned() })
        }
    };
    pb::RequestMatch { r#match: Some(matched) }
}

fn response_match(from: &Condition<StatusRange>) -> pb::ResponseMatch {
    use pb::response_match::{Match, Seq};
    let seq = |parts: &[_]| Seq { matches: parts.iter().map(response_match).collect() };
    let matched = match from {
        Condition::All(parts) => Match::All(seq(parts)),
        Condition::Any(parts) => Match::Any(seq(parts)),
        Condition::Not(part) => Match::Not(Box::new(response_match(part))),
        Condition::Is(StatusRange { min, max }) => {
            Match::Status(pb::HttpStatusRange { min: *min, max: *max })
        }
    };
    pb::ResponseMatch { r#match: Some(matched) }
}
