//! Service profiles as messages: what `GetProfile` adds for a Service (controlplane 2.9).

use linkerd2_proxy_api::destination as pb;
use linkerd2_proxy_api::http_types::HttpMethod;
use linkerd2_proxy_api::meta;

use crate::api::{encode_duration, encode_resource};
use crate::model::service_profile::{
    Condition, RequestMatch, RetryBudget, Route, ServiceProfile, StatusRange,
};
use crate::model::{Authority, Profile, ResourceRef};

/// Writes a Service's profile. `parent` is the Service with its port, `source` the ServiceProfile, if any.
pub fn encode_service_profile(
    from: &Profile,
    parent: &ResourceRef,
    source: Option<&ResourceRef>,
    given: &ServiceProfile,
) -> pb::DestinationProfile {
    let port = parent.port();
    let overrides = given.overrides.iter().map(|to| {
        let authority = Authority { port: to.authority.port.or(Some(port)), ..to.authority.clone() };
        pb::WeightedDst { authority: authority.to_string(), weight: to.weight, backend_ref: None }
    });
    // Without a ServiceProfile the reference names the group alone.
    let none = meta::Resource { group: "linkerd.io".into(), ..Default::default() };
    let none = meta::Metadata { kind: Some(meta::metadata::Kind::Resource(none)) };
    pb::DestinationProfile {
        routes: given.routes.iter().map(route).collect(),
        dst_overrides: overrides.collect(),
        retry_budget: Some(budget(&given.budget)),
        profile_ref: source.map_or(Some(none), encode_resource),
        ..super::encode_profile(from, Some(parent))
    }
}

pub(super) fn budget(from: &RetryBudget) -> pb::RetryBudget {
    pb::RetryBudget {
        retry_ratio: from.ratio,
        min_retries_per_second: from.per_second,
        ttl: encode_duration(from.ttl),
    }
}

fn route(from: &Route) -> pb::Route {
    let responses = from.responses.iter().map(|class| pb::ResponseClass {
        condition: Some(response_match(&class.condition)),
        is_failure: class.failure,
    });
    pb::Route {
        condition: Some(request_match(&from.condition)),
        response_classes: responses.collect(),
        metrics_labels: [("route".to_owned(), from.name.clone())].into(),
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
        Condition::Is(RequestMatch::Path(regex)) => Match::Path(pb::PathMatch { regex: regex.clone() }),
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
