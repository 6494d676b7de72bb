//! What annotations say of traffic: how long requests take, how often they are tried, and when endpoints are left
//! alone (controlplane 3.9). Of a Service or an EgressNetwork for all of it, of a route for its own.
//!
//! A group counts whole or not at all: one bad value drops its whole group, and the others stay.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::labelled::Labels;
use super::reader::Reader;
use super::route::RouteKind;
use super::yaml::Node;
use crate::backoff::Backoff;
use crate::model::duration;
use crate::model::outbound::{Breaker, Load, Penalty, Retry, SuccessRate, Terms, Timeouts};

/// All that there is to say; what is absent is the default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Annotated {
    pub timeouts: Timeouts,
    /// Of requests that are HTTP, and of calls of gRPC.
    pub http_retry: Option<Retry>,
    pub grpc_retry: Option<Retry>,
    pub breaker: Option<Breaker>,
    pub load: Load,
}

/// A value that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Wrong {
    key: &'static str,
    value: String,
    expected: &'static str,
}

impl Annotated {
    /// Groups that cannot be used are left out.
    pub fn of(annotations: &Labels) -> Self {
        Self::read(annotations, &mut BTreeSet::new())
    }

    fn read(all: &Labels, wrong: &mut BTreeSet<Wrong>) -> Self {
        Self {
            timeouts: group(all, wrong, timeouts),
            http_retry: group(all, wrong, http_retry),
            grpc_retry: group(all, wrong, grpc_retry),
            breaker: group(all, wrong, breaker),
            load: group(all, wrong, load),
        }
    }

    /// What a route of this kind makes of them.
    fn terms(self, kind: RouteKind) -> Terms {
        let retry = if kind == RouteKind::Grpc { self.grpc_retry } else { self.http_retry };
        Terms { timeouts: self.timeouts, retry }
    }
}

/// Those of a parent of routes, with a problem for each that cannot be used.
pub(super) fn check(reader: &mut Reader, object: &Node) {
    read(reader, object);
}

/// Those of a route.
pub(super) fn read_terms(reader: &mut Reader, object: &Node, kind: RouteKind) -> Terms {
    read(reader, object).terms(kind)
}

fn read(reader: &mut Reader, object: &Node) -> Annotated {
    let Some(meta) = object.get("metadata") else { return Annotated::default() };
    // What is no text has been told of where the object's head was read.
    let all = Reader::new(reader.file()).text_map(meta, "annotations");
    let mut wrong = BTreeSet::new();
    let annotated = Annotated::read(&all, &mut wrong);
    for Wrong { key, value, expected } in wrong {
        let at = meta.get("annotations").and_then(|all| all.get(key)).unwrap_or(meta);
        reader.problem(at, format!("the annotation {key} is {value:?}"), expected);
    }
    annotated
}

/// The annotations that one group reads, and what is wrong with them.
struct Texts<'a> {
    all: &'a Labels,
    wrong: Vec<Wrong>,
}

impl Texts<'_> {
    fn get<T>(
        &mut self,
        key: &'static str,
        expected: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.all.get(key)?;
        let parsed = parse(text);
        if parsed.is_none() {
            self.refuse(key, expected);
        }
        parsed
    }

    fn duration(&mut self, key: &'static str) -> Option<Duration> {
        self.get(key, DURATION_FORM, duration::parse)
    }

    fn flag(&mut self, key: &'static str) -> bool {
        self.get(key, "true or false", flag).unwrap_or(false)
    }

    /// For values that do not go with others.
    fn refuse(&mut self, key: &'static str, expected: &'static str) {
        let value = self.all.get(key).cloned().unwrap_or_default();
        self.wrong.push(Wrong { key, value, expected });
    }
}

fn group<T: Default>(all: &Labels, wrong: &mut BTreeSet<Wrong>, read: fn(&mut Texts<'_>) -> T) -> T {
    let mut texts = Texts { all, wrong: Vec::new() };
    let value = read(&mut texts);
    if texts.wrong.is_empty() {
        return value;
    }
    wrong.extend(texts.wrong);
    T::default()
}

const DURATION_FORM: &str = "a whole number with a unit, ms, s, m, h or d, such as 500ms";

/// As Go reads it.
fn flag(text: &str) -> Option<bool> {
    match text.trim() {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn timeouts(texts: &mut Texts<'_>) -> Timeouts {
    Timeouts {
        request: texts.duration("timeout.linkerd.io/request"),
        response: texts.duration("timeout.linkerd.io/response"),
        idle: texts.duration("timeout.linkerd.io/idle"),
    }
}

/// Bytes of a request's body (controlplane 3.9).
const MAX_BODY: u32 = 64 * 1024;

fn http_retry(texts: &mut Texts<'_>) -> Option<Retry> {
    const FORM: &str = "5xx, gateway-error, statuses and ranges of them, with commas, such as 5xx,429";
    let statuses = texts.get("retry.linkerd.io/http", FORM, |text| text.split(',').map(statuses).collect());
    let given = statuses.is_some();
    Some(Retry { statuses: statuses.unwrap_or_default(), ..retry(texts, given)? })
}

fn grpc_retry(texts: &mut Texts<'_>) -> Option<Retry> {
    const FORM: &str =
        "cancelled, deadline-exceeded, internal, resource-exhausted and unavailable, with commas";
    let codes = texts.get("retry.linkerd.io/grpc", FORM, |text| text.split(',').map(code).collect());
    let given = codes.is_some();
    Some(Retry { codes: codes.unwrap_or_default(), ..retry(texts, given)? })
}

/// What both kinds have in common; `None` where nothing is said of retries.
fn retry(texts: &mut Texts<'_>, conditions: bool) -> Option<Retry> {
    let limit = texts.get("retry.linkerd.io/limit", "a number from 0 to 65535", |text| text.parse().ok());
    let (limit, timeout) = (limit.filter(|limit| *limit > 0), texts.duration("retry.linkerd.io/timeout"));
    let timeout = timeout.filter(|timeout| !timeout.is_zero());
    if limit.is_none() && timeout.is_none() && !conditions {
        return None;
    }
    let ms = Duration::from_millis;
    Some(Retry {
        limit: limit.unwrap_or(1),
        max_body: MAX_BODY,
        statuses: Vec::new(),
        codes: Vec::new(),
        timeout,
        backoff: Backoff::new(ms(25), ms(250), 1.0).ok(),
    })
}

fn statuses(text: &str) -> Option<RangeInclusive<u16>> {
    let status = |text: &str| text.parse().ok().filter(|status| (100..600).contains(status));
    if text.eq_ignore_ascii_case("5xx") {
        return Some(500..=599);
    }
    if text.eq_ignore_ascii_case("gateway-error") {
        return Some(502..=504);
    }
    if let Some(one) = status(text) {
        return Some(one..=one);
    }
    let (first, last) = text.split_once('-')?;
    let (first, last) = (status(first)?, status(last)?);
    (first <= last).then_some(first..=last)
}

fn code(text: &str) -> Option<u16> {
    const CODES: [(&str, u16); 5] = [
        ("cancelled", 1),
        ("deadline-exceeded", 4),
        ("resource-exhausted", 8),
        ("internal", 13),
        ("unavailable", 14),
    ];
    CODES.into_iter().find(|(name, _)| text.eq_ignore_ascii_case(name)).map(|(_, code)| code)
}

fn breaker(texts: &mut Texts<'_>) -> Option<Breaker> {
    const FORM: &str = "consecutive or unified";
    let is_unified = texts.get("balancer.linkerd.io/failure-accrual", FORM, |text| match text {
        "consecutive" => Some(false),
        "unified" => Some(true),
        _ => None,
    })?;
    let max_failures = "balancer.linkerd.io/failure-accrual-consecutive-max-failures";
    let max_failures =
        texts.get(max_failures, "a whole number", |text| text.trim().parse().ok()).unwrap_or(7);
    let backoff = penalties(texts)?;
    if !is_unified {
        return Some(Breaker::ConsecutiveFailures { max_failures, backoff });
    }
    Some(Breaker::Unified {
        success_rate: success_rate(texts),
        max_failures,
        backoff,
        honors_retry_after: texts.flag("balancer.alpha.linkerd.io/failure-accrual-honor-retry-after"),
    })
}

/// How long endpoints are left alone.
fn penalties(texts: &mut Texts<'_>) -> Option<Backoff> {
    const MIN: &str = "balancer.linkerd.io/failure-accrual-consecutive-min-penalty";
    const MAX: &str = "balancer.linkerd.io/failure-accrual-consecutive-max-penalty";
    const JITTER: &str = "balancer.linkerd.io/failure-accrual-consecutive-jitter-ratio";
    let ratio = |text: &str| text.trim().parse::<f32>().ok().filter(|ratio| (0.0..=100.0).contains(ratio));
    let jitter = texts.get(JITTER, "a number from 0 to 100", ratio).unwrap_or(0.5);
    let (min, max) = (texts.duration(MIN), texts.duration(MAX));
    let (min, max) = (min.unwrap_or(Duration::from_secs(1)), max.unwrap_or(Duration::from_secs(60)));
    let backoff = Backoff::new(min, max, jitter.into()).ok();
    if backoff.is_none() {
        let key = if texts.all.contains_key(MAX) { MAX } else { MIN };
        texts.refuse(key, "a longest penalty above zero and not below the least, which is 1s by default");
    }
    backoff
}

fn success_rate(texts: &mut Texts<'_>) -> SuccessRate {
    const WINDOW: &str = "balancer.alpha.linkerd.io/failure-accrual-success-rate-window";
    const WINDOW_FORM: &str = "a window of 10ms at least, such as 10s";
    let part = |text: &str| text.trim().parse::<f64>().ok().filter(|part| (0.0..=1.0).contains(part));
    let requests = |text: &str| text.trim().parse().ok().filter(|number| *number <= 1_000_000);
    let threshold = "balancer.alpha.linkerd.io/failure-accrual-success-rate-threshold";
    let threshold = texts.get(threshold, "a number from 0 to 1", part).unwrap_or(0.8);
    let window = texts.get(WINDOW, WINDOW_FORM, duration::parse).unwrap_or(Duration::from_secs(10));
    if window.is_zero() || (threshold > 0.0 && window < Duration::from_millis(10)) {
        texts.refuse(WINDOW, WINDOW_FORM);
    }
    let least = "balancer.alpha.linkerd.io/failure-accrual-success-rate-min-requests";
    let min_requests = texts.get(least, "a number from 0 to 1000000", requests).unwrap_or(5);
    SuccessRate { threshold, window, min_requests }
}

fn load(texts: &mut Texts<'_>) -> Load {
    if !texts.flag("balancer.alpha.linkerd.io/penalize-failures") {
        return Load::default();
    }
    let default = Penalty::default();
    // The proxy keeps it as 32 bits of milliseconds.
    let latency = |text: &str| duration::parse(text).filter(|penalty| penalty.as_millis() <= u32::MAX.into());
    let key = "balancer.alpha.linkerd.io/load-biaser-penalty";
    let latency = texts.get(key, "a duration of 49 days at most, such as 5s", latency);
    let longest = texts.duration("balancer.alpha.linkerd.io/load-biaser-max-retry-after");
    let penalty = Penalty {
        latency: latency.unwrap_or(default.latency),
        max_retry_after: longest.unwrap_or(default.max_retry_after),
    };
    Load { penalty: Some(penalty), ..Load::default() }
}

#[cfg(test)]
mod tests;
