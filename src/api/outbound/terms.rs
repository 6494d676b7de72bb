//! Timeouts and retries of outbound routes (contract 3.11).

use std::ops::RangeInclusive;
use std::time::Duration;

use linkerd2_proxy_api::{http_route, outbound as pb};
use pb::grpc_route::retry::Conditions as Codes;
use pb::http_route::retry::Conditions as Statuses;
use pb::http_route::retry::conditions::StatusRange;

use crate::api::{InvalidPolicy, duration, encode_duration};
use crate::backoff::Backoff;
use crate::model::outbound::{Retry, Timeouts};

/// `legacy` is the older way to limit a request.
pub(super) fn timeouts(
    pb: Option<http_route::Timeouts>,
    legacy: Option<prost_types::Duration>,
) -> Result<Timeouts, InvalidPolicy> {
    let pb = pb.unwrap_or_default();
    Ok(Timeouts {
        request: optional("request timeout", pb.request.or(legacy))?,
        response: optional("response timeout", pb.response)?,
        idle: optional("idle timeout", pb.idle)?,
    })
}

pub(super) fn encode_timeouts(from: &Timeouts) -> Option<http_route::Timeouts> {
    let of = |timeout: Option<Duration>| timeout.and_then(encode_duration);
    (*from != Timeouts::default()).then(|| http_route::Timeouts {
        request: of(from.request),
        response: of(from.response),
        idle: of(from.idle),
    })
}

fn optional(
    field: &'static str,
    value: Option<prost_types::Duration>,
) -> Result<Option<Duration>, InvalidPolicy> {
    value.map(|value| duration(field, Some(value))).transpose()
}

/// What both kinds of route say of retries.
struct Shared {
    max_retries: u32,
    max_request_bytes: u32,
    timeout: Option<prost_types::Duration>,
    backoff: Option<pb::ExponentialBackoff>,
}

pub(super) fn http_retry(pb: pb::http_route::Retry) -> Result<Retry, InvalidPolicy> {
    let conditions = pb.conditions.ok_or(InvalidPolicy::Missing("retry conditions"))?;
    let pb::http_route::Retry { max_retries, max_request_bytes, timeout, backoff, .. } = pb;
    let statuses = conditions.status_ranges.into_iter().map(range).collect::<Result<_, _>>()?;
    let retry = retry(Shared { max_retries, max_request_bytes, timeout, backoff })?;
    Ok(Retry { statuses, ..retry })
}

pub(super) fn grpc_retry(pb: pb::grpc_route::Retry) -> Result<Retry, InvalidPolicy> {
    let conditions = pb.conditions.ok_or(InvalidPolicy::Missing("retry conditions"))?;
    let pb::grpc_route::Retry { max_retries, max_request_bytes, timeout, backoff, .. } = pb;
    let codes = [
        (conditions.cancelled, CANCELLED),
        (conditions.deadine_exceeded, DEADLINE_EXCEEDED),
        (conditions.resource_exhausted, RESOURCE_EXHAUSTED),
        (conditions.internal, INTERNAL),
        (conditions.unavailable, UNAVAILABLE),
    ];
    let codes = codes.into_iter().filter_map(|(wanted, code)| wanted.then_some(code)).collect();
    let retry = retry(Shared { max_retries, max_request_bytes, timeout, backoff })?;
    Ok(Retry { codes, ..retry })
}

const CANCELLED: u16 = 1;
const DEADLINE_EXCEEDED: u16 = 4;
const RESOURCE_EXHAUSTED: u16 = 8;
const INTERNAL: u16 = 13;
const UNAVAILABLE: u16 = 14;

fn retry(pb: Shared) -> Result<Retry, InvalidPolicy> {
    let limit = u16::try_from(pb.max_retries);
    Ok(Retry {
        limit: limit
            .map_err(|_| InvalidPolicy::Field { field: "retries", expected: "a number below 65536" })?,
        max_body: pb.max_request_bytes,
        statuses: Vec::new(),
        codes: Vec::new(),
        timeout: optional("retry timeout", pb.timeout)?,
        backoff: pb.backoff.map(backoff).transpose()?,
    })
}

fn range(pb: StatusRange) -> Result<RangeInclusive<u16>, InvalidPolicy> {
    let invalid =
        InvalidPolicy::Field { field: "retry statuses", expected: "a range of statuses, from 1 to 599" };
    match (u16::try_from(pb.start), u16::try_from(pb.end)) {
        (Ok(start @ 1..), Ok(end @ ..=599)) if start <= end => Ok(start..=end),
        _ => Err(invalid),
    }
}

/// The hint that it may respect is not used, here as there (contract 3.2).
pub(super) fn backoff(pb: pb::ExponentialBackoff) -> Result<Backoff, InvalidPolicy> {
    let invalid = InvalidPolicy::Field {
        field: "backoff",
        expected: "a minimum not above its maximum, and a jitter from 0 to 100",
    };
    let (min, max) =
        (duration("least backoff", pb.min_backoff)?, duration("longest backoff", pb.max_backoff)?);
    Backoff::new(min, max, pb.jitter_ratio.into()).map_err(|_| invalid)
}

pub(super) fn encode_http_retry(from: &Retry) -> pb::http_route::Retry {
    let range = |range: &RangeInclusive<u16>| StatusRange {
        start: (*range.start()).into(),
        end: (*range.end()).into(),
    };
    pb::http_route::Retry {
        max_retries: from.limit.into(),
        max_request_bytes: from.max_body,
        conditions: Some(Statuses { status_ranges: from.statuses.iter().map(range).collect() }),
        timeout: from.timeout.and_then(encode_duration),
        backoff: from.backoff.as_ref().map(encode_backoff),
    }
}

pub(super) fn encode_grpc_retry(from: &Retry) -> pb::grpc_route::Retry {
    let on = |code| from.codes.contains(&code);
    pb::grpc_route::Retry {
        max_retries: from.limit.into(),
        max_request_bytes: from.max_body,
        conditions: Some(Codes {
            cancelled: on(CANCELLED),
            deadine_exceeded: on(DEADLINE_EXCEEDED),
            resource_exhausted: on(RESOURCE_EXHAUSTED),
            internal: on(INTERNAL),
            unavailable: on(UNAVAILABLE),
        }),
        timeout: from.timeout.and_then(encode_duration),
        backoff: from.backoff.as_ref().map(encode_backoff),
    }
}

pub(super) fn encode_backoff(from: &Backoff) -> pb::ExponentialBackoff {
    pb::ExponentialBackoff {
        min_backoff: encode_duration(from.min()),
        max_backoff: encode_duration(from.max()),
        jitter_ratio: from.jitter() as f32,
        respect_retry_after_hint: false,
    }
}
