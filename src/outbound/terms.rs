//! The terms that a request is carried on: its rule's, and its own where the rule lets it have some (contract 3.11).

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;

use crate::backoff::Backoff;
use crate::discover::Backend;
use crate::model::duration;
use crate::model::outbound::{HttpRule, Retry, Terms};

/// The terms of a request. Its headers for them are removed where they count, and passed on elsewhere.
pub(super) fn of<'r>(rule: &'r HttpRule<Arc<Backend>>, headers: &mut HeaderMap) -> Cow<'r, Terms> {
    if !rule.allow_headers {
        return Cow::Borrowed(&rule.terms);
    }
    let mut terms = rule.terms.clone();
    let wish = Wish {
        statuses: taken(headers, "l5d-retry-http").map(|text| statuses(&text)),
        codes: taken(headers, "l5d-retry-grpc").map(|text| codes(&text)),
        limit: taken(headers, "l5d-retry-limit").and_then(|text| u16::from_str(&text).ok()),
        timeout: taken(headers, "l5d-retry-timeout").and_then(|text| duration::parse(&text)),
    };
    terms.retry = wish.fulfil(terms.retry);
    let short = taken(headers, "l5d-timeout").and_then(|text| duration::parse(&text));
    let long = taken(headers, "l5d-request-timeout").and_then(|text| duration::parse(&text));
    let response = taken(headers, "l5d-response-timeout").and_then(|text| duration::parse(&text));
    terms.timeouts.request = long.or(short).or(terms.timeouts.request);
    terms.timeouts.response = response.or(terms.timeouts.response);
    Cow::Owned(terms)
}

/// Removes a header, whose text is taken if it is any.
fn taken(headers: &mut HeaderMap, name: &'static str) -> Option<String> {
    headers.remove(name)?.to_str().ok().map(str::to_owned)
}

/// How a request would like to be retried.
struct Wish {
    statuses: Option<Vec<RangeInclusive<u16>>>,
    codes: Option<Vec<u16>>,
    limit: Option<u16>,
    timeout: Option<Duration>,
}

impl Wish {
    fn fulfil(self, rule: Option<Retry>) -> Option<Retry> {
        let Self { statuses, codes, limit, timeout } = self;
        let any = statuses.is_some() || codes.is_some() || limit.is_some() || timeout.is_some();
        let rule = rule.or_else(|| any.then(unasked))?;
        Some(Retry {
            statuses: statuses.unwrap_or(rule.statuses),
            codes: codes.unwrap_or(rule.codes),
            limit: limit.unwrap_or(rule.limit),
            timeout: timeout.or(rule.timeout),
            ..rule
        })
    }
}

/// Where headers alone ask for retries.
fn unasked() -> Retry {
    let ms = Duration::from_millis;
    Retry {
        limit: 1,
        max_body: 64 * 1024,
        statuses: Vec::new(),
        codes: Vec::new(),
        timeout: None,
        backoff: Backoff::new(ms(25), ms(250), 1.0).ok(),
    }
}

/// What is no condition is passed over.
fn statuses(text: &str) -> Vec<RangeInclusive<u16>> {
    let code = |text: &str| u16::from_str(text).ok().filter(|code| (100..600).contains(code));
    let range = |text: &str| {
        if text.eq_ignore_ascii_case("5xx") {
            return Some(500..=599);
        }
        if text.eq_ignore_ascii_case("gateway-error") {
            return Some(502..=504);
        }
        let (start, end) = text.split_once('-').unwrap_or((text, text));
        let range = code(start)?..=code(end)?;
        (!range.is_empty()).then_some(range)
    };
    text.split(',').filter_map(range).collect()
}

fn codes(text: &str) -> Vec<u16> {
    const NAMES: [(&str, u16); 5] = [
        ("cancelled", 1),
        ("deadline-exceeded", 4),
        ("resource-exhausted", 8),
        ("internal", 13),
        ("unavailable", 14),
    ];
    let code =
        |text: &str| NAMES.iter().find(|(name, _)| text.eq_ignore_ascii_case(name)).map(|(_, code)| *code);
    text.split(',').filter_map(code).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::outbound::{Distribution, Timeouts};

    fn rule(allow_headers: bool, retry: Option<Retry>) -> HttpRule<Arc<Backend>> {
        let mut rule = HttpRule::new(Vec::new(), Distribution::Empty);
        rule.allow_headers = allow_headers;
        rule.terms.retry = retry;
        rule
    }

    fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
        all.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_request_has_a_say_where_its_rule_lets_it() {
        let asked = [
            ("l5d-retry-http", "5xx,gateway-error,429,300-305,9,x,9-7"),
            ("l5d-retry-grpc", "Unavailable,internal,nonsense"),
            ("l5d-retry-limit", "3"),
            ("l5d-retry-timeout", "250ms"),
            ("l5d-timeout", "1s"),
            ("l5d-request-timeout", "2s"),
            ("l5d-response-timeout", "1m"),
            ("x-other", "1"),
        ];
        let mut req = headers(&asked);
        let rule = rule(true, None);
        let terms = of(&rule, &mut req);
        let retry = terms.retry.as_ref().unwrap();
        assert_eq!(retry.statuses, [500..=599, 502..=504, 429..=429, 300..=305]);
        assert_eq!((retry.codes.as_slice(), retry.limit, retry.max_body), (&[14, 13][..], 3, 65_536));
        assert_eq!(retry.timeout, Some(Duration::from_millis(250)));
        let seconds = |s| Some(Duration::from_secs(s));
        assert_eq!(terms.timeouts, Timeouts { request: seconds(2), response: seconds(60), idle: None });
        assert_eq!(req.keys().map(|name| name.as_str()).collect::<Vec<_>>(), ["x-other"]);
    }

    #[test]
    fn elsewhere_it_has_none_and_its_headers_pass() {
        let (mut req, rule) =
            (headers(&[("l5d-retry-limit", "3"), ("l5d-timeout", "1s")]), rule(false, None));
        let terms = of(&rule, &mut req);
        assert!(terms.are_none());
        assert_eq!(req.len(), 2);
    }

    #[test]
    fn what_it_does_not_say_is_its_rule_s() {
        let retry = Retry { statuses: vec![500..=500], max_body: 7, limit: 9, ..unasked() };
        let rule = rule(true, Some(retry.clone()));
        assert_eq!(of(&rule, &mut HeaderMap::new()).retry, Some(retry.clone()));
        let mut req =
            headers(&[("l5d-retry-limit", "2"), ("l5d-retry-timeout", "5"), ("l5d-timeout", "-1s")]);
        let terms = of(&rule, &mut req);
        assert_eq!(terms.retry, Some(Retry { limit: 2, ..retry }));
        assert!(req.is_empty() && terms.timeouts == Timeouts::default(), "a wrong value counts as none");
        let mut signed = headers(&[("l5d-timeout", "+5s")]);
        assert_eq!(of(&rule, &mut signed).timeouts, Timeouts::default());
    }
}
