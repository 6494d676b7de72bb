//! Answers that say an endpoint should be left alone for a while (contract 3.9).

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode, header};

use crate::model::outbound::Penalty;
use crate::telemetry::requests::{grpc_status, is_grpc};

/// What counts as the latency of an answer that is a failure; `None` of one that is none.
pub(super) fn latency(
    penalty: Penalty,
    status: StatusCode,
    headers: &HeaderMap,
    now: SystemTime,
) -> Option<Duration> {
    let hint = match kind(status, headers)? {
        Kind::Internal => None,
        Kind::Busy if status == StatusCode::OK => pushback(headers),
        Kind::Busy => retry_after(headers, now),
    };
    // A hint below it would make an endpoint that fails look better than one that says nothing.
    Some(hint.map_or(penalty.latency, |hint| hint.min(penalty.max_retry_after).max(penalty.latency)))
}

enum Kind {
    /// It may say when to come back.
    Busy,
    Internal,
}

fn kind(status: StatusCode, headers: &HeaderMap) -> Option<Kind> {
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Some(Kind::Busy),
        status if status.is_server_error() => Some(Kind::Internal),
        // gRPC that fails at once says so in its only head.
        StatusCode::OK if is_grpc(headers) => match grpc_status(headers)? {
            8 | 14 => Some(Kind::Busy),
            2 | 4 | 13 | 15 => Some(Kind::Internal),
            _ => None,
        },
        _ => None,
    }
}

/// Seconds, or a date.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// A negative number asks not to try again at all, which says nothing of when.
fn pushback(headers: &HeaderMap) -> Option<Duration> {
    let millis: i32 = headers.get("grpc-retry-pushback-ms")?.to_str().ok()?.trim().parse().ok()?;
    u64::try_from(millis).ok().map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn judged(status: u16, headers: &[(&'static str, &str)]) -> Option<Duration> {
        let headers = headers.iter().map(|(name, value)| {
            (header::HeaderName::from_static(name), header::HeaderValue::from_str(value).unwrap())
        });
        // Wed, 21 Oct 2015 07:28:00 GMT
        let now = SystemTime::UNIX_EPOCH + 1_445_412_480 * SECOND;
        latency(Penalty::default(), StatusCode::from_u16(status).unwrap(), &headers.collect(), now)
    }

    #[test]
    fn failures_count_as_five_seconds_and_nothing_else_does() {
        for status in [429, 500, 502, 503, 504, 599] {
            assert_eq!(judged(status, &[]), Some(5 * SECOND), "{status}");
        }
        for status in [200, 204, 301, 400, 404] {
            assert_eq!(judged(status, &[("retry-after", "9")]), None, "{status}");
        }
    }

    #[test]
    fn a_busy_server_says_for_how_long_up_to_five_minutes() {
        for (value, seconds) in [
            ("60", 60),
            (" 60 ", 60),
            ("1", 5),
            ("86400", 300),
            ("18446744073709551616", 5),
            ("Wed, 21 Oct 2015 07:29:00 GMT", 60),
            ("Wed, 21 Oct 2015 07:27:00 GMT", 5),
            ("soon", 5),
            ("-9", 5),
        ] {
            for status in [429, 503] {
                let expected = Some(seconds * SECOND);
                assert_eq!(judged(status, &[("retry-after", value)]), expected, "{value}");
            }
        }
        assert_eq!(judged(500, &[("retry-after", "60")]), Some(5 * SECOND));
    }

    #[test]
    fn grpc_failures_are_told_by_their_status_in_the_head() {
        let grpc = ("content-type", "application/grpc+proto");
        for code in ["2", "4", "8", "13", "14", "15"] {
            assert_eq!(judged(200, &[grpc, ("grpc-status", code)]), Some(5 * SECOND), "{code}");
        }
        for code in ["0", "1", "5", "16", "x"] {
            assert_eq!(judged(200, &[grpc, ("grpc-status", code)]), None, "{code}");
        }
        assert_eq!(judged(200, &[("grpc-status", "14")]), None, "not gRPC");
        for (millis, expected) in [("60000", 60 * SECOND), ("10", 5 * SECOND), ("-1", 5 * SECOND)] {
            let headers = [grpc, ("grpc-status", "14"), ("grpc-retry-pushback-ms", millis)];
            assert_eq!(judged(200, &headers), Some(expected), "{millis}");
        }
        let internal = [grpc, ("grpc-status", "13"), ("grpc-retry-pushback-ms", "60000")];
        assert_eq!(judged(200, &internal), Some(5 * SECOND));
    }
}
